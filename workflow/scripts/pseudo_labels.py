"""Write a trained detector's detections in the unlabeled images as labels for self-training: data/pseudo/KEY.json."""

from typing import Any

from _stage import main


def run(params: Any, key: str) -> None:
    from afigan.evaluation.pseudo_labels import write_pseudo_labels

    write_pseudo_labels(params, key)


if __name__ == "__main__":
    main(__doc__, run, "key", "experiments.pseudo_labels")

"""Compute COCO metrics of a detector, or of an extractor, on the validation images: results/metrics/KEY.json.

KEY.matches.npz beside it has the matches of each image, from which AP of any resample of the images can be computed.
"""

from typing import Any

from _stage import main


def run(params: Any, key: str) -> None:
    from afigan.evaluation.coco import evaluate

    evaluate(params, key)


if __name__ == "__main__":
    main(__doc__, run, "key", "experiments.evaluations")

"""Self-training: train a target detector on the training set and on pseudo-labels: models/students/KEY/."""

from typing import Any

from _stage import main


def run(params: Any, key: str) -> None:
    from afigan.training.detector import train_detector

    train_detector(params, f"students/{key}")


if __name__ == "__main__":
    main(__doc__, run, "key", "experiments.students")

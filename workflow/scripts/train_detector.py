"""Stage 3 (4.3): train a target detector T: models/detectors/KEY/."""

from typing import Any

from _stage import main


def run(params: Any, key: str) -> None:
    from afigan.training.detector import train_detector

    train_detector(params, f"detectors/{key}")


if __name__ == "__main__":
    main(__doc__, run, "key", "experiments.detectors")

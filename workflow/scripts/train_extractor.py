"""Stage 2 (4.2): train a multi-scale AF extractor M: models/extractors/KEY/."""

from typing import Any

from _stage import main


def run(params: Any, key: str) -> None:
    from afigan.training.extractor import train_extractor

    train_extractor(params, key)


if __name__ == "__main__":
    main(__doc__, run, "key", "experiments.extractors")

"""Write the weights of a classification backbone, from which detectors start: models/backbones/KEY/."""

from typing import Any

from _stage import main


def run(params: Any, key: str) -> None:
    from afigan.training.backbone import write_backbone

    write_backbone(params, key)


if __name__ == "__main__":
    main(__doc__, run, "key", "experiments.backbones")

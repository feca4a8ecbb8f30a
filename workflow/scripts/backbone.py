"""Write the weights that every backbone starts from: models/backbone/."""

from typing import Any

from _stage import main


def run(params: Any) -> None:
    from afigan.training.backbone import write_backbone

    write_backbone(params)


if __name__ == "__main__":
    main(__doc__, run)

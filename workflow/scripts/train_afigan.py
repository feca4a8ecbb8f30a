"""Stage 1 (4.1): train AFI-GAN, the interpolator G and its discriminator D: models/afigan/KEY/."""

from typing import Any

from _stage import main


def run(params: Any, key: str) -> None:
    from afigan.training.afigan import train_afigan

    train_afigan(params, key)


if __name__ == "__main__":
    main(__doc__, run, "key", "experiments.afigan")

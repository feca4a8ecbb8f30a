"""Loss curves of the three stages, and feature maps under each interpolation: results/figures/."""

from typing import Any

from _stage import main


def run(params: Any) -> None:
    from afigan.evaluation.features import draw_figures

    draw_figures(params)


if __name__ == "__main__":
    main(__doc__, run)

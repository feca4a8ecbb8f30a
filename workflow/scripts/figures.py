"""Draw loss curves, feature maps, detections and Grad-CAM under each interpolation: results/figures/."""

from typing import Any

from _stage import main


def run(params: Any) -> None:
    from afigan.figures.stage import draw_figures

    draw_figures(params)


if __name__ == "__main__":
    main(__doc__, run)

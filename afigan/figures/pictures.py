"""Pictures for results/figures over photographs: objects with boxes and masks, and heat maps.

As in `afigan.figures.losses`, the bytes depend only on the input; detectron2's own drawing uses random colours.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from afigan.reporting.png import save

SIDE = 3.2  # inches: the width of one picture
MASK_OPACITY = 0.45
HEAT, HEAT_OPACITY = "inferno", 0.9

RGB = tuple[float, float, float]  # from 0 to 1


@dataclass(frozen=True)
class Objects:
    """Annotated or detected objects of one image.

    boxes: (N, 4), x0, y0, x1, y1 in pixels. classes: (N,) int. scores: (N,), or None for annotations.
    masks: (N, H, W) bool, or None.
    """

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray | None = None
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Panel:
    """One image, (H, W, 3) uint8 RGB, with the objects to draw over it and its title."""

    title: str
    image: np.ndarray
    objects: Objects


def draw_detections(rows: Mapping[str, Sequence[Panel]], classes: Sequence[str], out: Path, title: str) -> None:
    """Draw rows of images with their objects as `out` (PNG).

    rows: label -> as many panels as in every other row, of images of one size. classes: names by number.
    A box has its class's colour, with name and score; a mask is a veil of that colour.
    """
    columns = len(next(iter(rows.values())))
    assert all(len(panels) == columns for panels in rows.values()), {k: len(v) for k, v in rows.items()}
    shapes = [panels[0].image.shape for panels in rows.values()]
    heights = [min(1.5, height / width) for height, width, _ in shapes]  # a tall image becomes narrow, not huge
    with matplotlib.style.context("default"):
        size = (SIDE * columns + 0.3, sum(SIDE * height + 0.25 for height in heights) + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes, (label, panels) in zip(grid, rows.items(), strict=True):
            for axis, panel in zip(axes, panels, strict=True):
                _draw_objects(axis, panel, classes)
            axes[0].set_ylabel(label, fontsize=7, parse_math=False)
        _set_title(figure, title)
        save(figure, out)


def draw_heat_maps(
    rows: dict[str, dict[str, np.ndarray]], panel: Panel, classes: Sequence[str], out: Path, title: str, label: str
) -> None:
    """Draw an image and heat maps over it as `out` (PNG).

    rows: label -> {title: (H, W) map of the image's size, from 0 to 1}; a column holds one position of every row.
    panel: the image, drawn once with its objects; their boxes are in the heat maps as well.
    label: the meaning of the maps' colours.
    """
    columns = len(next(iter(rows.values())))
    height, width, _ = panel.image.shape
    grey = panel.image.mean(axis=2)
    with matplotlib.style.context("default"):
        side = SIDE * min(1.5, height / width)
        size = (SIDE * (columns + 1) + 0.8, (side + 0.2) * len(rows) + 0.5)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.add_gridspec(len(rows), columns + 1)
        _draw_objects(figure.add_subplot(grid[:, 0]), panel, classes)
        axes = []
        for row, (name, maps) in enumerate(rows.items()):
            assert len(maps) == columns, (name, list(maps))
            for column, (subtitle, values) in enumerate(maps.items(), start=1):
                assert values.shape == (height, width), (name, subtitle, values.shape)
                axis = figure.add_subplot(grid[row, column])
                axis.imshow(grey, cmap="gray", vmin=0, vmax=255)
                # the less heat, the clearer the image
                axis.imshow(values, cmap=HEAT, vmin=0, vmax=1, alpha=HEAT_OPACITY * values)
                _add_boxes(axis, panel.objects.boxes, ["white"] * len(panel.objects), linewidth=0.7)
                _finish(axis, panel.image, subtitle)
                if column == 1:
                    axis.set_ylabel(name, fontsize=9, parse_math=False)
                axes.append(axis)
        bar = figure.colorbar(ScalarMappable(Normalize(0, 1), HEAT), ax=axes, shrink=0.7, fraction=0.03, pad=0.01)
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=8)
        _set_title(figure, title)
        save(figure, out)


def _draw_objects(axis: Axes, panel: Panel, classes: Sequence[str]) -> None:
    objects = panel.objects
    # by score, so that the surest object is drawn last, on top
    order = np.arange(len(objects)) if objects.scores is None else np.argsort(objects.scores, kind="stable")
    colours = class_colours(objects.classes[order], len(classes))
    axis.imshow(veil(panel.image, objects.masks[order], colours) if objects.masks is not None else panel.image)
    _add_boxes(axis, objects.boxes[order], colours, linewidth=1.2)
    for i, colour in zip(order, colours, strict=True):
        text = classes[objects.classes[i]]
        if objects.scores is not None:
            text += f" {objects.scores[i]:.2f}"
        _add_label(axis, text, objects.boxes[i], panel.image.shape[:2], colour)
    _finish(axis, panel.image, panel.title)


def class_colours(numbers: np.ndarray, classes: int) -> list[RGB]:
    """Return the colour of each class in `numbers` (N,), out of as many colours as there are `classes`, at most 20."""
    # the type of the sequences is that of any colour
    palette = cast(list[RGB], matplotlib.color_sequences["tab10" if classes <= 10 else "tab20"])
    return [palette[number % len(palette)] for number in numbers]


def veil(image: np.ndarray, masks: np.ndarray, colours: Sequence[RGB]) -> np.ndarray:
    """Blend every mask of (N, H, W) in its colour (RGB from 0 to 1), the largest first; return (H, W, 3) uint8."""
    blended = image.astype(np.float64)
    for i in np.argsort(-masks.sum(axis=(1, 2)), kind="stable"):
        blended[masks[i]] += MASK_OPACITY * (255 * np.array(colours[i]) - blended[masks[i]])
    return blended.round().astype(np.uint8)


def _add_label(axis: Axes, text: str, box: np.ndarray, shape: tuple[int, int], colour: tuple) -> None:
    """Write in a box's upper left corner; near the image's right edge in the upper right one, to avoid a cut."""
    height, width = shape
    right = box[0] > 0.8 * width
    corner = np.clip((box[2] if right else box[0], box[1]), 0, (width - 1, height - 1))
    light = np.dot(colour, (0.299, 0.587, 0.114)) > 0.6
    label = axis.annotate(
        text,
        corner,
        (-1.5 if right else 1.5, -1.5),
        textcoords="offset points",
        ha="right" if right else "left",
        va="top",
        fontsize=5.5,
        color="black" if light else "white",
        parse_math=False,
        annotation_clip=False,
        clip_on=True,
        bbox={"boxstyle": "square,pad=0.12", "facecolor": colour, "edgecolor": "none", "alpha": 0.8},
    )
    label.set_in_layout(False)


def _add_boxes(axis: Axes, boxes: np.ndarray, colours: Sequence, linewidth: float) -> None:
    for (x0, y0, x1, y1), colour in zip(boxes, colours, strict=True):
        # imshow has the centre of the first pixel at 0, boxes have its corner there
        corner = (x0 - 0.5, y0 - 0.5)
        axis.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=linewidth))


def _finish(axis: Axes, image: np.ndarray, title: str) -> None:
    axis.set(xticks=[], yticks=[], xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    axis.set_title(title, fontsize=8, parse_math=False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _set_title(figure: Figure, title: str) -> None:
    width = int(figure.get_figwidth() * 15)  # characters of this size on a line
    figure.suptitle("\n".join(textwrap.wrap(title, width)), fontsize=9, parse_math=False)

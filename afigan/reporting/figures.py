"""Pictures for results/figures: loss curves, and one image's feature maps under each interpolation.

The bytes of a picture depend only on its input: no date or version in the file, no settings of the user's matplotlib.
"""

import json
import math
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from afigan.files import atomic_path

TARGET = "high-resolution target"
POINTS = 1000  # drawn per line; a longer log is thinned
LINE_STYLES = ("-", "--", ":")


def draw_losses(logs: dict[str, Path], out: Path, title: str) -> None:
    """Draw the loss curves of one stage as `out` (PNG): a panel per loss term, a line per experiment.

    logs: experiment -> its log.jsonl. Every key that starts with `loss_` is a term; an experiment without a term is not
        in that term's panel. Faint lines are the logged values, strong ones their mean over 10 % of the iterations.
    Raises ValueError if there is no log, or a log has no losses or a line that is not JSON.
    """
    if not logs:
        raise ValueError(f"{out}: there are no logs to draw; train at least one experiment of the stage first")
    curves = {name: _read_losses(Path(path)) for name, path in logs.items()}
    terms = list(dict.fromkeys(term for losses in curves.values() for term in losses))
    terms.sort(key=lambda term: term == "loss_total")  # the terms first, their sum last

    columns = 2 if len(terms) in (2, 4) else min(3, len(terms))
    rows = math.ceil(len(terms) / columns)
    legend_rows = math.ceil(len(curves) / 5)
    with matplotlib.style.context("default"):
        colours = matplotlib.color_sequences["tab10"]
        styles: list[dict[str, Any]] = [
            {"color": colours[i % len(colours)], "linestyle": LINE_STYLES[i // len(colours) % len(LINE_STYLES)]}
            for i in range(len(curves))
        ]
        figure = Figure(
            figsize=(1.0 + 3.8 * max(columns, 2), 0.9 + 2.6 * rows + 0.25 * legend_rows), layout="constrained"
        )
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axis, term in zip(axes, terms, strict=False):
            for losses, style in zip(curves.values(), styles, strict=True):
                if term in losses:
                    _draw_curve(axis, *losses[term], style)
            axis.set_title(term.removeprefix("loss_").replace("_", " "), fontsize=10)
            axis.set_xlabel("iteration", fontsize=8)
            axis.tick_params(labelsize=8)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axis.grid(alpha=0.25, linewidth=0.5)
        for axis in axes[len(terms) :]:
            axis.remove()
        handles = [
            Line2D([], [], label=name, linewidth=1.6, **style) for name, style in zip(curves, styles, strict=True)
        ]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(5, len(handles)), fontsize=8, frameon=False
        )
        figure.suptitle(title, fontsize=11)
        save(figure, out)


def draw_feature_maps(maps: dict[str, np.ndarray], image: np.ndarray, out: Path, target: str = TARGET) -> None:
    """Draw one image and its feature maps as `out` (PNG), each map reduced to one channel in the same way and colours.

    maps: title -> (C, H, W) of one pyramid level, drawn in this order; the others should resemble `maps[target]`.
    image: (H, W, 3) uint8, RGB.
    The one channel is the projection on the target's first principal component over channels. The title of a map of the
    target's size gives the mean absolute difference to the target (over all channels).
    Raises ValueError if the target is missing, a map is not (C, H, W) with the target's C, or the image not uint8 RGB.
    """
    if target not in maps:
        raise ValueError(f"the maps {list(maps)} have no '{target}', with which the others are compared")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"the image must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
    for name, values in maps.items():
        if values.ndim != 3 or values.shape[0] != maps[target].shape[0]:
            raise ValueError(f"the map '{name}' is {values.shape}; it must be (C, H, W), C as in {maps[target].shape}")
    reference = maps[target].astype(np.float64)
    centre, component = _first_component(reference)
    flat = {name: np.tensordot(component, values - centre, axes=1) for name, values in maps.items()}
    low, high = np.percentile(flat[target], (1, 99))

    columns = 3
    rows = math.ceil((1 + len(maps)) / columns)
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(3.2 * columns + 0.8, 3.3 * rows + 0.3), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        axes[0].imshow(image)
        axes[0].set_title(f"image ({image.shape[1]} x {image.shape[0]})", fontsize=9)
        for axis, (name, values) in zip(axes[1:], maps.items(), strict=False):
            drawn = axis.imshow(flat[name], cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
            title = f"{name} ({values.shape[2]} x {values.shape[1]})"
            if name != target and values.shape == reference.shape:
                title += f"\nmean |difference to target| {np.abs(values - reference).mean():.4f}"
            axis.set_title(title, fontsize=9)
        for axis in axes:
            axis.set_axis_off()
        bar = figure.colorbar(drawn, ax=axes, shrink=0.7, extend="both")
        bar.set_label("projection on the target's first principal component", fontsize=8)
        bar.ax.tick_params(labelsize=8)
        save(figure, out)


def _read_losses(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read a log.jsonl: loss term -> (iterations, values), both (n,)."""
    points: dict[str, list[tuple[float, float]]] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = json.loads(line)
                for name, value in record.items():
                    if name.startswith("loss_"):
                        points.setdefault(name, []).append((record["iteration"], float(value)))
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise ValueError(f"{path}, line {number} is not a log line ({error!r}); train it again") from error
    if not points:
        raise ValueError(f"{path} holds no losses; train it again")
    return {name: tuple(np.array(pairs).T) for name, pairs in points.items()}


def _draw_curve(axis: matplotlib.axes.Axes, iterations: np.ndarray, values: np.ndarray, style: dict) -> None:
    step = math.ceil(len(values) / POINTS)
    marker = "o" if len(values) == 1 else ""  # a line of one point is not visible
    axis.plot(iterations[::step], values[::step], color=style["color"], linewidth=0.6, alpha=0.2)
    axis.plot(iterations[::step], _smooth(values)[::step], **style, linewidth=1.4, marker=marker, markersize=3)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return the centred moving average over 10 % of the points, with the window cut off at both ends; (n,) -> (n,)."""
    half = len(values) // 20
    ends = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (ends[last] - ends[first]) / (last - first)


def _first_component(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (C, 1, 1) and first principal component (C,) of a (C, H, W) map over positions; the sign is fixed."""
    samples = values.reshape(len(values), -1)
    centre = samples.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh((samples - centre) @ (samples - centre).T)
    component = vectors[:, -1]
    return centre[:, :, None], component * np.sign(component[np.abs(component).argmax()])


def save(figure: Figure, out: Path) -> None:
    """Write a figure as PNG atomically, without any metadata that differs from run to run."""
    FigureCanvasAgg(figure)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})

"""Loss curves of the experiments of one stage.

The bytes of a picture depend only on its input: no date or version in the file, no settings of the user's matplotlib.
"""

import json
import math
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from afigan.reporting.png import save

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
    curves = {name: read_losses(Path(path)) for name, path in logs.items()}
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


def read_losses(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
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
    axis.plot(iterations[::step], smooth(values)[::step], **style, linewidth=1.4, marker=marker, markersize=3)


def smooth(values: np.ndarray) -> np.ndarray:
    """Return the centred moving average over 10 % of the points, with the window cut off at both ends; (n,) -> (n,)."""
    half = len(values) // 20
    ends = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (ends[last] - ends[first]) / (last - first)

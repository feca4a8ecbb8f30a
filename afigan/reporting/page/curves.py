"""Loss curves of the page: a panel for each loss of each stage, as lines of an SVG picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from afigan.reporting.embedded import Curve, Losses
from afigan.reporting.text import Grid

WIDTH, HEIGHT = 300, 150  # units of a panel's picture
LEFT, RIGHT, TOP, BOTTOM = 36, 8, 8, 20  # its margins
COLOURS, DASHES = 8, 3  # of lines; together they distinguish 24 runs


@dataclass(frozen=True)
class Style:
    """A run with the numbers of its colour and of its dashes."""

    run: str
    colour: int
    dash: int


@dataclass(frozen=True)
class Panel:
    """A loss. lines: (style, points of an SVG polyline). x, y: (label, place) of the ticks."""

    term: str
    lines: Sequence[tuple[Style, str]]
    x: Sequence[tuple[str, float]]
    y: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Stage:
    """A stage of training. last: a row for each run with the last smoothed value of each loss."""

    name: str
    title: str
    styles: Sequence[Style]
    panels: Sequence[Panel]
    last: Grid


def stages(losses: Losses) -> list[Stage]:
    """Return the stages in the order of training; the sum of the losses is the last panel of each."""
    found = []
    for name, title in losses.stages.items():
        curves = [curve for curve in losses.curves if curve.stage == name]
        runs = dict.fromkeys(curve.run for curve in curves)
        styles = {run: Style(run, i % COLOURS, i // COLOURS % DASHES) for i, run in enumerate(runs)}
        terms = sorted(dict.fromkeys(curve.term for curve in curves), key=lambda term: term == "total")
        panels = [panel(term, [curve for curve in curves if curve.term == term], styles) for term in terms]
        values = {(curve.run, curve.term): f"{curve.last:.3g}" for curve in curves}
        last = {"run": list(runs)} | {term: [values.get((run, term), "") for run in runs] for term in terms}
        found.append(Stage(name, title, list(styles.values()), panels, last))
    return found


def panel(term: str, curves: Sequence[Curve], styles: dict[str, Style]) -> Panel:
    """Return the panel of one loss; its axes have all values of all runs."""
    last = max(curve.iterations[-1] for curve in curves)
    finite = [value for curve in curves for value in curve.values if math.isfinite(value)] or [0.0]
    y_ticks = ticks(min(finite), max(finite))
    low, high = min(y_ticks[0], *finite), max(y_ticks[-1], *finite)
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(iteration: float) -> float:
        return LEFT + wide * iteration / last

    def y(value: float) -> float:
        return TOP + tall * (1 - (value - low) / ((high - low) or 1))

    lines = []
    for curve in curves:
        pairs = zip(curve.iterations, curve.values, strict=True)
        points = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in pairs if math.isfinite(value))
        lines.append((styles[curve.run], points))
    x_ticks = [tick for tick in ticks(0, last) if tick <= last]
    return Panel(
        term,
        lines,
        [(f"{tick:,.0f}", round(x(tick), 1)) for tick in x_ticks],
        [(f"{tick:.6g}", round(y(tick), 1)) for tick in y_ticks],
    )


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers, 1, 2 or 5 times a power of ten apart, in and at most one step around [low, high]."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 12) for i in range(first, last + 1)]

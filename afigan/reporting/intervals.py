"""The picture of the claims: every contrast of AP as a dot with its interval, the paper's as a tick.

Verdicts differ by shape, and by colours that readers without red or green cones can distinguish; box AP is filled, mask
AP hollow. Like the other pictures, this one depends only on its input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from afigan.reporting.comparisons import Finding
from afigan.reporting.judged import Judged
from afigan.reporting.png import save
from afigan.reporting.text import number, with_interval
from afigan.reporting.verdicts import (
    AGREES,
    CONTRADICTS,
    HIGHER,
    LOWER,
    MARGIN,
    NOTHING_RUN,
    SAME,
    UNDECIDED,
    Judgement,
)

NOT_JUDGED = "not judged"
STYLES = {  # verdict -> colour and shape
    AGREES: ("#0072B2", "o"),
    CONTRADICTS: ("#D55E00", "X"),
    HIGHER: ("#0095B6", ">"),
    LOWER: ("#661100", "<"),
    SAME: ("#B8900B", "D"),
    UNDECIDED: ("#6E6E6E", "s"),
    NOT_JUDGED: ("#000000", "d"),
}
WIDTH, LINE = 12.0, 0.34  # inches: the picture's width; height of a contrast in two metrics, the unit below
HEADER, SINGLE, GAP = 0.8, 0.65, 0.1  # heights: a claim's name, a contrast in one metric, the gap below a claim
OFFSET = 0.21  # distance of box and mask from the middle of their line
PLOT, LEFT = 0.38, 0.255  # shares of the picture's width: the plot, the part left of it
COLUMNS = {"": 1.03, "mean [95 % interval]": 1.11, "paper": 1.49, "verdict": 1.53}  # x positions, in plot widths
LINEAR = 10.0  # AP; values farther from 0 are drawn by their logarithm
TICKS = (5, 10, 20, 50, 100)
PAPER: dict[str, Any] = {"color": "black", "marker": "|", "markersize": 11, "markeredgewidth": 1.6, "linestyle": "none"}
BAND, STRIP, INK = "#DCE6EE", "#F3F3F3", "#303030"


@dataclass(frozen=True)
class Mark:
    """One contrast in one metric. y: its distance from the top, in lines."""

    name: str
    y: float
    finding: Finding
    judgement: Judgement

    @property
    def style(self) -> tuple[str, str]:
        """Colour and shape of the verdict; of several words the first decides."""
        verdict = self.judgement.verdict or NOT_JUDGED
        return next((style for word, style in STYLES.items() if verdict.startswith(word)))

    @property
    def kind(self) -> str:
        return self.finding.comparison.column.removesuffix("_AP")

    @property
    def texts(self) -> tuple[str, str, str, str]:
        """The texts of the columns at the right."""
        finding = self.finding
        if finding.effect is None:
            return self.kind, NOTHING_RUN if finding.missing else "undefined", "", ""
        printed = "" if finding.printed is None else number(finding.printed, signed=True)
        value = with_interval(finding.effect.mean, finding.interval)
        return self.kind, value, printed, self.judgement.verdict or NOT_JUDGED


def draw_intervals(judged: Judged, out: Path) -> None:
    """Draw all contrasts of all claims and questions as `out` (PNG)."""
    save(intervals_figure(judged), out)


def intervals_figure(judged: Judged) -> Figure:
    """Return the picture. An artist's gid names the contrast and its part in it, as in `C3: A5 − A1, box_AP`."""
    headers, lines, marks, height = _places(judged)
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(WIDTH, height * LINE + 1.85))
        top, bottom = 0.85 / figure.get_figheight(), 1.0 / figure.get_figheight()
        axis = figure.add_axes((LEFT, bottom, PLOT, 1 - top - bottom))
        axis.set_ylim(height, 0)
        _scale(axis, marks)
        axis.axvspan(-MARGIN, MARGIN, color=BAND, zorder=0, gid="margin")
        axis.axvline(0, color="black", linewidth=0.8, zorder=1, gid="zero")
        axis.grid(axis="x", linewidth=0.4, alpha=0.5, zorder=0)
        for y, name, says in headers:
            _write_header(axis, y, name, says)
        axis.set_yticks([y for y, _ in lines], [text for _, text in lines], fontsize=8)
        axis.tick_params(axis="y", length=0)
        axis.tick_params(axis="x", labelsize=8, top=True, labeltop=True)
        for heading, x in COLUMNS.items():
            side = "right" if heading == "paper" else "left"
            axis.text(x, -0.35, heading, transform=axis.get_yaxis_transform(), fontsize=7.5, color=INK, ha=side)
        for mark in marks:
            _draw(axis, mark)
            _write(axis, mark)
        for spine in ("left", "right"):
            axis.spines[spine].set_visible(False)
        figure.suptitle(_title(marks), x=0.01, ha="left", y=1 - 0.15 / figure.get_figheight(), fontsize=11)
        _legend(figure, marks)
    return figure


def _places(judged: Judged) -> tuple[list, list, list[Mark], float]:
    """Return headers (y, name and verdict, words), lines (y, text) and marks, from the top; and the total height.

    A claim without any run has only a header.
    """
    headers: list[tuple[float, str, str]] = []
    lines: list[tuple[float, str]] = []
    marks = []
    y = 0.0
    for outcome in judged.outcomes:
        if outcome in judged.questions[:1]:
            headers.append((y + HEADER / 2, "Questions that the paper does not ask", ""))
            y += HEADER
        headers.append((y + HEADER / 2, f"{outcome.claim.name}  {outcome.verdict}", outcome.claim.says))
        y += HEADER
        if outcome.verdict == NOTHING_RUN:  # its contrasts are in claims.md; empty lines would hide those that were run
            continue
        found = zip(outcome.findings, outcome.judgements, strict=True)
        for text, group in groupby(found, key=lambda item: item[0].comparison.text):
            metrics = list(group)
            size = SINGLE if len(metrics) == 1 else 1.0
            lines.append((y + size / 2, text))
            for i, (finding, judgement) in enumerate(metrics):
                offset = 0 if len(metrics) == 1 else (2 * i - 1) * OFFSET
                name = f"{outcome.claim.name}: {text}, {finding.comparison.column}"
                marks.append(Mark(name, y + size / 2 + offset, finding, judgement))
            y += size
        y += GAP
    return headers, lines, marks, y


def _scale(axis: Axes, marks: Sequence[Mark]) -> None:
    """Fit the axis to all intervals and ticks; it is linear about 0, so that large values do not hide small ones."""
    ends = [0.0, -2 * MARGIN, 2 * MARGIN]
    for finding in (mark.finding for mark in marks):
        if finding.effect is not None:
            ends += [finding.effect.mean, *(finding.interval or ()), *filter(None, [finding.printed])]
    low, high = min(ends), max(ends)
    label = "difference in AP (percentage points)"
    if max(-low, high) > LINEAR:
        axis.set_xscale("symlog", linthresh=LINEAR, linscale=1.0)
        axis.xaxis.set_major_locator(FixedLocator([0, *TICKS, *(-tick for tick in TICKS)]))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(ScalarFormatter())
        label += f"; linear to ±{LINEAR:g}, logarithmic beyond"
    room = 0.06 * (min(high, LINEAR) - max(low, -LINEAR))
    axis.set_xlim(low * 1.15 if low < -LINEAR else low - room, high * 1.15 if high > LINEAR else high + room)
    axis.set_xlabel(label, fontsize=8)


def _write_header(axis: Axes, y: float, name: str, says: str) -> None:
    """Draw a strip with a claim's name and words, as wide as the picture."""
    across = axis.get_yaxis_transform()
    left = -LEFT / PLOT
    strip = Rectangle((left, y - HEADER / 2), 1 / PLOT, HEADER, transform=across, color=STRIP, zorder=1.5)
    strip.set_clip_on(False)
    axis.add_patch(strip)
    axis.text(left + 0.025, y, name, transform=across, fontsize=8.5, weight="bold", va="center")
    axis.text(0.02, y, says, transform=across, fontsize=7.5, color=INK, va="center", parse_math=False)


def _draw(axis: Axes, mark: Mark) -> None:
    """Draw interval, dot, and the paper's tick."""
    colour, shape = mark.style
    finding = mark.finding
    if finding.effect is None:
        return
    if finding.interval is not None:
        ends: dict[str, Any] = {"color": colour, "linewidth": 1.6, "solid_capstyle": "butt", "zorder": 3}
        axis.plot(finding.interval, (mark.y, mark.y), gid=f"{mark.name}, interval", **ends)
    face = colour if mark.kind == "box" else "white"
    dot: dict[str, Any] = {"color": colour, "marker": shape, "markersize": 6, "linestyle": "none"}
    axis.plot([finding.effect.mean], [mark.y], zorder=5, gid=f"{mark.name}, mean", markerfacecolor=face, **dot)
    if finding.printed is not None:
        axis.plot([finding.printed], [mark.y], zorder=4, gid=f"{mark.name}, tick", **PAPER)


def _write(axis: Axes, mark: Mark) -> None:
    """Write the numbers at the right."""
    for (heading, x), text in zip(COLUMNS.items(), mark.texts, strict=True):
        axis.text(
            x,
            mark.y,
            text,
            transform=axis.get_yaxis_transform(),
            fontsize=7,
            color=mark.style[0] if heading == "verdict" else INK,
            weight="bold" if heading == "verdict" else "normal",
            ha="right" if heading == "paper" else "left",
            va="center",
            gid=f"{mark.name}, {heading or 'metric'}",
        )


def _title(marks: Sequence[Mark]) -> str:
    effects = [mark.finding.effect for mark in marks if mark.finding.effect is not None]
    chance = "over images alone" if effects and all(e.seed_error is None for e in effects) else "over seeds and images"
    return f"What this run says about the paper's claims: differences of rows, with 95 % intervals {chance}"


def _legend(figure: Figure, marks: Sequence[Mark]) -> None:
    """Draw the legend: a row of the verdicts that occur, below it a row of the other symbols."""
    used = {mark.style for mark in marks if mark.finding.effect is not None}
    verdicts: list[Artist] = [
        Line2D([], [], color=colour, marker=shape, markersize=6, linewidth=1.6, label=verdict)
        for verdict, (colour, shape) in STYLES.items()
        if (colour, shape) in used
    ]
    others: list[Artist] = [
        Line2D([], [], color=INK, marker="o", markerfacecolor=face, linestyle="none", label=label)
        for label, face in (("filled: box AP", INK), ("hollow: mask AP", "white"))
    ]
    others += [Line2D([], [], label="the paper", **PAPER), Patch(color=BAND, label=f"within {MARGIN:g} AP")]
    for row, handles in enumerate((others, verdicts)):
        place = (LEFT + PLOT / 2, (0.05 + 0.22 * row) / figure.get_figheight())
        style = {"fontsize": 7.5, "frameon": False, "columnspacing": 1.4, "borderaxespad": 0}
        figure.legend(handles=handles, loc="lower center", bbox_to_anchor=place, ncols=max(1, len(handles)), **style)

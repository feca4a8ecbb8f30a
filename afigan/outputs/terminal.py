"""The table of `make status` on a terminal, with colours; `afigan.outputs.status.render` has the same as plain text."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from afigan.outputs.status import HEADINGS, NUMBERS, SILENT, Row, busy, cells, not_shown, summary

STYLES = {
    "done": "green",
    "there": "green",
    "running": "bold cyan",
    "failed": "bold red",
    SILENT: "bold red",
    "interrupted": "yellow",
    "preempted": "yellow",
    "stale": "magenta",
    "waiting": "dim",
}
BAR = 12  # columns of a bar of progress


def screen() -> Console | None:
    """Return the terminal, if the output is one that has colours or can move its cursor; None otherwise."""
    console = Console(highlight=False)
    return console if console.is_terminal and not console.is_dumb_terminal else None


def show(console: Console, rows: list[Row], time: datetime) -> None:
    """Print the table once."""
    console.print(_group(rows, summary(rows, time), time))


@contextmanager
def live(console: Console) -> Iterator[Callable[[list[Row], datetime], None]]:
    """Yield a function that replaces the table on the screen; the last table remains when the body ends."""
    last: Group | None = None

    def update(rows: list[Row], time: datetime) -> None:
        nonlocal last
        last = _group(rows, summary(rows, time), time)
        fitting = last
        if len(console.render_lines(last)) > console.height:
            fitting = _group(busy(rows), summary(rows, time) + not_shown(rows), time)
        view.update(fitting, refresh=True)

    try:
        with Live(console=console, screen=True, auto_refresh=False) as view:
            yield update
    finally:
        if last is not None:
            console.print(last)


def _group(rows: list[Row], title: str, time: datetime) -> Group:
    texts = [cells(row, time) for row in rows]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for i, heading in enumerate(HEADINGS):
        wide = max((len(heading), *(len(text[i]) for text in texts)))
        # the last column gives way when the terminal is narrow
        least = wide if heading != HEADINGS[-1] else None
        justify: JustifyMethod = "right" if heading in NUMBERS else "left"
        table.add_column(heading, justify=justify, no_wrap=True, min_width=least)
        if heading == "iteration":
            table.add_column("", min_width=BAR)
    for row, (node, status, iteration, *rest) in zip(rows, texts, strict=True):
        style = STYLES.get(status, "")
        faint = "dim" if status == "waiting" else ""
        bar: RenderableType = ""
        if row.run is not None and row.run.total and row.status != "done":
            bar = ProgressBar(row.run.total, row.run.iteration, BAR, style="dim", complete_style=style)
        table.add_row(Text(node, faint), Text(status, style), iteration, bar, *(Text(text, faint) for text in rest))
    reasons = [Padding(Text(f"{row.node}: {row.reason}", "red"), (0, 0, 0, 4)) for row in rows if row.reason]
    return Group(Text(title, "bold"), table, *reasons)

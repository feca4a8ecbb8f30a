"""Show the findings and the warnings on a terminal, or as plain lines in a log file."""

from collections.abc import Sequence
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from afigan.data.prepare.findings import Summary, table

CLASSES = 40  # that are listed; the report lists all
_LOG_WIDTH = 200  # characters; nothing wraps in a file


def show(summary: Summary, warnings: Sequence[str], file: TextIO) -> None:
    """Write the table of `findings.table`, then a line for each warning; colours only on a terminal."""
    console = Console(file=file, highlight=False, width=None if file.isatty() else _LOG_WIDTH)
    columns = table(summary, CLASSES)
    grid = Table(box=SIMPLE_HEAD)
    for number, heading in enumerate(columns):
        grid.add_column(heading, justify="right" if number else "left")
    for cells in zip(*columns.values(), strict=True):
        grid.add_row(*map(Text, cells))
    console.print(grid)
    for warning in warnings:
        console.print(Text.assemble(("warning", "bold yellow"), f": {warning}"), soft_wrap=True)

"""Compared tables as the page shows them: rows with links to their runs, the reference rows marked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from afigan.reporting.markdown import CITED, OTHERS, ShownTable

REFERENCE = "ref."


@dataclass(frozen=True)
class Cell:
    """text: of the cell. run: the evaluation that it links to, or empty."""

    text: str
    run: str = ""


@dataclass(frozen=True)
class RowView:
    """A row. reference: whether others are compared to it.

    runs: (evaluation, words for it) of the seeds that have been run: the seed's number if there are several.
    """

    head: str
    cells: Sequence[Cell]
    reference: bool = False
    ours_only: bool = False
    runs: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class TableView:
    """A table. headings: of its columns, without that of the runs. words: the number of first columns with words.

    ours: whether a column has only values of ours.
    """

    title: str
    headings: Sequence[str]
    words: int
    rows: Sequence[RowView]
    ours: Sequence[bool]


def main_view(shown: ShownTable, run: Mapping[str, Mapping[str, Any]]) -> TableView:
    """Return the APs and costs of a table; our APs link to the run. run: evaluation -> its metrics file."""
    rows = []
    for i, record in enumerate(shown.records):
        keys = [key for key in str(record["evaluation"]).split("; ") if key in run]
        cells = [Cell(values[i], _link(heading, keys)) for heading, values in shown.main.items()]
        itself = any(cell.text == REFERENCE for cell in cells)
        runs = [(key, str(run[key]["seed"]) if len(keys) > 1 else key) for key in keys]
        rows.append(RowView(cells[0].text, cells[1:], itself, not record["printed"], runs))
    return TableView(shown.title, list(shown.main), shown.left, rows, [_is_ours(heading) for heading in shown.main])


def other_views(shown: ShownTable) -> list[TableView]:
    """Return the other metrics, and the rows that the paper cites, if there are any."""
    others = OTHERS + (", paper / ours" if shown.printed else "")
    views = []
    for title, grid in ((others, shown.rest), (CITED, shown.cited)):
        if grid:
            columns = list(grid.values())
            rows = [RowView(head, [Cell(column[i]) for column in columns[1:]]) for i, head in enumerate(columns[0])]
            views.append(TableView(title, list(grid), 1, rows, [False] * len(grid)))
    return views


def _link(heading: str, keys: Sequence[str]) -> str:
    return keys[0] if keys and _is_ours(heading) and not heading.startswith("Δ") else ""


def _is_ours(heading: str) -> bool:
    return heading.endswith(" ours") and "/" not in heading  # `paper / ours` are two values

"""One compared table as Markdown: APs with their differences, costs, the other metrics folded below, footnotes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from afigan.reporting.layout import LAYOUTS, MULTI_SCALE, TableLayout, flags_of
from afigan.reporting.paper import is_cited
from afigan.reporting.results import NOT_RUN, Results, Row
from afigan.reporting.text import Grid, folded, grid, number, with_interval, with_spread, words

NOT_REPORTED, UNDEFINED = "·", "n/a"
MEANINGS = {
    NOT_RUN: "not run",
    UNDEFINED: "undefined: no such objects, no masks, or no seed in common",
    NOT_REPORTED: "not in the paper",
}
HEADLINE = ("box_AP", "mask_AP")
OTHERS, CITED = "The other metrics", "Detectors of other authors, cited by the paper, as printed"
COSTS = {  # column -> its heading, digits shown
    "params_M": ("params (M)", 2),
    "upsampling_params_K": ("upsampling: params (k)", 1),
    "upsampling_multiply_adds_M": ("upsampling: multiply-adds (M)", 2),
    "time_ms": ("time (ms)", 1),
    "time_ratio": ("time ratio", 2),
}
COUNTS = ("params_M_ours", "upsampling_params_K_ours", "upsampling_multiply_adds_M_ours")  # equal in all seeds
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

Record = dict[str, Any]  # a row of the compared table


@dataclass(frozen=True)
class ShownTable:
    """A compared table in words: every cell as a reader sees it.

    main: APs with their differences, and costs; its first `left` columns identify the rows. rest: the other metrics,
    `paper / ours` if the paper prints any (`printed`). cited: rows of other authors. A grid may be empty.
    ours: whether the table is our own.
    records: the rows of `main` and `rest`, in this order. notes: footnotes. legend: signs in the cells -> meaning.
    """

    number: int
    title: str
    ours: bool
    caption: str
    main: Grid
    left: int
    rest: Grid
    cited: Grid
    records: Sequence[Mapping[str, Any]]
    notes: Sequence[str]
    legend: Mapping[str, str]
    printed: bool

    @property
    def heading(self) -> str:
        """The table's number and title, and whose it is if it is not the paper's."""
        whose = " (ours, not the paper's)" if self.ours else ""
        return f"Table {self.number}{whose}. {self.title}"


def shown_table(table: int, frame: pd.DataFrame, results: Results) -> ShownTable:
    """Return `frame` (of `tables.compare`) in words: values to one decimal, compared rows together.

    The caption names the data, schedule and number of seeds of our rows; rows that differ in these have a footnote.
    """
    layout = LAYOUTS[table]
    records = _ordered(frame.to_dict("records"), layout)
    ours = [record for record in records if not is_cited(record)]
    cited = [record for record in records if is_cited(record)]
    run = {record["row"]: row for record in ours if (row := results.row(table, record["row"])) is not None}
    references = [run[record["reference"]] for record in ours if record["reference"] in run]
    common = next(iter([*references, *run.values()]), None)
    notes, marks = _footnotes(run, common)
    for record in ours:
        record["mark"] = ("" if record["printed"] or layout.ours else " (ours only)") + marks.get(record["row"], "")

    measured = [column.removesuffix("_paper") for column in frame if column.endswith("_paper")]
    printed = {column for column in measured if frame[f"{column}_paper"].notna().any()}
    described = _described(ours, layout)
    several = any(len(row.runs) > 1 for row in run.values())
    main = described | _headline(ours, measured, printed, several) | _costs(ours, measured, printed)
    others = [column for column in measured if column not in (*HEADLINE, *COSTS)]
    rest = {words(column): _pairs(ours, column, printed) for column in others}
    cells = {cell for column in (*main.values(), *rest.values()) for value in column for cell in value.split(" / ")}
    names = {"row": [record["row"] + record["mark"] for record in ours]}
    shown = {words(c): [_paper(record[f"{c}_paper"]) for record in cited] for c in measured if c in printed}
    return ShownTable(
        number=table,
        title=layout.title,
        ours=layout.ours,
        caption=_caption(layout, common, several, results),
        main=main,
        left=len(described),
        rest=names | rest if rest else {},
        cited={"cited row": [record["row"] for record in cited]} | shown if cited else {},
        records=ours,
        notes=notes,
        legend={sign: meaning for sign, meaning in MEANINGS.items() if sign in cells},
        printed=bool(printed),
    )


def table_markdown(table: int, frame: pd.DataFrame, results: Results) -> str:
    """Return `frame` (of `tables.compare`) as Markdown: a line per row, a key to `—` etc. below; cited rows folded."""
    shown = shown_table(table, frame, results)
    legend = "; ".join(f"`{sign}` {meaning}" for sign, meaning in shown.legend.items())
    parts = [
        f"## {shown.heading}",
        shown.caption,
        grid(shown.main, left=shown.left),
        *shown.notes,
        legend and f"{legend}.",
    ]
    if shown.rest:
        parts.append(folded(OTHERS + (", paper / ours" if shown.printed else ""), grid(shown.rest, left=1)))
    if shown.cited:
        parts.append(folded(CITED, grid(shown.cited, left=1)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _ordered(records: list[Record], layout: TableLayout) -> list[Record]:
    """Sort rows so that compared ones are together; groups are in the order of their first rows."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(layout.group_of(record["row"]), []).append(record)
    return [record for group in groups.values() for record in group]


def _caption(layout: TableLayout, common: Row | None, several: bool, results: Results) -> str:
    ours = "not run yet"
    if common is not None:
        seeds = len(common.evaluations)
        count = "one seed" if seeds == 1 else f"{seeds} seeds, as mean ± sample standard deviation"
        ours = "; ".join([*common.setting, count])
    against = layout.reference
    if layout.group:
        against = f"the {against} row of the same {' and '.join(layout.shown[: layout.group])}"
    text = f"{layout.paper} Ours: {ours}. APs in percent; Δ is the difference to {against}"
    if common is not None:
        chance = "seeds and images" if several else "images alone"
        text += f", ours with its 95 % interval over {chance}"
    text += "."
    if layout.costs:
        timed = results.benchmark.setting if results.benchmark else "not run yet"
        text += f" Our time: {timed}, one row after the other; the ratio is to the same row."
    return text


def _footnotes(rows: dict[str, Row], common: Row | None) -> tuple[list[str], dict[str, str]]:
    """Return the notes, and row -> its mark, for the rows to which the text above the table does not apply."""
    numbers: dict[str, str] = {}
    marks = {}
    for label, row in rows.items():
        assert common is not None  # it is one of the rows
        differences = []
        if any(model.startswith("extractors/") for model in row.distinct("model")):
            differences.append("the extractor M itself is evaluated, there is no stage 3")
        (data, schedule), (common_data, common_schedule) = row.setting, common.setting
        if schedule != common_schedule:
            differences.append(f"another schedule: {schedule}")
        if data != common_data:
            differences.append(f"other data: {data}")
        scales = row.distinct("multi_scale")
        if scales != [MULTI_SCALE in flags_of(label)]:
            differences.append("tested at " + " or ".join("several scales" if many else "one scale" for many in scales))
        if len(row.runs) < len(row.evaluations):
            differences.append(f"{len(row.runs)} of {len(row.evaluations)} seeds have been run")
        elif len(row.evaluations) != len(common.evaluations):
            differences.append("one seed" if len(row.evaluations) == 1 else f"{len(row.evaluations)} seeds")
        if differences:
            note = "; ".join(differences)
            mark = numbers.setdefault(note, str(len(numbers) + 1).translate(SUPERSCRIPTS))
            marks[label] = f" {mark}"
    return [f"{mark} Differs from the other rows: {note}." for note, mark in numbers.items()], marks


def _described(records: list[Record], layout: TableLayout) -> Grid:
    """Return the columns that identify the rows; switches (0 or 1) become ticks. The first has the rows' marks."""
    columns = {}
    for column in layout.shown:
        values = [record[column] for record in records]
        switch = {value for value in values if value is not None} <= {0, 1}
        columns[column] = [("✓" if v == 1 else "") if switch else ("" if v is None else str(v)) for v in values]
    first, last = columns[layout.shown[0]], columns[layout.shown[-1]]
    for i, record in enumerate(records):
        if record["printed"]:
            last[i] = ", ".join([last[i], *flags_of(record["row"])])
        first[i] = (first[i] if record["printed"] else record["row"]) + record["mark"]
    return {words(column): cells for column, cells in columns.items()}


def _headline(records: list[Record], measured: list[str], printed: set[str], several: bool) -> Grid:
    """Return box AP and mask AP: the paper's and ours, then the difference of each row to its reference."""
    columns: Grid = {}
    for column in (column for column in HEADLINE if column in measured):
        name = words(column)
        if column in printed:
            columns[f"{name} paper"] = [_paper(record[f"{column}_paper"]) for record in records]
        columns[f"{name} ours"] = [_ours(record, f"{column}_ours") for record in records]
        if column in printed:
            deltas = [_paper(record[f"{column}_paper_delta"], signed=True) for record in records]
            columns[f"Δ {name} paper"] = _referred(records, deltas)
        columns[f"Δ {name} ours"] = _referred(records, [_delta(record, column, several) for record in records])
    return columns


def _delta(record: Record, column: str, several: bool) -> str:
    """Format our difference with its interval, if it has one. several: whether the table's rows have several seeds."""
    value, low, high, seeds = (record[f"{column}_ours_delta{end}"] for end in ("", "_low", "_high", "_seeds"))
    if value is None or value == NOT_RUN:
        return value or UNDEFINED
    text = with_interval(value, None if low is None else (low, high))
    return f"{text} (one seed)" if several and seeds == 1 else text


def _referred(records: list[Record], values: list[str]) -> list[str]:
    """Fit values that are relative to a reference: none for a row without one, a word for the reference itself."""
    cells = []
    for record, value in zip(records, values, strict=True):
        itself = record["reference"] == record["row"] and value not in MEANINGS
        cells.append("" if record["reference"] is None else "ref." if itself else value)
    return cells


def _costs(records: list[Record], measured: list[str], printed: set[str]) -> Grid:
    """Return parameters, time and its ratio to the reference row's: paper / ours, or only ours if none is printed."""
    columns: Grid = {}
    for column, (heading, digits) in COSTS.items():
        if column in measured:
            cells = _pairs(records, column, printed, digits)
            if column == "time_ratio":
                cells = _referred(records, cells)
            columns[heading + (" paper / ours" if column in printed else "")] = cells
    return columns


def _pairs(records: list[Record], column: str, printed: set[str], digits: int = 1) -> list[str]:
    ours = [_ours(record, f"{column}_ours", digits) for record in records]
    if column not in printed:
        return ours
    pairs = zip(records, ours, strict=True)
    return [f"{_paper(record[f'{column}_paper'], digits)} / {value}" for record, value in pairs]


def _paper(value: Any, digits: int = 1, signed: bool = False) -> str:
    """Format a value as the paper prints it: parameters and times are integers."""
    if value is None:
        return NOT_REPORTED
    return str(value) if isinstance(value, int) else number(value, digits, signed)


def _ours(record: Record, column: str, digits: int = 1, signed: bool = False) -> str:
    value, spread = record[column], record.get(f"{column}_spread")
    if value is None:
        return UNDEFINED
    if column in COUNTS:
        spread = None
    return value if value == NOT_RUN else with_spread(value, spread, digits, signed)

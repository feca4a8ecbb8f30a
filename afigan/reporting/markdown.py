"""One compared table as Markdown: APs with their differences, sizes, the other metrics folded below, footnotes."""

from typing import Any

import pandas as pd

from afigan.reporting.metrics import Metrics
from afigan.reporting.paper import KEY, REFERENCE, TITLE, metric_columns, printed_table

NOT_REPORTED, UNDEFINED = "·", "n/a"
PAPER = "Paper: Mask R-CNN R-50-FPN, COCO val2017, about 12 epochs."  # of each of Tables 4, 6, 7, 8, 9
HEADLINE = ("box_AP", "mask_AP")
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def table_markdown(number: int, frame: pd.DataFrame, metrics: dict[str, Metrics | None]) -> str:
    """`frame` (of `tables.compare`) for a reader: values to one decimal, one line a row, what `—` etc. mean below.

    metrics: row key -> its evaluation; says on what data and schedule ours was trained, and which rows differ in it.
    """
    key, reference = KEY[number], REFERENCE[number]
    measured = metric_columns(printed_table(number))
    described = list(frame.columns[: frame.columns.get_loc("printed")])
    measured_rows = {row: metrics[row] for row in frame[key] if metrics.get(row) is not None}
    common = measured_rows.get(reference) or next(iter(measured_rows.values()), None)
    notes, marks = _footnotes(measured_rows, common)

    names = [
        str(row[key]) + ("" if row["printed"] else " (ours only)") + marks.get(row[key], "")
        for row in frame.to_dict("records")
    ]
    main = {_words(key): names}
    for column in described:
        if column != key:
            main[_words(column)] = _described(frame[column])
    for column in measured:
        if column in HEADLINE:
            name = _words(column)
            main[f"{name} paper"] = [_paper(value) for value in frame[f"{column}_paper"]]
            main[f"{name} ours"] = [_ours(value) for value in frame[f"{column}_ours"]]
            for side, show in (("paper", _paper), ("ours", _ours)):
                main[f"Δ {name} {side}"] = [
                    "ref." if row == reference and value == 0 else show(value, signed=True)
                    for row, value in zip(frame[key], frame[f"{column}_{side}_delta"], strict=True)
                ]
        elif column == "params_M":
            main["params (M) paper"] = [
                NOT_REPORTED if value is None else str(value) for value in frame["params_M_paper"]
            ]
            main["params (M) ours"] = [_ours(value) for value in frame["params_M_ours"]]
    rest = {_words(key): names}
    for column in measured:
        if column not in (*HEADLINE, "params_M"):
            pairs = zip(frame[f"{column}_paper"], frame[f"{column}_ours"], strict=True)
            rest[_words(column)] = [f"{_paper(printed)} / {_ours(ours)}" for printed, ours in pairs]

    ours = "not run yet" if common is None else f"{common.data}; {common.schedule}"
    cells = {cell for column in (*main.values(), *rest.values()) for value in column for cell in value.split(" / ")}
    meanings = {"—": "not run", UNDEFINED: "undefined: no such objects, or no masks", NOT_REPORTED: "not in the paper"}
    legend = "; ".join(f"`{sign}` {meaning}" for sign, meaning in meanings.items() if sign in cells)
    parts = [
        f"## Table {number}. {TITLE[number]}",
        f"{PAPER} Ours: {ours}. APs in percent; Δ is the difference to {reference}.",
        _grid(main, left=len(described)),
        *notes,
        legend and f"{legend}.",
        f"<details><summary>The other metrics, paper / ours</summary>\n\n{_grid(rest, left=1)}\n\n</details>",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _footnotes(rows: dict[str, Metrics], common: Metrics | None) -> tuple[list[str], dict[str, str]]:
    """The notes, and row -> its mark, for the rows that do not share what is said above the table."""
    numbers: dict[str, str] = {}
    marks = {}
    for row, metrics in rows.items():
        differences = []
        if metrics.model.startswith("extractors/"):
            differences.append("the extractor M itself is evaluated, there is no stage 3")
        if metrics.schedule != common.schedule:
            differences.append(f"another schedule: {metrics.schedule}")
        if metrics.data != common.data:
            differences.append(f"other data: {metrics.data}")
        if differences:
            note = "; ".join(differences)
            mark = numbers.setdefault(note, str(len(numbers) + 1).translate(SUPERSCRIPTS))
            marks[row] = f" {mark}"
    return [f"{mark} Not like the other rows: {note}." for note, mark in numbers.items()], marks


def _grid(columns: dict[str, list[str]], left: int) -> str:
    """A Markdown table; its first `left` columns are words, the others numbers."""
    frame = pd.DataFrame(columns, dtype=object)
    align = ["left"] * left + ["right"] * (len(columns) - left)
    return frame.to_markdown(index=False, disable_numparse=True, colalign=align)


def _words(column: str) -> str:
    """Column name -> heading: box_AP50 -> box AP50, stage1_afigan -> stage1 afigan."""
    return column.replace("_", " ")


def _described(values: pd.Series) -> list[str]:
    """A column that says what the rows are; switches (0 or 1) become ticks."""
    known = values.dropna()
    if len(known) and known.isin([0, 1]).all():
        return ["✓" if value == 1 else "" for value in values]
    return ["" if pd.isna(value) else str(value) for value in values]


def _number(value: float, signed: bool) -> str:
    text = f"{value:+.1f}" if signed else f"{value:.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _paper(value: Any, signed: bool = False) -> str:
    return NOT_REPORTED if value is None else _number(value, signed)


def _ours(value: Any, signed: bool = False) -> str:
    if value is None:
        return UNDEFINED
    return value if isinstance(value, str) else _number(value, signed)

"""Our tables beside the paper's: results/tables/tableN.csv (complete) and tableN.md (to read).

Every number of ours comes from a metrics file whose params hash is today's, every one of the paper from `paper/*.csv`.
"""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from afigan.files import atomic_path
from afigan.reporting.markdown import table_markdown
from afigan.reporting.metrics import AP_NAMES, Metrics, read_metrics
from afigan.reporting.paper import KEY, REFERENCE, metric_columns, printed_table

NOT_RUN = "—"
AP_COLUMNS = tuple(f"{kind}_{name}" for kind in ("box", "mask") for name in AP_NAMES)
PROVENANCE = {  # column of ours -> attribute of Metrics
    "model": "model",
    "schedule": "schedule",
    "data_source": "source",
    "train_images": "train_images",
    "val_images": "val_images",
}


def write_tables(tables: dict[str, dict[str, str]], metrics_dir: Path, hashes: dict[str, str], out: Path) -> None:
    """Write `out`/tableN.csv and tableN.md for every table of `tables`; remove the tables `out` holds from before.

    tables: {"table4": {"A1": "a1", ...}}, the printed row's key -> the evaluation that fills it. A printed row without
        an entry shows `—`; an entry that the paper does not print is a row of ours, appended.
    metrics_dir: holds KEY.json per evaluation. A missing file is a row that has not been run: its cells show `—`.
    hashes: evaluation -> the params hash it must have today.
    Raises ValueError naming table, row, evaluation and remedy: an unknown table or evaluation, a metrics file that is
    malformed or stale. Nothing is written then.
    """
    written = {}
    for name, evaluations in tables.items():
        number = _table_number(name)
        metrics = {}
        for row, key in evaluations.items():
            try:
                metrics[str(row)] = _row_metrics(key, Path(metrics_dir), hashes)
            except ValueError as error:
                raise ValueError(f"{name}, row {row}, evaluation '{key}': {error}") from error
        frame = compare(number, {str(row): key for row, key in evaluations.items()}, metrics)
        written[f"{name}.csv"] = frame.to_csv(index=False, lineterminator="\n")
        written[f"{name}.md"] = table_markdown(number, frame, metrics)
    out = Path(out)
    for stale in (*out.glob("table[0-9].csv"), *out.glob("table[0-9].md")):
        stale.unlink()  # a table of another profile would pass for one of this
    for filename, text in written.items():
        with atomic_path(out / filename) as temporary:
            temporary.write_text(text, "utf-8")


def compare(number: int, evaluations: dict[str, str], metrics: dict[str, Metrics | None]) -> pd.DataFrame:
    """Table `number` with the paper's values and ours: the printed rows in printed order, then rows of ours only.

    Columns: what the row is, as printed; `printed` (1, or 0 for ours only); `evaluation`, `model`, `schedule`,
    `data_source`, `train_images`, `val_images` of ours; then `X_paper`, `X_ours` for each printed metric X, and for APs
    `X_paper_delta`, `X_ours_delta`: the difference to the table's reference row. Cells: `—` has not been run; empty is
    not reported by the paper, or undefined for ours (no such objects, no masks).
    """
    table = printed_table(number)
    key, measured = KEY[number], metric_columns(table)
    described = [column for column in table.columns if column not in measured]
    printed = {str(row[key]): row for row in table.astype(object).where(table.notna(), None).to_dict("records")}
    assert len(printed) == len(table), f"row keys of the paper's Table {number} are not unique"

    def paper_value(row: str, column: str) -> Any:
        return printed[row][column] if row in printed else None

    def our_value(row: str, column: str) -> Any:
        return NOT_RUN if metrics.get(row) is None else metrics[row].values[column]

    rows = []
    for row in [*printed, *(row for row in evaluations if row not in printed)]:
        ours = metrics.get(row)
        cells = {column: paper_value(row, column) for column in described} | {key: row}
        cells |= {"printed": int(row in printed), "evaluation": evaluations.get(row, NOT_RUN)}
        for column, attribute in PROVENANCE.items():
            cells[column] = NOT_RUN if ours is None else getattr(ours, attribute)
        for column in measured:
            cells[f"{column}_paper"] = paper_value(row, column)
            cells[f"{column}_ours"] = our_value(row, column)
            if column in AP_COLUMNS:
                for side, value in (("paper", paper_value), ("ours", our_value)):
                    cells[f"{column}_{side}_delta"] = _difference(value(row, column), value(REFERENCE[number], column))
        rows.append(cells)
    return pd.DataFrame(rows, dtype=object)  # object: an integer column with one empty cell must not become 1.0


def _difference(value: Any, reference: Any) -> Any:
    if NOT_RUN in (value, reference):
        return NOT_RUN
    if value is None or reference is None:
        return None
    return round(value - reference, 6)  # 39.4 - 38.6 is 0.8, not 0.7999999999999972


def _table_number(name: str) -> int:
    match = re.fullmatch(r"table(\d)", name)
    if match is None or int(match[1]) not in KEY:
        known = ", ".join(f"table{number}" for number in KEY)
        raise ValueError(f"tables.{name}: there is no such table to fill; use one of {known}")
    return int(match[1])


def _row_metrics(key: str, metrics_dir: Path, hashes: dict[str, str]) -> Metrics | None:
    if key not in hashes:
        raise ValueError(f"there is no such evaluation; add '{key}' to experiments.evaluations or correct the row")
    path = metrics_dir / f"{key}.json"
    return read_metrics(path, key, hashes[key]) if path.exists() else None

"""Our tables beside the paper's: results/tables/tableN.csv (complete) and tableN.md (to read).

Every number of ours comes from a metrics file whose params hash is today's, every one of the paper from `paper/*.csv`.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from afigan.files import atomic_path
from afigan.reporting.layout import LAYOUTS, Record
from afigan.reporting.markdown import table_markdown
from afigan.reporting.metrics import AP_NAMES
from afigan.reporting.paper import is_cited, metric_columns, printed_records, printed_table
from afigan.reporting.results import NOT_RUN, Results, Row, Tables, read_results
from afigan.reporting.seeds import combine

AP_COLUMNS = tuple(f"{kind}_{name}" for kind in ("box", "mask") for name in AP_NAMES)
COSTS = ("params_M", "time_ms")
PROVENANCE = {  # column of ours -> attribute of Metrics
    "model": "model",
    "schedule": "schedule",
    "data_source": "source",
    "train_images": "train_images",
    "val_images": "val_images",
}

Cells = dict[str, Any]


def write_tables(
    tables: Tables, metrics_dir: Path, hashes: dict[str, str], out: Path, benchmark: Path | None = None
) -> None:
    """Write `out`/tableN.csv and tableN.md for every table of `tables`; remove the tables `out` holds from before.

    tables: {"table4": {"A1": "a1", ...}}, the printed row's label -> the evaluation that fills it, or a list of them,
        one a seed. A printed row without an entry shows `—`; an entry that the paper does not print is a row of ours,
        appended.
    The other arguments and the errors are those of `read_results`. Nothing is written if there is an error.
    """
    results = read_results(tables, metrics_dir, hashes, benchmark)
    written = {}
    for number in results.rows:
        frame = compare(number, results)
        written[f"table{number}.csv"] = frame.to_csv(index=False, lineterminator="\n")
        written[f"table{number}.md"] = table_markdown(number, frame, results)
    out = Path(out)
    for stale in (*out.glob("table[0-9].csv"), *out.glob("table[0-9].md")):
        stale.unlink()  # a table of another profile would pass for one of this
    for filename, text in written.items():
        with atomic_path(out / filename) as temporary:
            temporary.write_text(text, "utf-8")


def compare(number: int, results: Results) -> pd.DataFrame:
    """Table `number` with the paper's values and ours: the printed rows in printed order, then rows of ours only.

    Columns:
        `row`, its label; what it is, as printed; `printed` (1, or 0 for ours only); `reference`, the label of the row
        that it is compared to.
        Of ours: `evaluation`, `seeds` (how many have been run), `seeds_named` (how many there should be), `model`,
        `schedule`, `data_source`, `train_images`, `val_images`; where the seeds differ in one, all joined by `; `.
        For each metric X: `X_paper`, `X_ours` (the mean over seeds), `X_ours_spread` (the sample standard deviation).
        For APs: `X_paper_delta`, `X_ours_delta`, `X_ours_delta_spread`: the difference to the reference row.
        For `time_ms` besides: `time_ratio_paper`, `time_ratio_ours`: the ratio to the reference row's.
    Cells: `—` has not been run; empty is not reported by the paper, cited by it, undefined for ours (no such objects,
    no masks; no spread of one seed, or of a difference of rows with different seeds), or a row without a reference.
    """
    layout, table = LAYOUTS[number], printed_table(number)
    printed, named = printed_records(number), results.rows[number]
    columns = metric_columns(table)
    described = [column for column in table.columns if column not in columns]
    columns += [column for column in COSTS if layout.costs and column not in columns]
    labels = [*printed, *(label for label in named if label not in printed)]
    fillable = [label for label in labels if not is_cited(printed.get(label, {}))]

    rows = []
    for label in labels:
        record = printed.get(label, {})
        reference = layout.reference_of(label, fillable) if label in fillable else None
        cells = {"row": label} | {column: record.get(column) for column in described}
        cells |= {"printed": int(label in printed), "reference": reference}
        cells |= _provenance(named.get(label))
        for column in columns:
            paper = _paper(column, record, printed.get(reference, {}))
            cells |= paper | _ours(column, named.get(label), named.get(reference), reference is not None)
        if label not in fillable:
            cells = {column: None if value == NOT_RUN else value for column, value in cells.items()}
        rows.append(cells)
    return pd.DataFrame(rows, dtype=object)  # object: an integer column with one empty cell must not become 1.0


def _provenance(row: Row | None) -> Cells:
    if row is None:
        return dict.fromkeys(("evaluation", "seeds", "seeds_named", *PROVENANCE), NOT_RUN)
    cells = {"evaluation": "; ".join(row.evaluations), "seeds": len(row.runs), "seeds_named": len(row.evaluations)}
    for column, attribute in PROVENANCE.items():
        cells[column] = "; ".join(str(value) for value in row.distinct(attribute)) or NOT_RUN
    return cells


def _paper(column: str, record: Record, reference: Record) -> Cells:
    value, base = record.get(column), reference.get(column)
    both = value is not None and base is not None
    cells = {f"{column}_paper": value}
    if column in AP_COLUMNS:
        cells[f"{column}_paper_delta"] = _rounded(value - base) if both else None
    if column == "time_ms":
        cells["time_ratio_paper"] = _rounded(value / base) if both else None
    return cells


def _ours(column: str, row: Row | None, reference: Row | None, compared: bool) -> Cells:
    """Cells of one metric of ours. compared: whether there is a reference row, run or not."""
    value, spread = _estimate(column, [(1.0, row)])
    cells = {f"{column}_ours": value, f"{column}_ours_spread": spread}
    if column in AP_COLUMNS:
        value, spread = _estimate(column, [(1.0, row), (-1.0, reference)]) if compared else (None, None)
        cells |= {f"{column}_ours_delta": _rounded(value), f"{column}_ours_delta_spread": spread}
    if column == "time_ms":
        base, _ = _estimate(column, [(1.0, reference)])
        ratio = NOT_RUN if NOT_RUN in (value, base) else _rounded(value / base)
        cells["time_ratio_ours"] = ratio if compared else None
    return cells


def _estimate(column: str, terms: list[tuple[float, Row | None]]) -> tuple[Any, Any]:
    """Mean and spread of a row, or of a difference of two."""
    if any(row is None or not row.runs for _, row in terms):
        return NOT_RUN, NOT_RUN
    samples = [(weight, row.sample(column)) for weight, row in terms]
    if any(sample is None for _, sample in samples):
        return (NOT_RUN, NOT_RUN) if column == "time_ms" else (None, None)
    estimate = combine(samples)
    return estimate.mean, _rounded(estimate.spread)


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value  # 39.4 - 38.6 is 0.8, not 0.7999999999999972

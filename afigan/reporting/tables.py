"""Our tables beside the paper's: results/tables/tableN.csv (complete) and tableN.md (to read).

Our numbers come from metrics files whose params hash is current, the paper's numbers from `paper/*.csv`.
"""

from typing import Any

import pandas as pd

from afigan.reporting.comparisons import Comparison, difference, find
from afigan.reporting.layout import LAYOUTS, Record
from afigan.reporting.markdown import HEADLINE, table_markdown
from afigan.reporting.metrics import AP_NAMES
from afigan.reporting.paper import is_cited, metric_columns, printed_records, printed_table
from afigan.reporting.results import MEASURED, NOT_RUN, Results, Row
from afigan.reporting.samples import Sample, common_seeds, paired

AP_COLUMNS = tuple(f"{kind}_{name}" for kind in ("box", "mask") for name in AP_NAMES)
PROVENANCE = {  # our column -> attribute of Metrics
    "model": "model",
    "schedule": "schedule",
    "data_source": "source",
    "train_images": "train_images",
    "val_images": "val_images",
}

Cells = dict[str, Any]


def tables_text(results: Results) -> dict[str, str]:
    """Return file name -> text: tableN.csv and tableN.md for every table that has rows in params.yaml.

    A printed row without an entry there shows `—`; an entry that the paper does not print is appended as our own row.
    Raises ValueError if the matches of an evaluation do not fit its metrics.
    """
    written = {}
    for number in results.rows:
        frame = compare(number, results)
        written[f"table{number}.csv"] = frame.to_csv(index=False, lineterminator="\n")
        written[f"table{number}.md"] = table_markdown(number, frame, results)
    return written


def compare(number: int, results: Results) -> pd.DataFrame:
    """Return Table `number` with the paper's values and ours: the printed rows in printed order, then our own rows.

    Columns:
        `row`, its label; the printed columns that identify it; `printed` (1, or 0 for our own rows); `reference`, the
        label of the row that it is compared to.
        For ours: `evaluation`, `seeds` (number run), `seeds_named` (number in params.yaml), `model`, `schedule`,
        `data_source`, `train_images`, `val_images`; if the seeds differ in one, all values joined by `; `.
        For each metric X, APs and costs: `X_paper`, `X_ours` (the mean over seeds), `X_ours_spread` (the sample
        standard deviation).
        For APs: `X_paper_delta`, `X_ours_delta`: the difference to the reference row, over the seeds that both have.
        For box_AP and mask_AP also: `X_ours_delta_low`, `X_ours_delta_high`: its 95 % interval, over seeds and
        images, with one seed only over images; `X_ours_delta_seeds`: the number of seeds that both have.
        For `time_ms` also: `time_ratio_paper`, `time_ratio_ours`: the ratio to the reference row's;
        `time_ratio_ours_spread`: the sample standard deviation of the ratio over the seeds that both have. A seed's
        evaluations are timed one after the other, so that the spread has the machine's drift in it.
    Cells: `—` means not run. Empty means not reported by the paper, cited by it, undefined for ours (no such objects,
    no masks; no spread of one seed, no difference of rows without a common seed), or a row without a reference.
    """
    layout, table = LAYOUTS[number], printed_table(number)
    printed, named = printed_records(number), results.rows[number]
    columns = metric_columns(table)
    described = [column for column in table.columns if column not in columns]
    columns += [column for column in layout.costs if column not in columns]
    labels = [*printed, *(label for label in named if label not in printed)]
    fillable = [label for label in labels if not is_cited(printed.get(label, {}))]

    rows = []
    for label in labels:
        record = printed.get(label, {})
        reference = layout.reference_of(label, fillable) if label in fillable else None
        cells = {"row": label} | {column: record.get(column) for column in described}
        cells |= {"printed": int(label in printed), "reference": reference}
        cells |= _provenance(named.get(label))
        base = {} if reference is None else printed.get(reference, {})
        referred = None if reference is None else named.get(reference)
        for column in columns:
            paper = _paper(column, record, base)
            cells |= paper | _ours(column, named.get(label), referred, reference is not None)
            if column in HEADLINE:
                cells |= _interval(number, column, label, reference, results)
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
    cells = {f"{column}_paper": value}
    if column in AP_COLUMNS:
        cells[f"{column}_paper_delta"] = None if value is None or base is None else _rounded(value - base)
    if column == "time_ms":
        cells["time_ratio_paper"] = None if value is None or base is None else _rounded(value / base)
    return cells


def _ours(column: str, row: Row | None, reference: Row | None, compared: bool) -> Cells:
    """Return our cells of one metric. compared: whether there is a reference row, run or not."""
    value, spread = _estimate(column, [(1.0, row)])
    cells = {f"{column}_ours": value, f"{column}_ours_spread": spread}
    if column in AP_COLUMNS:
        delta, _ = _estimate(column, [(1.0, row), (-1.0, reference)]) if compared else (None, None)
        cells[f"{column}_ours_delta"] = _rounded(delta)
    if column == "time_ms":
        base, _ = _estimate(column, [(1.0, reference)])
        ratio = NOT_RUN if NOT_RUN in (value, base) else _rounded(value / base)
        cells["time_ratio_ours"] = ratio if compared else None
        cells["time_ratio_ours_spread"] = None if not compared or ratio == NOT_RUN else _ratio_spread(row, reference)
    return cells


def _ratio_spread(row: Row | None, reference: Row | None) -> float | None:
    """Return the sample standard deviation of the ratio of times over the seeds that both rows have."""
    assert row is not None and reference is not None
    times, bases = row.sample("time_ms"), reference.sample("time_ms")
    assert times is not None and bases is not None
    seeds = common_seeds([times, bases])
    ratios = [time / base for time, base in zip(times.at(seeds), bases.at(seeds), strict=True)]
    return _rounded(Sample(tuple(ratios), seeds).spread) if seeds and row is not reference else None


def _interval(number: int, column: str, label: str, reference: str | None, results: Results) -> Cells:
    """Return the 95 % interval of a row's difference to its reference, and its seeds; nothing for the reference."""
    cells: tuple[Any, Any, Any] = (None, None, None)
    if reference not in (None, label):
        finding = find(Comparison("", number, column, (difference(label, reference),)), results)
        if finding.missing:
            cells = (NOT_RUN, NOT_RUN, NOT_RUN)
        elif finding.interval is not None:
            cells = (*map(_rounded, finding.interval), len(finding.seeds))
    return {f"{column}_ours_delta_{name}": cell for name, cell in zip(("low", "high", "seeds"), cells, strict=True)}


def _estimate(column: str, terms: list[tuple[float, Row | None]]) -> tuple[Any, Any]:
    """Return mean and spread of a row, or of a difference of two, over the seeds that both have."""
    rows = [(weight, row) for weight, row in terms if row is not None and row.runs]
    if len(rows) < len(terms):
        return NOT_RUN, NOT_RUN
    samples = [(weight, sample) for weight, row in rows if (sample := row.sample(column)) is not None]
    if len(samples) < len(rows):
        return (NOT_RUN, NOT_RUN) if column in MEASURED else (None, None)
    sample = paired(samples)
    return (None, None) if sample is None else (sample.mean, _rounded(sample.spread))


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value  # 39.4 - 38.6 is 0.8, not 0.7999999999999972

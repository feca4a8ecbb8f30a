"""Measurements of a run, row by row: the evaluations that `tables` of params.yaml names, read and checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afigan.reporting.benchmark import Benchmark, read_benchmark
from afigan.reporting.layout import LAYOUTS
from afigan.reporting.metrics import Metrics, read_metrics
from afigan.reporting.paper import is_cited, printed_records
from afigan.reporting.resamples import Resamples
from afigan.reporting.samples import Sample

Trainings = Mapping[str, Mapping[str, Any]]  # kind -> schedule
Tables = Mapping[str, Mapping[str, str | list[str]]]  # {"table4": {"A1": "a1" or ["a1", "a1_s1"], ...}, ...}

NOT_RUN = "—"  # in place of a number of ours
MEASURED = {  # columns from results/benchmark.json -> attribute of `Benchmark`
    "time_ms": "time_ms",
    "upsampling_params_K": "params_K",
    "upsampling_multiply_adds_M": "multiply_adds_M",
}


@dataclass(frozen=True)
class Row:
    """One row of ours.

    evaluations: their keys, one per seed, as named in params.yaml.
    runs: the metrics of the evaluations that have been run; none: the row has not been run.
    measured: column of `MEASURED` -> evaluation -> value, for the evaluations that have been timed.
    trainings: for each of `runs`, kind -> schedule of the trainings behind it, as `Node.trainings` has them.
    """

    evaluations: tuple[str, ...]
    runs: tuple[Metrics, ...]
    measured: Mapping[str, Mapping[str, float]]
    trainings: tuple[Trainings, ...] = ()

    def sample(self, column: str) -> Sample | None:
        """Return an AP, `params_M` or a column of `MEASURED` of a row that has been run.

        None: the value is undefined (no such objects, no masks), or none of the runs has been timed.
        """
        values: dict[int, float | None]
        if column in MEASURED:
            found = self.measured.get(column, {})
            values = {run.seed: found[run.key] for run in self.runs if run.key in found}
        else:
            values = {run.seed: run.values[column] for run in self.runs}
        known = tuple(value for value in values.values() if value is not None)
        undefined = not values or len(known) < len(values)
        return None if undefined else Sample(known, tuple(values))

    def distinct(self, attribute: str) -> list:
        """Return the distinct values of an attribute of `Metrics` over the runs."""
        return list(dict.fromkeys(getattr(run, attribute) for run in self.runs))

    @property
    def setting(self) -> tuple[str, str]:
        """Data and schedule. Rows that differ in them cannot be compared."""
        return " or ".join(self.distinct("data")), " or ".join(self.distinct("schedule"))


@dataclass(frozen=True)
class Results:
    """Measurements of a run.

    rows: number of a table -> label -> row, for the tables and labels that params.yaml names, in the tables' order.
    resamples: AP of the runs over resampled images.
    """

    rows: dict[int, dict[str, Row]]
    benchmark: Benchmark | None
    resamples: Resamples

    def row(self, number: int, label: str) -> Row | None:
        """Return the row; None if it has not been run."""
        row = self.rows.get(number, {}).get(label)
        return row if row is not None and row.runs else None


def read_results(
    tables: Tables,
    metrics_dir: Path,
    hashes: dict[str, str],
    benchmark: Path | None = None,
    trainings: Mapping[str, Trainings] | None = None,
) -> Results:
    """Read every row of `tables`.

    metrics_dir: holds KEY.json and KEY.matches.npz per evaluation; an evaluation without a file has not been run.
    hashes: evaluation -> its current params hash.
    benchmark: results/benchmark.json; it may be missing.
    trainings: evaluation -> what `Row.trainings` has of it; None: rows are compared without.
    Raises ValueError, which names table, row, evaluation and remedy, for an unknown table or evaluation, a row that the
    paper cites, two evaluations of one seed in a row, or a file that is malformed or stale.
    """
    timed = None if benchmark is None else read_benchmark(Path(benchmark), hashes)
    measured = {column: getattr(timed, attribute) for column, attribute in MEASURED.items()} if timed else {}
    rows: dict[int, dict[str, Row]] = {}
    for number, name in sorted((_table_number(name), name) for name in tables):
        named = tables[name]
        printed = printed_records(number)
        rows[number] = {}
        for label, one_or_more in named.items():
            if label in printed and is_cited(printed[label]):
                raise ValueError(f"{name}, row {label}: the paper cites it, no evaluation fills it; remove the row")
            keys = (one_or_more,) if isinstance(one_or_more, str) else tuple(one_or_more)
            if not keys:
                raise ValueError(f"{name}, row {label}: no evaluation is named; name one or remove the row")
            runs = []
            for key in keys:
                try:
                    runs += _read_run(key, Path(metrics_dir), hashes)
                except ValueError as error:
                    raise ValueError(f"{name}, row {label}, evaluation '{key}': {error}") from error
            seeds = [run.seed for run in runs]
            if len(set(keys)) < len(keys) or len(set(seeds)) < len(seeds):
                raise ValueError(f"{name}, row {label}: {', '.join(keys)} need different seeds, but have {seeds}")
            behind = () if trainings is None else tuple(trainings[run.key] for run in runs)
            rows[number][label] = Row(keys, tuple(runs), measured, behind)
    return Results(rows, timed, Resamples(metrics_dir))


def _table_number(name: str) -> int:
    match = re.fullmatch(r"table(\d+)", name)
    if match is None or int(match[1]) not in LAYOUTS:
        known = ", ".join(f"table{number}" for number in LAYOUTS)
        raise ValueError(f"tables.{name}: there is no such table to fill; use one of {known}")
    return int(match[1])


def _read_run(key: str, metrics_dir: Path, hashes: dict[str, str]) -> list[Metrics]:
    if key not in hashes:
        raise ValueError(f"there is no such evaluation; add '{key}' to experiments.evaluations or correct the row")
    path = metrics_dir / f"{key}.json"
    return [read_metrics(path, key, hashes[key])] if path.exists() else []

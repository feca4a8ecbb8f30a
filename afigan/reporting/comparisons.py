"""Contrasts of rows, as effects over seeds and over images: the parts of `claims`."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from afigan.reporting.paper import printed_records
from afigan.reporting.results import Results, Row
from afigan.reporting.samples import Sample, paired
from afigan.reporting.statistics import Effect, effect

CONFIDENCE = 0.95

Expected = Literal["above", "below", "same", "open"]
Contrast = Mapping[str, float]  # label -> weight: {"A5": 1, "A1": -1} is A5 - A1


def difference(row: str, reference: str) -> Contrast:
    return {row: 1.0, reference: -1.0}


@dataclass(frozen=True)
class Comparison:
    """One or several contrasts of a table's rows in one metric, averaged.

    column: box_AP or mask_AP.
    expected: the claim about the average: it is above 0, below 0 or `same`, hardly different from 0. `open`: a
        question, to which the paper gives no answer. None: the contrast is shown, not judged.
    quoted: the difference in the paper's text, if its tables do not print the rows.
    of_schedules: whether the rows are trained for different lengths on purpose, because the question is about length.
    """

    text: str
    table: int
    column: str
    contrasts: tuple[Contrast, ...]
    expected: Expected | None = None
    quoted: float | None = None
    of_schedules: bool = False


@dataclass(frozen=True)
class Finding:
    """A run's result on a comparison.

    effect: the average over the contrasts whose rows have been run, seed by seed. None: there are none, all are
        undefined (no masks), or the rows have no seed in common.
    seeds: the seeds that all rows of the average have; ascending.
    others: seeds that only some of these rows have.
    each: the mean over `seeds` of every contrast in the average.
    possible: the number of contrasts, without those that were run and are undefined.
    missing: labels of the rows that have not been run.
    terms: label -> (weight, row), for the rows of the average.
    differing: what the rows of some contrast do not have in common, and should: data, schedules, scales of the test.
    printed: the same average of the paper's printed values, or its quoted difference; None if the paper gives neither.
    """

    comparison: Comparison
    effect: Effect | None
    seeds: tuple[int, ...]
    others: tuple[int, ...]
    each: tuple[float, ...]
    possible: int
    missing: tuple[str, ...]
    terms: dict[str, tuple[float, Row]]
    differing: tuple[str, ...]
    printed: float | None

    @property
    def comparable(self) -> bool:
        """True if the rows of each contrast have all in common that they should, see `differing`."""
        return not self.differing

    @property
    def complete(self) -> bool:
        """True if all rows have been run, with all the seeds that params.yaml names for them."""
        return not self.missing and all(len(row.runs) == len(row.evaluations) for _, row in self.terms.values())

    @property
    def defined(self) -> bool:
        """True if every contrast that was run has a value: none lacks masks or objects."""
        return self.possible == len(self.comparison.contrasts)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval, with one seed only over the images; None without an effect or its error."""
        if self.effect is None or self.effect.error is None:
            return None
        return self.effect.interval(CONFIDENCE)

    @property
    def inside(self) -> bool | None:
        """True if the paper's difference is in the interval; None if one of the two is not known."""
        if self.printed is None or self.interval is None:
            return None
        low, high = self.interval
        return low <= self.printed <= high


def find(comparison: Comparison, results: Results) -> Finding:
    """Compute a comparison over the contrasts whose rows have all been run.

    Raises ValueError if the matches of an evaluation do not fit its metrics (`afigan.reporting.resamples`).
    """
    labels = dict.fromkeys(label for contrast in comparison.contrasts for label in contrast)
    run = {label: row for label in labels if (row := results.row(comparison.table, label)) is not None}
    samples = {label: sample for label, row in run.items() if (sample := row.sample(comparison.column)) is not None}
    complete = [contrast for contrast in comparison.contrasts if contrast.keys() <= run.keys()]
    used = [contrast for contrast in complete if contrast.keys() <= samples.keys()]
    weights: dict[str, float] = defaultdict(float)
    for contrast in used:
        for label, weight in contrast.items():
            weights[label] += weight / len(used)

    average = paired([(weight, samples[label]) for label, weight in weights.items()]) if used else None
    seeds = average.seeds if average is not None else ()
    return Finding(
        comparison=comparison,
        effect=None if average is None else _effect(average, weights, run, results, comparison.column),
        seeds=seeds,
        others=tuple(sorted({seed for label in weights for seed in samples[label].seeds} - set(seeds))),
        each=tuple(_mean(contrast, samples, seeds) for contrast in used) if seeds else (),
        possible=len(comparison.contrasts) - len(complete) + len(used),
        missing=tuple(label for label in labels if label not in run),
        terms={label: (weight, run[label]) for label, weight in weights.items()},
        differing=tuple(
            dict.fromkeys(what for c in used for what in _differing([run[label] for label in c], comparison))
        ),
        printed=_printed(comparison, used),
    )


def _differing(rows: list[Row], comparison: Comparison) -> Iterator[str]:
    """Yield what rows of one contrast should have in common, and do not.

    A stage that only some rows have, as stage 2 of an extractor, is what the contrast is about.
    """
    if len({row.setting[0] for row in rows}) > 1:
        yield "data"
    if len({scale for row in rows for scale in row.distinct("multi_scale")}) > 1:
        yield "scales of the test"
    if comparison.of_schedules:
        return
    if len({row.setting[1] for row in rows}) > 1:
        yield "schedule"
    schedules: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        for trainings in row.trainings:
            for kind, schedule in trainings.items():
                schedules[kind].append(schedule)
    for kind, found in schedules.items():
        if any(schedule != found[0] for schedule in found):
            yield f"schedule of {kind}"


def _effect(average: Sample, weights: Contrast, rows: Mapping[str, Row], results: Results, column: str) -> Effect:
    runs = {label: {run.seed: run for run in rows[label].runs} for label in weights}
    kind = column.removesuffix("_AP")
    replicates = [
        sum(weight * results.resamples.ap(runs[label][seed], kind) for label, weight in weights.items())
        for seed in average.seeds
    ]
    return effect(average.values, np.array(replicates), results.resamples.images)


def _mean(contrast: Contrast, samples: Mapping[str, Sample], seeds: tuple[int, ...]) -> float:
    return sum(weight * float(np.mean(samples[label].at(seeds))) for label, weight in contrast.items())


def _printed(comparison: Comparison, used: list[Contrast]) -> float | None:
    """Return the average of `used`, or of all contrasts if none has been run, in printed values."""
    records, contrasts = printed_records(comparison.table), used or comparison.contrasts
    values = []
    for contrast in contrasts:
        printed: dict[str, Any] = {label: records.get(label, {}).get(comparison.column) for label in contrast}
        if None in printed.values():
            return comparison.quoted
        values.append(sum(weight * printed[label] for label, weight in contrast.items()))
    return round(sum(values) / len(values), 6)  # 39.4 - 38.6 is 0.8, not 0.7999999999999972

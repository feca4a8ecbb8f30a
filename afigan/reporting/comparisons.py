"""Comparisons of rows, and what they say of a claim: what `claims` is made of."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from afigan.reporting.results import Results, Row
from afigan.reporting.seeds import Estimate, combine

MARGIN = 0.5  # AP; a difference that "hardly matters" is not beyond this
AGREES, DISAGREES, UNDECIDED, NOTHING_RUN = "agrees", "does not agree", "undecided", "not run"
ONE_SEED, OTHER_TERMS = "undecided (one seed)", "undecided (rows differ in data or schedule)"

Expected = Literal["above", "below", "same"]
Contrast = Mapping[str, float]  # label -> weight: {"A5": 1, "A1": -1} is A5 - A1


def difference(row: str, reference: str) -> Contrast:
    return {row: 1.0, reference: -1.0}


@dataclass(frozen=True)
class Comparison:
    """One or several contrasts of a table's rows in one metric, averaged.

    expected: what a claim says of the average: it is above 0, below 0 or `same`, hardly different from 0. None: it is
        shown, not judged.
    """

    text: str
    table: int
    column: str
    contrasts: tuple[Contrast, ...]
    expected: Expected | None = None


@dataclass(frozen=True)
class Finding:
    """What a run shows of a comparison.

    estimate: of the average over the contrasts whose rows have been run; None if there are none, or all are undefined.
    each: the mean of every one of these.
    possible: how many contrasts there are, without those that were run and are undefined (no masks).
    missing: labels of the rows that have not been run.
    terms: label -> (weight, row), of the average.
    verdict: on this comparison alone; None if it has no estimate or is not judged.
    """

    comparison: Comparison
    estimate: Estimate | None
    each: tuple[float, ...]
    possible: int
    missing: tuple[str, ...]
    terms: dict[str, tuple[float, Row]]
    verdict: str | None

    @property
    def ratio(self) -> float:
        """What is added by what is subtracted: of a difference of two rows, one as a multiple of the other."""
        sums = {True: 0.0, False: 0.0}
        for weight, row in self.terms.values():
            sums[weight > 0] += abs(weight) * statistics.fmean(row.sample(self.comparison.column).values)
        return sums[True] / sums[False]


def find(comparison: Comparison, results: Results) -> Finding:
    """Compute a comparison. A contrast of which a row has not been run is left out."""
    column = comparison.column
    labels = dict.fromkeys(label for contrast in comparison.contrasts for label in contrast)
    run = {label: row for label in labels if (row := results.row(comparison.table, label)) is not None}
    samples = {label: sample for label, row in run.items() if (sample := row.sample(column)) is not None}
    complete = [contrast for contrast in comparison.contrasts if contrast.keys() <= run.keys()]
    used = [contrast for contrast in complete if contrast.keys() <= samples.keys()]

    weights: dict[str, float] = defaultdict(float)
    for contrast in used:
        for label, weight in contrast.items():
            weights[label] += weight / len(used)
    estimate = _combine(weights, samples) if used else None
    verdict = None
    if estimate is not None and comparison.expected is not None:
        comparable = all(len({run[label].setting for label in contrast}) == 1 for contrast in used)
        verdict = judge(estimate, comparison.expected) if comparable else OTHER_TERMS
    return Finding(
        comparison=comparison,
        estimate=estimate,
        each=tuple(_combine(contrast, samples).mean for contrast in used),
        possible=len(comparison.contrasts) - len(complete) + len(used),
        missing=tuple(label for label in labels if label not in run),
        terms={label: (weight, run[label]) for label, weight in weights.items()},
        verdict=verdict,
    )


def _combine(contrast: Contrast, samples: Mapping) -> Estimate:
    return combine([(weight, samples[label]) for label, weight in contrast.items()])


def judge(estimate: Estimate, expected: Expected) -> str:
    """The verdict on one difference: it has to be clear of the limit by more than two standard errors."""
    if estimate.error is None:
        return ONE_SEED
    value, doubt = round(estimate.mean, 6), round(2 * estimate.error, 6)  # rounding errors are not differences
    if expected == "same":
        if abs(value) + doubt <= MARGIN:
            return AGREES
        return DISAGREES if abs(value) - doubt > MARGIN else UNDECIDED
    if expected == "below":
        value = -value
    if value > doubt:
        return AGREES
    return DISAGREES if value < -doubt else UNDECIDED


def overall(findings: Sequence[Finding]) -> str:
    """The verdict on a claim: it agrees if all that is judged does, and does not agree if anything does not."""
    if all(finding.estimate is None for finding in findings):
        return NOTHING_RUN
    verdicts = {finding.verdict for finding in findings if finding.verdict is not None}
    undecided = verdicts - {AGREES, DISAGREES}
    if DISAGREES in verdicts:
        verdict = DISAGREES
    elif undecided:
        verdict = undecided.pop() if len(undecided) == 1 else UNDECIDED
    else:
        verdict = AGREES if verdicts else UNDECIDED
    return in_part(verdict) if any(finding.missing for finding in findings) else verdict


def in_part(verdict: str) -> str:
    """A verdict for which not everything has been run."""
    return f"{verdict}, in part"

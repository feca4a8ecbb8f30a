"""Means, spreads and differences of what was measured with several seeds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One metric of one row: a value for each seed, at least one."""

    values: tuple[float, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    spread: the sample standard deviation over seeds; None with one seed, or if rows of different seeds are combined.
    error: the standard error of `mean`; None with one seed.
    """

    mean: float
    spread: float | None
    error: float | None


def combine(terms: Sequence[tuple[float, Sample]]) -> Estimate:
    """The sum of weight x row over `terms`: a row itself with one term, a difference of two with the weights 1 and -1.

    Rows of the same seeds in the same order are paired: the sum is taken seed by seed, then mean and spread of these.
    Otherwise the rows are independent: the sum of the means, with the errors added in quadrature.
    """
    samples = [sample for _, sample in terms]
    assert terms and all(len(sample.values) == len(sample.seeds) > 0 for sample in samples)
    if len({sample.seeds for sample in samples}) == 1:
        count = len(samples[0].seeds)
        sums = [sum(weight * sample.values[i] for weight, sample in terms) for i in range(count)]
        spread = statistics.stdev(sums) if count > 1 else None
        return Estimate(statistics.fmean(sums), spread, None if spread is None else spread / math.sqrt(count))
    mean = sum(weight * statistics.fmean(sample.values) for weight, sample in terms)
    if min(len(sample.values) for sample in samples) == 1:
        return Estimate(mean, None, None)
    squares = (weight**2 * statistics.variance(sample.values) / len(sample.values) for weight, sample in terms)
    return Estimate(mean, None, math.sqrt(sum(squares)))

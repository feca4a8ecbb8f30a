"""Measurements with several seeds: of a row, and of a sum of rows that are paired by their seeds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """A value for each seed, at least one."""

    values: tuple[float, ...]
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        assert len(self.values) == len(self.seeds) == len(set(self.seeds)) > 0, (self.values, self.seeds)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """The sample standard deviation over seeds; None with one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def at(self, seeds: Sequence[int]) -> list[float]:
        """Return the values of these seeds, in their order."""
        return [self.values[self.seeds.index(seed)] for seed in seeds]


def common_seeds(samples: Sequence[Sample]) -> tuple[int, ...]:
    """Return the seeds that all samples have, ascending."""
    return tuple(sorted(set.intersection(*(set(sample.seeds) for sample in samples))))


def paired(terms: Sequence[tuple[float, Sample]]) -> Sample | None:
    """Return the sum of weight x row over `terms`, seed by seed, for the seeds that all rows have.

    A difference of two rows has the weights 1 and -1. None: the rows have no seed in common.
    """
    seeds = common_seeds([sample for _, sample in terms])
    if not seeds:
        return None
    columns = [[weight * value for value in sample.at(seeds)] for weight, sample in terms]
    return Sample(tuple(map(sum, zip(*columns, strict=True))), seeds)

"""Samples over seeds: means, spreads, and sums of rows that are paired by their seeds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afigan.reporting.samples import Sample, common_seeds, paired

PERCENT = st.floats(0, 100)


@given(st.lists(PERCENT, min_size=1, max_size=5))
def test_mean_and_spread(values: list[float]) -> None:
    sample = Sample(tuple(values), tuple(range(len(values))))
    assert sample.mean == pytest.approx(np.mean(values), abs=1e-9)
    spread = None if len(values) == 1 else pytest.approx(np.std(values, ddof=1), abs=1e-9)
    assert sample.spread == spread


@given(st.lists(st.tuples(PERCENT, PERCENT), min_size=2, max_size=5), PERCENT, st.randoms())
def test_pairing_takes_out_what_seeds_share(pairs: list[tuple[float, float]], shared: float, random) -> None:
    """A seed's effect on both rows does not change their difference, in whatever order the seeds are named."""
    first, second = np.array(pairs).T
    seeds = np.arange(len(pairs))
    order = random.sample(range(len(pairs)), len(pairs))

    def difference(effect: np.ndarray) -> Sample:
        other = (second + effect)[order]
        terms = [(1.0, Sample(tuple(first + effect), tuple(seeds))), (-1.0, Sample(tuple(other), tuple(order)))]
        return paired(terms)

    plain, shifted = difference(0 * seeds), difference(shared * seeds)
    assert plain.seeds == tuple(seeds)
    assert plain.values == pytest.approx(tuple(first - second), abs=1e-9)
    assert shifted.values == pytest.approx(plain.values, abs=1e-6)


def test_only_the_seeds_that_all_rows_have_count() -> None:
    first, second = Sample((10.0, 11.0, 15.0), (0, 1, 2)), Sample((3.0, 1.0, 2.0), (3, 2, 1))
    assert common_seeds([first, second]) == (1, 2)
    assert paired([(1.0, first), (-0.5, second)]) == Sample((11 - 1.0, 15 - 0.5), (1, 2))
    assert paired([(1.0, first), (-1.0, Sample((1.0,), (7,)))]) is None
    assert paired([(2.0, first)]) == Sample((20.0, 22.0, 30.0), (0, 1, 2))


def test_a_seed_counts_once() -> None:
    with pytest.raises(AssertionError):
        Sample((1.0, 2.0), (0, 0))

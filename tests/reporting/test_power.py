"""Power: against the t test's formulas, simulated studies judged as real ones are, and the tables of docs/power.md."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from afigan.reporting.power import detectable, equivalence_margin, half_width
from afigan.reporting.statistics import Effect, effect, p_equivalent, p_sided

DOCS = (Path(__file__).parents[2] / "docs/power.md").read_text("utf-8")


@pytest.mark.parametrize(("seeds", "half"), [(5, 3.4), (8, 2.3), (12, 1.7)])
def test_half_widths_at_the_deviation_seen(seeds, half):
    assert round(half_width(2.7, seeds), 1) == half


def test_the_differences_seen():
    """A5 less its control: deviation and interval are what docs/power.md says."""
    differences = [67.9 - 63.0, 66.5 - 61.9, 65.8 - 65.7]
    assert np.round(differences, 1).tolist() == [4.9, 4.6, 0.1]
    found = effect(differences, None, 80)
    assert (round(found.mean, 1), round(np.std(differences, ddof=1), 1)) == (3.2, 2.7)
    low, high = found.interval()
    assert round((high - low) / 2, 1) == 6.7 and low < 0 < high
    assert half_width(np.std(differences, ddof=1), 3) == pytest.approx((high - low) / 2)


@pytest.mark.parametrize("seeds", [2, 3, 5, 12])
@pytest.mark.parametrize(("power", "alpha"), [(0.8, 0.05), (0.9, 0.05 / 3), (0.5, 0.1)])
def test_without_images_it_is_the_noncentral_t(seeds, power, alpha):
    difference = detectable(2.0, seeds, power=power, alpha=alpha)
    critical = stats.t.ppf(1 - alpha / 2, seeds - 1)
    assert stats.nct.sf(critical, seeds - 1, difference / 2.0 * math.sqrt(seeds)) == pytest.approx(power, abs=1e-4)


def test_without_spread_it_is_the_normal_test():
    assert half_width(0, 5, 1.5) == pytest.approx(1.96 * 1.5, abs=1e-3)
    assert detectable(0, 5, 1.5) == pytest.approx((1.95996 + 0.84162) * 1.5, abs=1e-4)
    # 2 Phi(x) - 1 = 0.8 at x = 1.28155
    assert equivalence_margin(0, 5, 1.5) == pytest.approx((1.95996 + 1.28155) * 1.5, abs=1e-4)
    assert detectable(0, 5) == equivalence_margin(0, 5) == half_width(0, 5) == 0


def simulated(difference: float, deviation: float, seeds: int, image_error: float) -> list[Effect]:
    """Simulate studies of a true difference, with replicates that show the true error of the images."""
    rng = np.random.default_rng(0)
    shared = np.tile(np.array([-1.0, 1.0]) / math.sqrt(2) * image_error, (seeds, 1))  # of that sample variance
    values = difference + deviation * rng.normal(size=(4000, seeds)) + image_error * rng.normal(size=(4000, 1))
    return [effect(of, shared if image_error else None, 1_000_000) for of in values]


@pytest.mark.parametrize(("seeds", "image_error"), [(3, 0.0), (3, 1.0), (5, 1.0), (8, 0.5)])
def test_studies_of_that_size_have_that_power(seeds, image_error):
    """The rate among 4,000 studies has a standard error of 0.006."""
    found = simulated(detectable(2.0, seeds, image_error), 2.0, seeds, image_error)
    assert np.mean([p_sided(e, 1) < 0.025 for e in found]) == pytest.approx(0.8, abs=0.02)
    margin = equivalence_margin(2.0, seeds, image_error)
    equal = simulated(0, 2.0, seeds, image_error)
    assert np.mean([p_equivalent(e, margin) < 0.025 for e in equal]) == pytest.approx(0.8, abs=0.02)


def test_more_of_anything_that_helps_helps():
    for function in (half_width, detectable, equivalence_margin):
        by_seeds = [function(2.0, seeds, 0.5) for seeds in (2, 3, 5, 8, 12)]
        assert by_seeds == sorted(by_seeds, reverse=True)
        by_error = [function(2.0, 8, error) for error in (0, 0.5, 1, 2)]
        assert by_error == sorted(by_error)
        assert function(4.0, 5, 1.0) == pytest.approx(2 * function(2.0, 5, 0.5), rel=1e-6)
    assert detectable(2, 5, power=0.9) > detectable(2, 5) and detectable(2, 5, alpha=0.01) > detectable(2, 5)


@pytest.mark.parametrize("function", [half_width, detectable, equivalence_margin])
def test_impossible_plans_are_refused(function):
    with pytest.raises(ValueError, match="1 seeds have no spread: plan with two or more"):
        function(2.0, 1)
    for wrong in ((-1.0, 5, 0.0), (1.0, 5, -0.1)):
        with pytest.raises(ValueError, match="neither can be negative"):
            function(*wrong)
    if function is not half_width:
        for power in (0.0, 0.02, 1.0):
            with pytest.raises(ValueError, match="a power of"):
                function(2.0, 5, power=power)


def test_the_tables_of_the_docs_are_computed():
    by_image = lambda error, seeds: detectable(2.0, seeds, error)  # noqa: E731
    tables = re.findall(r"(?:^\|.*seeds \|\n)\|[-|]+\n((?:\|.*\n)+)", DOCS, re.MULTILINE)
    assert len(tables) == 4
    for function, table in zip((half_width, detectable, equivalence_margin, by_image), tables, strict=True):
        rows = [[float(cell.strip(" ±")) for cell in line.strip("|").split("|")] for line in table.splitlines()]
        assert len(rows) == 4
        for first, *cells in rows:
            assert cells == [round(function(first, seeds), 2) for seeds in (3, 5, 8, 12)]
    three = detectable(2.0, 5, alpha=0.05 / 3)
    assert f"a true difference of {three:.2f} instead of {detectable(2.0, 5):.2f}." in DOCS

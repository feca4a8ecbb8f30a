"""Errors, intervals and tests of a difference: against values by hand, scipy's own tests and simulated studies."""

import math

import numpy as np
import pytest
from scipy import stats

from afigan.reporting.bootstrap import image_weights
from afigan.reporting.statistics import Effect, effect, holm, p_equivalent, p_sided

IMAGES = 200


def of_error(mean: float, error: float | None, df: float) -> Effect:
    return Effect(mean, 5, None, None, error, df)


# --- both parts -------------------------------------------------------------------------------------------------------


def test_by_hand():
    """Two seeds: differences 1 and 3, so stdev / sqrt(2) = 1; covariance of the replicates 2, variances 2 and 8."""
    replicates = np.array([[0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 4.0, 6.0, 8.0]]) * math.sqrt(0.8)
    found = effect([1.0, 3.0], replicates, images=11)
    assert (found.mean, found.seeds, found.seed_error) == (2.0, 2, pytest.approx(1.0))
    assert np.cov(replicates) == pytest.approx(np.array([[2, 4], [4, 8]]))
    assert found.image_error == pytest.approx(math.sqrt(4))
    assert found.error == pytest.approx(math.sqrt(1 + 4))
    assert found.df == pytest.approx(5 / (1 / 1 + 4 / 10))
    half = found.interval()[1] - 2
    assert half == pytest.approx(stats.t.ppf(0.975, 25 / 7) * math.sqrt(5))


def test_the_images_part_is_the_mean_over_pairs_of_seeds():
    replicates = np.random.default_rng(0).normal(size=(4, 300)) + np.random.default_rng(1).normal(size=300)
    pairs = [np.cov(replicates[i], replicates[j])[0, 1] for i in range(4) for j in range(i)]
    found = effect([1.0, 2.0, 3.0, 5.0], replicates, 80)
    assert found.image_error**2 == pytest.approx(sum(pairs) / 6)


@pytest.mark.parametrize("values", [(1.2, 0.4, 2.2), (1.0, 3.0, -2.0, 0.5, 4.0)])
def test_without_images_it_is_the_t_test_of_the_seeds(values):
    found = effect(values, None, 80)
    theirs = stats.ttest_1samp(values, 0, alternative="greater")
    assert found.image_error is None and found.error == found.seed_error and found.df == len(values) - 1
    assert p_sided(found, 1) == pytest.approx(theirs.pvalue)
    assert p_sided(found, -1) == pytest.approx(1 - theirs.pvalue)
    for confidence in (0.9, 0.95):
        interval = stats.ttest_1samp(values, 0).confidence_interval(confidence)
        assert found.interval(confidence) == pytest.approx((interval.low, interval.high))


def test_one_part_alone_has_its_own_degrees():
    shared = np.random.default_rng(0).normal(size=(1, 400))
    same = effect([2.0, 2.0, 2.0], np.repeat(shared, 3, axis=0), IMAGES)
    assert same.seed_error == 0 and same.df == pytest.approx(IMAGES - 1)
    assert same.error == pytest.approx(shared.std(ddof=1))
    opposite = effect([1.0, 2.0], np.concatenate([shared, -shared]), IMAGES)  # a negative covariance
    assert opposite.image_error == 0 and opposite.error == opposite.seed_error and opposite.df == 1


def test_degrees_are_between_those_of_the_parts_and_never_more_than_welchs():
    rng = np.random.default_rng(0)
    for seeds in (2, 3, 5, 8):
        shared = rng.uniform(0.1, 2) * rng.normal(size=400)
        found = effect(rng.normal(size=seeds), shared + 0.2 * rng.normal(size=(seeds, 400)), IMAGES)
        a, b = found.seed_error**2, found.image_error**2
        welch = (a + b) ** 2 / (a**2 / (seeds - 1) + b**2 / (IMAGES - 1))
        assert seeds - 1 <= found.df <= welch <= IMAGES - 1 + seeds - 1


# --- few seeds --------------------------------------------------------------------------------------------------------


def test_one_seed_has_only_the_error_of_the_images():
    replicates = np.random.default_rng(0).normal(3, 0.5, size=(1, 500))
    found = effect([3.0], replicates, IMAGES)
    assert found.seed_error is None and found.error == found.image_error == pytest.approx(replicates.std(ddof=1))
    assert found.seeds == 1 and found.df == pytest.approx(IMAGES - 1)
    assert found.interval() == pytest.approx((3 - 1.972 * found.error, 3 + 1.972 * found.error), abs=1e-3)


def test_one_seed_without_matches_says_nothing():
    found = effect([3.0], None, IMAGES)
    assert (found.error, found.df, found.interval()) == (None, 0, (-math.inf, math.inf))
    assert p_sided(found, 1) == p_sided(found, -1) == p_equivalent(found, 100.0) == 1


def test_two_seeds_are_compared_with_a_wide_t():
    found = effect([1.0, 2.0], None, IMAGES)
    assert found.df == 1 and found.interval() == pytest.approx((1.5 - 12.706 * 0.5, 1.5 + 12.706 * 0.5), abs=1e-3)
    assert p_sided(found, 1) == pytest.approx(0.5 - math.atan(3.0) / math.pi)  # Cauchy's distribution


def test_no_spread_at_all():
    for mean, above, below in ((2.0, 0.0, 1.0), (0.0, 1.0, 1.0)):
        found = effect([mean] * 3, None, IMAGES)
        assert found.error == 0 and found.interval() == (mean, mean)
        assert (p_sided(found, 1), p_sided(found, -1)) == (above, below)
    assert p_equivalent(effect([2.0] * 3, None, IMAGES), 2.5) == 0
    assert p_equivalent(effect([2.0] * 3, None, IMAGES), 2.0) == 1


def test_undefined_replicates_are_left_out():
    replicates = np.random.default_rng(0).normal(size=(3, 50)) + np.random.default_rng(1).normal(size=50)
    holes = np.insert(replicates, [3, 20], np.nan, axis=1)
    holes[:2, 3] = 5.0
    assert effect([1.0, 2.0, 4.0], holes, 30) == effect([1.0, 2.0, 4.0], replicates, 30)
    nothing = effect([1.0, 2.0, 4.0], np.full((3, 9), np.nan), 30)
    assert nothing == effect([1.0, 2.0, 4.0], None, 30)


# --- tests ------------------------------------------------------------------------------------------------------------


def test_a_test_and_its_interval_agree():
    rng = np.random.default_rng(0)
    for mean, error, df in zip(rng.normal(0, 2, 200), rng.uniform(0.3, 1, 200), rng.uniform(1, 30, 200), strict=True):
        found = of_error(mean, error, df)
        low, high = found.interval()
        assert (p_sided(found, 1) < 0.025) == (low > 0) and (p_sided(found, -1) < 0.025) == (high < 0)
        assert (p_equivalent(found, 3.0) < 0.025) == (low > -3 and high < 3)
        assert p_sided(found, 1) + p_sided(found, -1) == pytest.approx(1)


def test_equivalence_is_the_worse_of_two_tests():
    found = of_error(0.5, 0.4, 4)
    worse = stats.t.sf((1.5 - 0.5) / 0.4, 4)
    assert p_equivalent(found, 1.5) == pytest.approx(worse)
    assert p_equivalent(of_error(-0.5, 0.4, 4), 1.5) == pytest.approx(worse)
    assert p_equivalent(of_error(1.6, 0.01, 4), 1.5) > 0.99
    for margin in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="state one above 0"):
            p_equivalent(found, margin)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3 x 0.01; 2 x 0.03; max(0.06, 1 x 0.04)
    assert holm([0.5, 0.001, 0.9, 0.02]) == pytest.approx([1, 0.004, 1, 0.06])
    assert holm([0.3]) == [0.3] and holm([]) == [] and holm([0.02, 0.02]) == pytest.approx([0.04, 0.04])


def test_holm_rejects_what_its_steps_reject():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.uniform(0, 0.1, 6).tolist()
        adjusted = holm(p)
        order, rejected = np.argsort(p), set()
        for step, i in enumerate(order):
            if p[i] > 0.05 / (len(p) - step):
                break
            rejected.add(int(i))
        assert rejected == {i for i, value in enumerate(adjusted) if value <= 0.05}
        assert np.argsort(adjusted, kind="stable").tolist() == sorted(range(6), key=lambda i: (adjusted[i], i))
        assert all(a >= b for a, b in zip(adjusted, p, strict=True)) and max(adjusted) <= 1


# --- simulated studies ------------------------------------------------------------------------------------------------


def studies(seeds: int, spread: tuple[float, float, float], skewed: bool, count: int = 1000) -> list[Effect]:
    """Simulate studies of a true difference of 2, each image with a contribution of its own; return their effects.

    spread: standard deviations of a seed's effect, of an image's effect on all seeds, of its effect on one seed.
    """
    rng = np.random.default_rng(1)
    of_seed, of_image, of_both = spread
    draw = (lambda *shape: rng.exponential(size=shape) - 1) if skewed else (lambda *shape: rng.normal(size=shape))
    d = 2 + of_seed * rng.normal(size=(count, seeds, 1))
    d = d + of_image * draw(count, 1, IMAGES) + of_both * draw(count, seeds, IMAGES)
    weights = image_weights(IMAGES, 300, seed=0) / IMAGES
    replicates = (d.reshape(-1, IMAGES) @ weights.T).reshape(count, seeds, -1)
    return [effect(values, r, IMAGES) for values, r in zip(d.mean(axis=2), replicates, strict=True)]


def coverage(found: list[Effect]) -> float:
    return float(np.mean([low <= 2 <= high for low, high in (e.interval() for e in found)]))


@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize(
    ("spread", "skewed"),
    [
        ((2.7, 5.0, 5.0), False),  # the seeds' part is nearly all
        ((2.0, 10.0, 20.0), True),  # each seed has its own images: an interaction
        ((1.0, 30.0, 10.0), True),  # the images' part is nearly all
    ],
)
def test_intervals_cover_the_truth(seeds, spread, skewed):
    assert 0.93 <= coverage(studies(seeds, spread, skewed)) <= 0.97


def test_each_part_is_needed_and_none_is_counted_twice():
    """Without the images the intervals would cover less; the images' part is correct on average."""
    found = studies(5, (1.0, 30.0, 10.0), False)
    alone = [Effect(e.mean, 5, e.seed_error, None, e.seed_error, 4) for e in found]
    assert coverage(alone) < 0.6
    assert np.mean([e.image_error**2 for e in found]) == pytest.approx(30**2 / IMAGES, rel=0.03)
    # the interaction is only in the spread over seeds
    mixed = studies(5, (1.0, 10.0, 30.0), False)
    assert np.mean([e.seed_error**2 for e in mixed]) == pytest.approx((1 + 30**2 / IMAGES) / 5, rel=0.05)
    assert np.mean([e.image_error**2 for e in mixed]) == pytest.approx(10**2 / IMAGES, rel=0.2)


def test_one_seed_covers_what_its_images_add_and_no_more():
    assert coverage(studies(1, (0.0, 20.0, 10.0), False)) > 0.93
    assert coverage(studies(1, (2.7, 5.0, 5.0), False)) < 0.4


def test_under_no_difference_few_are_found():
    """Both signs together, at 0.025 each: 5 %."""
    shifted = [Effect(e.mean - 2, *(getattr(e, n) for n in ("seeds", "seed_error", "image_error", "error", "df")))
               for e in studies(5, (2.0, 10.0, 20.0), False)]  # fmt: skip
    rate = np.mean([min(p_sided(e, 1), p_sided(e, -1)) < 0.025 for e in shifted])
    assert 0.03 <= rate <= 0.07

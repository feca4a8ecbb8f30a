"""Power of a study before it is run: the differences that S seeds can find, given the deviation of paired differences.

A study is judged by `afigan.reporting.statistics`. The part of its S seeds has the standard error deviation / sqrt(S)
and S - 1 degrees of freedom. The part of the images is assumed to be known here. All values have one unit, such as AP.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize, stats

GRID = (np.arange(4000) + 0.5) / 4000  # quantiles of the spread that a study may see


def half_width(deviation: float, seeds: int, image_error: float = 0, confidence: float = 0.95) -> float:
    """Return half the width of the confidence interval, if the differences spread as expected.

    Args:
        deviation: standard deviation over seeds of the paired difference.
        seeds: their number, 2 or more.
        image_error: standard error that the choice of images adds.
        confidence: the interval's confidence.

    Raises:
        ValueError: there are fewer than two seeds, or a negative deviation or error.
    """
    part = _seed_part(deviation, seeds, image_error)
    return float(_half_widths(np.array([part]), seeds, image_error, 1 - confidence)[0])


def detectable(deviation: float, seeds: int, image_error: float = 0, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest true difference that is found with a probability of `power`.

    A difference is found if the two-sided 1 - alpha interval is on its side of 0, which means that the estimate is
    further from 0 than the half width of its study. Without an error of images, this is the power of the t test, from
    the noncentral t distribution.

    Args:
        deviation, seeds, image_error: as for `half_width`.
        power: the probability; above alpha / 2.
        alpha: the level of the two-sided test. The first step of Holm's correction of m tests divides it by m.

    Raises:
        ValueError: as `half_width`; or the power is not between alpha / 2 and 1.
    """
    return _smallest(lambda left: stats.norm.cdf(left), deviation, seeds, image_error, power, alpha)


def equivalence_margin(
    deviation: float, seeds: int, image_error: float = 0, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Return the smallest margin within which two equal rows are found equal with a probability of `power`.

    They are found equal if the two-sided 1 - alpha interval is within ± margin: two one-sided tests at alpha / 2.

    Args:
        deviation, seeds, image_error, power, alpha: as for `detectable`.

    Raises:
        ValueError: as `detectable`.
    """
    return _smallest(
        lambda left: np.maximum(2 * stats.norm.cdf(left) - 1, 0), deviation, seeds, image_error, power, alpha
    )


def _smallest(
    chance: Callable[[np.ndarray], np.ndarray],
    deviation: float,
    seeds: int,
    image_error: float,
    power: float,
    alpha: float,
) -> float:
    """Return the distance at which a study has `power`, on average over its possible half widths.

    chance: the probability of success, given distance minus half width in standard errors.
    """
    part = _seed_part(deviation, seeds, image_error)
    if not alpha / 2 < power < 1:
        raise ValueError(f"a power of {power} at alpha = {alpha}: it has to be between alpha / 2 and 1")
    error = math.sqrt(part + image_error**2)
    if error == 0:
        return 0.0
    seen = part * stats.chi2.ppf(GRID, seeds - 1) / (seeds - 1)
    widths = _half_widths(seen, seeds, image_error, alpha) / error

    def excess(distance: float) -> float:
        return float(np.mean(chance(distance - widths))) - power

    high = 1.0
    while excess(high) < 0:
        high *= 2
    return error * float(optimize.brentq(excess, 0.0, high, xtol=1e-9))


def _seed_part(deviation: float, seeds: int, image_error: float) -> float:
    """Return the variance of the mean over seeds."""
    if seeds < 2:
        raise ValueError(f"{seeds} seeds have no spread: plan with two or more")
    if deviation < 0 or image_error < 0:
        raise ValueError(f"a deviation of {deviation} and an error of {image_error}: neither can be negative")
    return deviation**2 / seeds


def _half_widths(parts: np.ndarray, seeds: int, image_error: float, alpha: float) -> np.ndarray:
    """Return half widths of 1 - alpha intervals for the seeds' parts of the variance; df as in `statistics.effect`."""
    squares = parts + image_error**2
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.where(parts > 0, squares / parts * (seeds - 1), np.inf)
    return stats.t.ppf(1 - alpha / 2, degrees) * np.sqrt(squares)

"""One difference, measured with several seeds on one set of images: its error, its interval, its tests.

The difference of seed s, measured on I images, is mu + a_s + b + c_s. mu is the true difference, a_s the effect of the
seed (initialisation, order, sampling), b the effect of the choice of images that all seeds share, c_s its effect on
only this seed. The mean over S seeds then has the variance (var a + var c) / S + var b. More seeds do not reduce
var b, and more images do not reduce var a, so both parts are estimated and added.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Effect:
    """A difference of rows, or another contrast of them, and its standard errors. All are in the unit of the values.

    Attributes:
        mean: the mean over the seeds.
        seeds: the number of seeds.
        seed_error: the part seen in the spread over seeds; None with one seed.
        image_error: the part of the images, from the bootstrap; None if there are no matches.
        error: standard error of `mean`, from both parts; None if there is neither.
        df: degrees of freedom of `error`; 0 if it is None.
    """

    mean: float
    seeds: int
    seed_error: float | None
    image_error: float | None
    error: float | None
    df: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the two-sided t interval; from -inf to inf if no error is known."""
        if self.error is None:
            return -math.inf, math.inf
        half = float(stats.t.ppf((1 + confidence) / 2, self.df)) * self.error
        return self.mean - half, self.mean + half


def effect(values: Sequence[float], replicates: np.ndarray | None, images: int) -> Effect:
    """Estimate the effect from paired differences.

    The part of the seeds is the standard error of a mean, stdev(d) / sqrt(S). It includes the images' effect on only
    one seed (c above), because c differs from seed to seed. The part of the images must not count c a second time. It
    is the variance that all seeds share: the covariance of two seeds' differences when the images are drawn again, on
    average over all pairs of seeds, and 0 if that is negative. With one seed c cannot be distinguished from b. The part
    of the images then is the variance of the replicates, and the seed's effect is missing from the error.

    The error's degrees of freedom are the harmonic mean of S - 1 and I - 1, weighted by the parts' shares of the
    variance. Welch's and Satterthwaite's formula (Biometrics Bulletin 2, 1946) has the squares of these shares. It
    gives more degrees, because it assumes that the shares are known, and a few seeds do not determine them. Of 4,000
    simulated studies with three seeds, its 95 % intervals contained the truth in 92.5 to 95.0 %, depending on the
    shares; those here contained it in 94.3 to 96.3 %. With two seeds the figures are 87.9 to 95.2 % and 91.0 to 96.7 %.

    Args:
        values: (S,), the difference of each seed.
        replicates: (S, R), the same differences on the resampled images of `afigan.reporting.bootstrap`, with the same
            weights for every row and seed; or None. Replicates with an undefined difference (NaN) are left out.
        images: I.
    """
    d = np.asarray(values, dtype=float)
    assert d.ndim == 1 and len(d) > 0 and np.isfinite(d).all()
    seed_variance = float(d.var(ddof=1)) / len(d) if len(d) > 1 else None
    image_variance = None
    if replicates is not None:
        assert replicates.ndim == 2 and len(replicates) == len(d)
        image_variance = _shared_variance(replicates[:, np.isfinite(replicates).all(axis=0)])
    error, df = _sum([(seed_variance, len(d) - 1), (image_variance, images - 1)])
    return Effect(
        mean=float(d.mean()),
        seeds=len(d),
        seed_error=None if seed_variance is None else math.sqrt(seed_variance),
        image_error=None if image_variance is None else math.sqrt(image_variance),
        error=error,
        df=df,
    )


def _shared_variance(replicates: np.ndarray) -> float | None:
    """Return the variance of (S, R) replicates that all S share; None if there are not two replicates."""
    if replicates.shape[1] < 2:
        return None
    covariance = np.atleast_2d(np.cov(replicates))
    if len(covariance) == 1:
        return float(covariance[0, 0])
    pairs = list(itertools.combinations(range(len(covariance)), 2))
    return max(0.0, float(np.mean([covariance[pair] for pair in pairs])))


def _sum(parts: Sequence[tuple[float | None, int]]) -> tuple[float | None, float]:
    """Return error and degrees of freedom of the sum of independent parts (variance or None if unknown, degrees)."""
    known = [(variance, df) for variance, df in parts if variance is not None and df > 0]
    if not known:
        return None, 0.0
    total = sum(variance for variance, _ in known)
    if total == 0:
        return 0.0, float(known[0][1])
    return math.sqrt(total), total / sum(variance / df for variance, df in known)


def p_sided(effect: Effect, sign: int) -> float:
    """Return the one-sided p value for "the difference has this sign": the null is a difference of 0 or other sign.

    The p value is below 0.025 if the two-sided 95 % interval is on this side of 0. It is 1 if no error is known.

    Args:
        effect: the difference.
        sign: 1 or -1.
    """
    assert sign in (1, -1)
    return _p_above(effect, sign * effect.mean)


def p_equivalent(effect: Effect, margin: float) -> float:
    """Return the p value for "the difference is within ± margin", by two one-sided tests (Schuirmann, 1987).

    The p value is below 0.025 if the two-sided 95 % interval is within the margins. It is 1 if no error is known.

    Raises:
        ValueError: the margin is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"an equivalence margin of {margin}: state one above 0, in the unit of the difference")
    return max(_p_above(effect, effect.mean + margin), _p_above(effect, margin - effect.mean))


def _p_above(effect: Effect, distance: float) -> float:
    """Return the probability of an estimate at least that far above its true value."""
    if effect.error is None:
        return 1.0
    if effect.error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stats.t.sf(distance / effect.error, effect.df))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number, in the same order (Holm, Scand. J. Statist. 6, 1979).

    Rejecting adjusted values below alpha keeps the probability of any false rejection below alpha.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[i])
        adjusted[i] = min(1.0, largest)
    return adjusted

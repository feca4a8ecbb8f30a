"""One difference, measured with several seeds on one set of images: its error, its interval, its tests.

The difference of seed s, measured on I images, is mu + a_s + b + c_s: the true difference, what the seed adds (of
initialisation, order and sampling), what the choice of images adds for all seeds alike, and what it adds for this seed
alone. The mean over S seeds then has the variance (var a + var c) / S + var b. More seeds do nothing about the last
part, and more images nothing about var a, so both parts are estimated, and add up.
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
        mean: over the seeds.
        seeds: their number.
        seed_error: the part seen in the spread over seeds; None with one seed.
        image_error: the part of the images, from the bootstrap; None if there are no matches.
        error: of `mean`, both parts together; None if there is neither.
        df: degrees of freedom of `error`; 0 if it is None.
    """

    mean: float
    seeds: int
    seed_error: float | None
    image_error: float | None
    error: float | None
    df: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The two-sided t interval; from -inf to inf if no error is known."""
        if self.error is None:
            return -math.inf, math.inf
        half = float(stats.t.ppf((1 + confidence) / 2, self.df)) * self.error
        return self.mean - half, self.mean + half


def effect(values: Sequence[float], replicates: np.ndarray | None, images: int) -> Effect:
    """The effect that paired differences show.

    The part of the seeds is the standard error of a mean, stdev(d) / sqrt(S). It includes what images add for one seed
    alone (c above), because that differs from seed to seed. The part of the images must not count this a second time.
    It is the variance that all seeds share: the covariance of two seeds' differences when the images are drawn again,
    on average over all pairs of seeds, and 0 if that is negative. With one seed c cannot be told from b. The part then
    is the variance of the replicates, which is all that there is, and what the seed adds is missing from it.

    The error has the degrees of freedom of its parts, S - 1 and I - 1, as their harmonic mean weighted by the parts'
    shares of the variance. Welch's and Satterthwaite's formula (Biometrics Bulletin 2, 1946) has the squares of these
    shares. It gives more degrees, because it takes the shares for known, and a few seeds do not tell them. Of 4,000
    simulated studies with three seeds, its 95 % intervals held the truth in 92.5 to 95.0 %, by the shares; those here
    held it in 94.3 to 96.3 %. With two seeds the figures are 87.9 to 95.2 % and 91.0 to 96.7 %.

    Args:
        values: (S,), the difference of each seed.
        replicates: (S, R), the same differences on the resampled images of `afigan.reporting.bootstrap`, the same
            weights for every row and seed; or None. Replicates in which a difference is undefined (NaN) are left out.
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
    """The variance of (S, R) replicates that the S have in common; None if there are not two replicates."""
    if replicates.shape[1] < 2:
        return None
    covariance = np.atleast_2d(np.cov(replicates))
    if len(covariance) == 1:
        return float(covariance[0, 0])
    pairs = list(itertools.combinations(range(len(covariance)), 2))
    return max(0.0, float(np.mean([covariance[pair] for pair in pairs])))


def _sum(parts: Sequence[tuple[float | None, int]]) -> tuple[float | None, float]:
    """Error and degrees of freedom of the sum of independent parts, (variance, degrees) each; None: it is unknown."""
    known = [(variance, df) for variance, df in parts if variance is not None and df > 0]
    if not known:
        return None, 0.0
    total = sum(variance for variance, _ in known)
    if total == 0:
        return 0.0, float(known[0][1])
    return math.sqrt(total), total / sum(variance / df for variance, df in known)


def p_sided(effect: Effect, sign: int) -> float:
    """The p value of "the difference has this sign", one-sided: of a difference of 0 or of the other sign.

    A two-sided 95 % interval excludes 0 on this side if it is below 0.025. 1 if no error is known.

    Args:
        effect: the difference.
        sign: 1 or -1.
    """
    assert sign in (1, -1)
    return _p_above(effect, sign * effect.mean)


def p_equivalent(effect: Effect, margin: float) -> float:
    """The p value of "the difference is within ± margin", by two one-sided tests (Schuirmann, 1987).

    The two-sided 95 % interval is within the margins if it is below 0.025. 1 if no error is known.

    Raises:
        ValueError: the margin is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"an equivalence margin of {margin}: state one above 0, in the unit of the difference")
    return max(_p_above(effect, effect.mean + margin), _p_above(effect, margin - effect.mean))


def _p_above(effect: Effect, distance: float) -> float:
    """The probability of an estimate that far above its true value, or further."""
    if effect.error is None:
        return 1.0
    if effect.error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stats.t.sf(distance / effect.error, effect.df))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for their number, in the order given (Holm, Scand. J. Statist. 6, 1979).

    Rejecting those below alpha keeps the probability of any false rejection among all below alpha.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[i])
        adjusted[i] = min(1.0, largest)
    return adjusted

"""What a handful of seeds can say: intervals of a mean and an exact test."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from tlx.measure.samples import constant, finite

RESAMPLES = 9999
FEWEST, ENOUGH = 3, 10  # seeds below which no interval is given, and from which the bootstrap is trusted
MOST_FLIPPED = 40


@dataclass(frozen=True)
class Interval:
    """A mean and the interval around it.

    Args:
      mean: of the sample, NaN if it is empty.
      low: lower end, NaN if there is no interval.
      high: upper end, NaN if there is no interval.
      n: size of the sample.
      kind: how the interval was made.
    """

    mean: float
    low: float
    high: float
    n: int
    kind: Literal["t", "bca", "percentile", "score", "none"]

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval is positive; False without an interval."""
        return self.low > 0

    @property
    def below_zero(self) -> bool:
        """Whether the whole interval is negative; False without an interval."""
        return self.high < 0


def t_interval(x: ArrayLike, level: float = 0.95) -> Interval:
    """Student's interval of the mean, `mean ± t_{n-1} s / sqrt(n)`.

    Args:
      x: (n,) finite values, n ≥ 2.
      level: coverage, 0 to 1.

    Raises:
      ValueError: if a value is not finite or there are fewer than two.

    Source: Student 1908, "The probable error of a mean".

    >>> found = t_interval([1.0, 2.0, 3.0])
    >>> round(found.low, 4), found.mean, round(found.high, 4)
    (-0.4841, 2.0, 4.4841)
    """
    values = finite(x, 2)
    mean = float(values.mean())
    half = 0.0
    if not constant(values):
        half = float(stats.t.ppf((1 + level) / 2, values.size - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half, values.size, "t")


def bootstrap_interval(
    x: ArrayLike, rng: np.random.Generator, level: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """The bias-corrected and accelerated bootstrap interval of the mean.

    Args:
      x: (n,) finite values, n ≥ 2.
      rng: decides the resamples, so the same generator state gives the same interval.
      level: coverage, 0 to 1.
      resamples: number of bootstrap samples.

    Raises:
      ValueError: if a value is not finite or there are fewer than two.

    Source: Efron 1987, "Better bootstrap confidence intervals".

    >>> bootstrap_interval([0.5, 0.5, 0.5], np.random.default_rng(0))
    Interval(mean=0.5, low=0.5, high=0.5, n=3, kind='bca')
    """
    values = finite(x, 2)
    mean = float(values.mean())
    if constant(values):  # the acceleration would be 0 / 0
        return Interval(mean, mean, mean, values.size, "bca")
    found = stats.bootstrap(
        (values,), np.mean, confidence_level=level, n_resamples=resamples, method="BCa", rng=rng
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), values.size, "bca")


def interval(x: ArrayLike, level: float = 0.95) -> Interval:
    """The interval that suits the sample's size: none below 3 values, Student's up to 9, BCa from 10.

    The bootstrap starts from a fixed seed: the same values in the same order give the same interval. Its level is
    `widened`; without that, 95 % would be 89 % for 10 normal values.

    Measured at a nominal 95 %: of normal values it covers 95 to 95.5 % with 3 to 9, 94 to 95 % from 10. Of skewed
    ones Student's covers less: 91 to 93 % with 3 to 9 of skewness 1.4 or 1.75 (chi-squared with 4 degrees of freedom,
    lognormal with σ = 0.5), 88 to 90 % of skewness 2 (exponential). The bootstrap covers 92.5 to 94 % of these three
    with 10 to 12 values and 93 to 95 % from 15.

    Args:
      x: (n,) finite values.
      level: coverage, 0 to 1.

    Raises:
      ValueError: if a value is not finite.

    >>> interval([0.25, 0.75])
    Interval(mean=0.5, low=nan, high=nan, n=2, kind='none')
    >>> interval([0.5, 0.5, 0.5]).kind, interval([0.5] * 10).kind
    ('t', 'bca')
    """
    values = finite(x, 0)
    if values.size < FEWEST:
        mean = float(values.mean()) if values.size else float("nan")
        return Interval(mean, float("nan"), float("nan"), values.size, "none")
    if values.size < ENOUGH:
        return t_interval(values, level)
    return bootstrap_interval(values, np.random.default_rng(0), widened(level, values.size))


def widened(level: float, n: int, freedom: int | None = None) -> float:
    """The level at which a bootstrap interval of n values is about as wide as Student's.

    Resamples scatter by `(n - 1) / n` of the sample's variance, and their quantiles are a normal's where Student's
    t is due.

    Args:
      level: coverage that is wanted, 0 to 1.
      n: size of the sample, or of each of several that are resampled by themselves, at least 2.
      freedom: degrees of freedom of the scatter in all samples together; n - 1 for one.

    Source: Hesterberg 2015, "What teachers should know about the bootstrap" (the expanded percentile
    interval); ours is applied to BCa.

    >>> round(widened(0.95, 10), 4), round(widened(0.95, 1000), 4)
    (0.9829, 0.9504)
    """
    return float(1 - 2 * stats.norm.sf(np.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, freedom or n - 1)))


def sign_flip_p(x: ArrayLike) -> float:
    """The exact two-sided p-value of a mean of zero, were each value's sign as likely + as -.

    It counts all 2^n sign patterns whose sum is at least as far from 0 as the sample's, the sample's own
    included, so p is never below 2 / 2^n: five seeds cannot reach 0.05.

    Args:
      x: (n,) finite paired differences, 1 ≤ n ≤ 40.

    Raises:
      ValueError: if a value is not finite or n is out of range.

    Source: Fisher 1935, "The Design of Experiments", section 21.

    >>> sign_flip_p([1.0, 2.0, 3.0, 4.0, 5.0])
    0.0625
    """
    values = np.abs(signed := finite(x, 1))
    if values.size > MOST_FLIPPED:
        raise ValueError(f"x: expected at most {MOST_FLIPPED} values, got {values.size}")
    slack = 1e-12 * float(values.sum())  # sums that are equal on paper differ in the last bits
    least = abs(float(signed.sum())) - slack
    if least <= 0:
        return 1.0
    # Any sum of n signs is one sum of either half, so 2^(n/2) numbers are held instead of 2^n.
    left, right = _signed_sums(values[::2]), np.sort(_signed_sums(values[1::2]))
    above = right.size - np.searchsorted(right, least - left, side="left")
    return 2.0 * float(above.sum()) / 2.0**values.size


def _signed_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums

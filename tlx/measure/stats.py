"""What a handful of seeds can say: intervals of a mean and an exact test."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

RESAMPLES = 9999
_FEWEST, _ENOUGH = 3, 10  # seeds below which no interval is given, and from which the bootstrap is trusted
_MOST_FLIPPED = 40


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
    kind: Literal["t", "bca", "none"]

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
    values = _sample(x, 2)
    mean = float(values.mean())
    half = 0.0
    if not _constant(values):
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
    values = _sample(x, 2)
    mean = float(values.mean())
    if _constant(values):  # the acceleration would be 0 / 0
        return Interval(mean, mean, mean, values.size, "bca")
    found = stats.bootstrap(
        (values,), np.mean, confidence_level=level, n_resamples=resamples, method="BCa", rng=rng
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), values.size, "bca")


def interval(x: ArrayLike, level: float = 0.95) -> Interval:
    """The interval that suits the sample's size: none below 3 values, Student's up to 9, BCa from 10.

    The bootstrap starts from a fixed seed: the same values in the same order give the same interval.

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
    values = _sample(x, 0)
    if values.size < _FEWEST:
        mean = float(values.mean()) if values.size else float("nan")
        return Interval(mean, float("nan"), float("nan"), values.size, "none")
    if values.size < _ENOUGH:
        return t_interval(values, level)
    return bootstrap_interval(values, np.random.default_rng(0), level)


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
    values = np.abs(signed := _sample(x, 1))
    if values.size > _MOST_FLIPPED:
        raise ValueError(f"x: expected at most {_MOST_FLIPPED} values, got {values.size}")
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


def _sample(x: ArrayLike, fewest: int) -> NDArray[np.float64]:
    values = np.asarray(x, np.float64)
    if values.ndim != 1 or values.size < fewest or not np.all(np.isfinite(values)):
        raise ValueError(f"x: expected at least {fewest} finite values in one dimension, got {x!r}")
    return values


def _constant(values: NDArray[np.float64]) -> bool:
    """Whether the values are equal but for rounding; differences of scores round at the scale of 1."""
    return bool(np.ptp(values) <= 4 * np.spacing(max(1.0, np.abs(values).max())))

"""The share of a reference's benefit that a start brings."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from tlx.measure.stats import ENOUGH, FEWEST, RESAMPLES, Interval

Array = NDArray[np.float64]

_CLEAR = 2.0  # standard errors by which the reference must differ from scratch


def normalised_gain(
    transfer: ArrayLike,
    scratch: ArrayLike,
    reference: ArrayLike = 1.0,
    level: float = 0.95,
    rng: np.random.Generator | None = None,
) -> Interval:
    """The gain as a share of what a reference gains, `(a_T - a_S) / (a_ref - a_S)`, a ratio of means over seeds.

    From 10 seeds on, the interval is the BCa bootstrap's, which resamples all arms jointly; from 3 to 9 it is
    Fieller's, which is exact for normal scores and has no ends where even the sign of the denominator is in doubt.

    Args:
      transfer: (n,) scores a_T, paired by seed; higher is better.
      scratch: (n,) scores a_S.
      reference: scores a_ref, (n,) of the best or the natural source, or one number such as the highest score there is.
      level: coverage, 0 to 1.
      rng: decides the resamples; None for the same ones every time.

    Returns:
      The share and its interval; all NaN where the reference is not at least two standard errors from scratch, or
      there are no seeds. `kind` is `t` for Fieller's.

    Raises:
      ValueError: if a score is not finite, or the shapes differ.

    Source: Hake 1998 (a reference of 1); Wu et al. 2022, "Insights into pre-training via simpler synthetic tasks"
    (benefit of the natural source); Fieller 1954, "Some problems in interval estimation"; Efron 1987.

    >>> normalised_gain([0.7, 0.8, 0.9], [0.6, 0.6, 0.6], [0.8, 1.0, 1.2]).mean
    0.5
    """
    ours, base = np.asarray(transfer, np.float64), np.asarray(scratch, np.float64)
    best = np.asarray(reference, np.float64)
    if ours.ndim != 1 or ours.shape != base.shape or best.shape not in ((), ours.shape):
        raise ValueError(f"scores: expected one for each seed and arm, got {ours.shape}, {base.shape}, {best.shape}")
    if not all(np.all(np.isfinite(part)) for part in (ours, base, best)):
        raise ValueError("scores: expected finite numbers")
    gain, benefit = ours - base, best - base
    if not _clear(benefit):
        return Interval(math.nan, math.nan, math.nan, gain.size, "none")
    share = float(gain.mean() / benefit.mean())
    if gain.size < FEWEST:
        return Interval(share, math.nan, math.nan, gain.size, "none")
    if np.allclose(gain, share * benefit, rtol=1e-12, atol=1e-15):  # no seed disagrees, whatever is drawn
        return Interval(share, share, share, gain.size, "t" if gain.size < ENOUGH else "bca")
    if gain.size < ENOUGH:
        return _fieller(gain, benefit, level)
    found = stats.bootstrap(
        (gain, benefit),
        lambda gain, benefit, axis: gain.mean(axis) / benefit.mean(axis),
        paired=True,
        vectorized=True,
        confidence_level=level,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=rng or np.random.default_rng(0),
    ).confidence_interval
    return Interval(share, float(found.low), float(found.high), gain.size, "bca")


def _clear(benefit: Array) -> bool:
    if benefit.size < 2:
        return bool(benefit.size and benefit[0] != 0)
    error = float(stats.sem(benefit)) if np.ptp(benefit) > 0 else 0.0
    return abs(float(benefit.mean())) >= max(_CLEAR * error, float(np.finfo(np.float64).eps))


def _fieller(gain: Array, benefit: Array, level: float) -> Interval:
    """All ratios r for which a mean of `gain - r * benefit` of zero is not refuted by Student's test."""
    n, t = gain.size, float(stats.t.ppf((1 + level) / 2, gain.size - 1))
    (vg, cov), (_, vb) = np.cov(gain, benefit) / n
    top, under = float(gain.mean()), float(benefit.mean())
    # a r^2 - 2 b r + c <= 0
    a, b, c = under**2 - t**2 * vb, top * under - t**2 * cov, top**2 - t**2 * vg
    share = top / under
    if a <= 0:
        return Interval(share, math.nan, math.nan, n, "none")
    half = math.sqrt(max(b**2 - a * c, 0.0)) / a
    return Interval(share, b / a - half, b / a + half, n, "t")

"""What a start is worth in target labels: how many more of them scratch would need for the same score."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from tlx.measure.bound import RESAMPLES, Bound, BoundInterval, Bounds, Weights, seed_interval

Array = NDArray[np.float64]

# Means of the same scores, summed up in another order, differ by less.
_ROUNDING = 1e-12


def scratch_curve(score_B: ArrayLike, weight_B: ArrayLike | None = None) -> Array:
    """The scores of scratch as a curve that never falls with labels: the nearest one in squares.

    Args:
      score_B: (budgets,) finite mean scores, from few labels to many; higher is better.
      weight_B: (budgets,) positive weights, such as numbers of seeds; equal ones if None.

    Returns:
      (budgets,) scores.

    Raises:
      ValueError: if there is no budget, or a score is not finite.

    Source: Barlow et al. 1972, "Statistical inference under order restrictions".

    >>> scratch_curve([0.2, 0.5, 0.25, 0.75]).tolist()
    [0.2, 0.375, 0.375, 0.75]
    """
    scores = np.asarray(score_B, np.float64)
    if scores.ndim != 1 or not scores.size or not np.all(np.isfinite(scores)):
        raise ValueError(f"score_B: expected finite scores of at least one budget, got {score_B!r}")
    return np.asarray(isotonic_regression(scores, weights=weight_B).x, np.float64)


def equivalent_labels(label_B: ArrayLike, score_B: ArrayLike, score: float, weight_B: ArrayLike | None = None) -> Bound:
    """The labels with which scratch reaches a score, `n_eq = inf{m : a_S(m) >= a_T}`.

    The curve of scratch is made to never fall, and is straight in log labels between the budgets. Nothing is known
    beyond them: a score above the curve takes more labels than the most there are, one below it fewer than the fewest.

    Args:
      label_B: (budgets,) numbers of labels, positive and rising.
      score_B: (budgets,) mean scores of scratch.
      score: of the arm that is compared; higher is better.
      weight_B: (budgets,) positive weights of the budgets; equal ones if None.

    Returns:
      Labels, censored at the ends of the grid.

    Raises:
      ValueError: if labels are not positive and rising, or a score is not finite.

    Source: Hernandez et al. 2021, "Scaling laws for transfer" (effective data). Theirs interpolates the
    losses of a fitted law; ours the scores themselves.

    >>> grid, scores = [10, 100, 1000], [0.25, 0.5, 0.75]
    >>> equivalent_labels(grid, scores, 0.625).text, equivalent_labels(grid, scores, 0.8).text
    ('316', '> 1,000')
    >>> equivalent_labels(grid, scores, 0.2).text
    '< 10'
    """
    labels, curve = _grid(label_B), scratch_curve(score_B, weight_B)
    if labels.shape != curve.shape or not np.isfinite(score):
        raise ValueError(f"score: expected a finite score, and one of scratch for each budget; got {score!r}")
    return _inverted(labels, curve[None], np.array([score]))[0]


def equivalent_interval(
    label_B: ArrayLike,
    scratch_SB: ArrayLike,
    score_S: ArrayLike,
    rng: np.random.Generator | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> BoundInterval:
    """`equivalent_labels` of mean scores, with `bound.seed_interval` over seeds, the same in both arms and all budgets.

    Args:
      label_B: (budgets,) numbers of labels, positive and rising.
      scratch_SB: (seeds, budgets) scores of scratch; NaN for what is missing.
      score_S: (seeds,) scores of the arm that is compared, paired by seed; NaN for what is missing.
      rng: decides the draws; None for the same ones every time.
      level: coverage, 0 to 1.
      resamples: number of draws.

    Returns:
      Labels and their interval, of the seeds of which no score is missing.

    Raises:
      ValueError: if shapes do not fit, labels are not positive and rising, or no seed is complete.

    >>> scratch = [[0.25, 0.5, 0.75], [0.2, 0.5, 0.8], [0.3, 0.5, 0.7]]
    >>> equivalent_interval([10, 100, 1000], scratch, [0.5, 0.625, 0.75]).text
    '316 [25.4, > 1,000]'
    """
    scratch, scores = np.asarray(scratch_SB, np.float64), np.asarray(score_S, np.float64)
    if scratch.ndim != 2 or scratch.shape != (scores.size, _grid(label_B).size):
        raise ValueError(f"scratch_SB: expected one score for each seed and budget, got the shape {scratch.shape}")
    whole = np.isfinite(scores) & np.isfinite(scratch).all(axis=1)
    scratch, scores = scratch[whole], scores[whole]
    if not scores.size:
        raise ValueError("score_S: expected at least one seed of which no score is missing")

    labels = _grid(label_B)

    def statistic(weight_RS: Weights) -> Bounds:
        share_RS = weight_RS / scores.size
        return _inverted(labels, _risen(share_RS @ scratch), share_RS @ scores)

    return seed_interval(statistic, scores.size, rng, level, resamples)


def data_transferred(equivalent: Bound, labels: float) -> Bound:
    """The effective data transferred, `D_T = n_eq - n`: negative where the start did harm.

    Args:
      equivalent: labels that scratch needs, n_eq.
      labels: that the other arm had, n.

    Source: Hernandez et al. 2021, "Scaling laws for transfer", equation 1.

    >>> data_transferred(Bound(316.0), 100).text, data_transferred(Bound(1000.0, ">"), 100).text
    ('216', '> 900')
    """
    return equivalent.minus(labels)


def label_multiplier(equivalent: Bound, labels: float) -> Bound:
    """How many labels one label is worth after this start, `n_eq / n`.

    Args:
      equivalent: labels that scratch needs, n_eq.
      labels: that the other arm had, n; positive.

    Raises:
      ValueError: if labels are not positive.

    Source: Hernandez et al. 2021, "Scaling laws for transfer" (there: the multiplier of the data).

    >>> label_multiplier(Bound(316.0), 100).text, label_multiplier(Bound(1000.0, ">"), 100).text
    ('3.16', '> 10')
    """
    return equivalent.times(1 / labels if labels else 0.0)


def ossified(labels: float, equivalent: BoundInterval) -> bool:
    """Whether a start is worth less than nothing: D_T below zero, with its whole interval where there is one.

    Args:
      labels: that the arm had, n; meant for the largest budget, where pre-trained weights can be in the way.
      equivalent: labels that scratch needs, and their interval.

    Source: Hernandez et al. 2021, "Scaling laws for transfer" (ossification).

    >>> ossified(1000, BoundInterval(Bound(400.0), Bound(300.0), Bound(900.0), 5))
    True
    >>> ossified(1000, BoundInterval(Bound(400.0), Bound(300.0), Bound(1000.0, ">"), 5))
    False
    """
    high = equivalent.high or equivalent.estimate
    # A score below that of the smallest budget needs fewer labels than that one has.
    return high.most < labels or (high.side == "<" and high.value <= labels)


def _grid(label_B: ArrayLike) -> Array:
    labels = np.asarray(label_B, np.float64)
    if labels.ndim != 1 or not labels.size or not np.all(labels > 0) or not np.all(np.diff(labels) > 0):
        raise ValueError(f"label_B: expected positive and rising numbers of labels, got {label_B!r}")
    return labels


def _risen(score_RB: Array) -> Array:
    """`scratch_curve` of every draw; most of them never fall and are left alone."""
    curve_RB = score_RB.copy()
    for fallen in np.flatnonzero((np.diff(score_RB, axis=1) < 0).any(axis=1)):
        curve_RB[fallen] = isotonic_regression(score_RB[fallen]).x
    return curve_RB


def _inverted(label_B: Array, curve_RB: Array, score_R: Array) -> Bounds:
    draws, last = np.arange(len(score_R)), label_B.size - 1
    over_R, under_R = score_R > curve_RB[:, -1] + _ROUNDING, score_R < curve_RB[:, 0] - _ROUNDING
    # The first budget at which scratch is as good; on a level stretch, that with the fewest labels.
    above_R = np.argmax(curve_RB >= score_R[:, None] - _ROUNDING, axis=1)
    above_R = np.where(over_R, last, above_R)
    below_R = np.maximum(above_R - 1, 0)
    high_R, low_R = curve_RB[draws, above_R], curve_RB[draws, below_R]
    rise_R = high_R - low_R
    share_R = np.where(rise_R > 0, (score_R - low_R) / np.where(rise_R > 0, rise_R, 1.0), 1.0).clip(0.0, 1.0)
    share_R = np.where(np.abs(high_R - score_R) <= _ROUNDING, 1.0, share_R)
    log_B = np.log(label_B)
    value_R = np.exp(log_B[below_R] + share_R * (log_B[above_R] - log_B[below_R]))
    # At a budget its own number of labels, without what exp(log()) rounds.
    value_R = np.where((share_R == 1.0) | (above_R == below_R), label_B[above_R], value_R)
    return Bounds(value_R, np.where(under_R, -np.inf, value_R), np.where(over_R, np.inf, value_R))

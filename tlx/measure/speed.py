"""How soon a score is reached, in steps, seconds or floating-point operations, and when pre-training has paid off."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tlx.measure.bound import UNKNOWN, Bound, Bounds, quotient

Array = NDArray[np.float64]

# Evaluations in a row that must reach the target, so that a lucky one does not count.
IN_A_ROW = 3
# Share of the last score of scratch that both arms are to reach.
SHARE = 0.99


def time_to_target(time_E: ArrayLike, score_E: ArrayLike, target: float, in_a_row: int = IN_A_ROW) -> Bound:
    """When a score is reached: the first of several evaluations in a row at or above it.

    Args:
      time_E: (evaluations,) steps, seconds or FLOPs, rising.
      score_E: (evaluations,) scores; higher is better, NaN reaches nothing.
      target: score to reach.
      in_a_row: how many evaluations must be at or above the target.

    Returns:
      The time, in the unit given; right-censored at the last evaluation if it is never reached, so also where too few
      evaluations are left to confirm it.

    Raises:
      ValueError: if times do not rise, or there is not one score for each, or none at all.

    >>> time_to_target([10, 20, 30, 40, 50], [0.5, 0.9, 0.8, 0.8, 0.9], 0.8).text
    '20'
    >>> time_to_target([10, 20, 30, 40, 50], [0.5, 0.9, 0.7, 0.8, 0.9], 0.8).text
    '> 50'
    """
    return times_to_target(time_E, np.asarray(score_E, np.float64)[None], np.array([target]), in_a_row)[0]


def times_to_target(time_E: ArrayLike, score_RE: Array, target_R: Array, in_a_row: int = IN_A_ROW) -> Bounds:
    """`time_to_target` of many curves, each with a target of its own.

    Args:
      time_E: (evaluations,) steps, seconds or FLOPs, rising.
      score_RE: (curves, evaluations) scores.
      target_R: (curves,) scores to reach.
      in_a_row: how many evaluations must be at or above the target.

    Returns:
      The time of each.

    Raises:
      ValueError: as `time_to_target`.
    """
    times = np.asarray(time_E, np.float64)
    if times.ndim != 1 or not times.size or score_RE.shape[1:] != times.shape or not np.all(np.diff(times) > 0):
        raise ValueError("time_E: expected rising times, and a score for each")
    if in_a_row < 1:
        raise ValueError(f"in_a_row: expected an integer ≥ 1, got {in_a_row!r}")
    if in_a_row > times.size:
        last_R = np.full(len(score_RE), times[-1])
        return Bounds(last_R, last_R, np.full(len(score_RE), np.inf))
    reached_RE = score_RE >= target_R[:, None]
    runs_RE = np.lib.stride_tricks.sliding_window_view(reached_RE, in_a_row, axis=1).all(axis=-1)
    found_R = runs_RE.any(axis=1)
    value_R = np.where(found_R, times[np.argmax(runs_RE, axis=1)], times[-1])
    return Bounds(value_R, value_R, np.where(found_R, value_R, np.inf))


def target_score(scratch_E: ArrayLike, share: float = SHARE) -> Array:
    """The score that both arms should reach: a share of what scratch has in the end.

    Args:
      scratch_E: (..., evaluations) scores of scratch; the last must be finite.
      share: 0 to 1; of a score below zero, which has no such share, the score itself is taken.

    Returns:
      Scores, the shape without its last axis.

    Raises:
      ValueError: if there is no last score.

    >>> target_score([0.2, 0.5]).item()
    0.495
    """
    scores = np.asarray(scratch_E, np.float64)
    if scores.ndim < 1 or not scores.shape[-1] or not np.all(np.isfinite(scores[..., -1])):
        raise ValueError("scratch_E: expected scores, the last of them finite")
    last = scores[..., -1]
    return np.where(last > 0, share * last, last)


def speed_up(scratch: Bound, transfer: Bound) -> Bound:
    """How many times sooner the transfer arm is there, `t_S / t_T`.

    Args:
      scratch: time to the target.
      transfer: the same of the transfer arm.

    Returns:
      The factor; censored where one arm never gets there, unknown where neither does.

    >>> speed_up(Bound(300.0), Bound(100.0)).text, speed_up(Bound(800.0, ">"), Bound(100.0)).text
    ('3', '> 8')
    """
    return quotient(scratch, transfer)


def speed_ups(scratch: Bounds, transfer: Bounds) -> Bounds:
    """`speed_up` of many pairs of times that are positive, and known or right-censored.

    Args:
      scratch: times to the target, from `times_to_target`.
      transfer: the same of the transfer arm.
    """
    late_R, never_R = np.isinf(scratch.most_R), np.isinf(transfer.most_R)
    value_R = np.where(late_R & never_R, np.nan, scratch.value_R / transfer.value_R)
    return Bounds(value_R, np.where(never_R, -np.inf, value_R), np.where(late_R, np.inf, value_R))


def compute_to_target(steps: Bound, step_flops: float, pretraining_flops: float = 0.0) -> Bound:
    """The floating-point operations until the target is reached.

    Args:
      steps: to the target.
      step_flops: of one train step, positive.
      pretraining_flops: of the source model; 0 to leave it out, as for weights that are there anyway.

    Raises:
      ValueError: if the FLOPs of a step are not positive.

    >>> compute_to_target(Bound(100.0, ">"), 2e9).text, compute_to_target(Bound(3.0), 10.0, 50.0).text
    ('> 200,000,000,000', '80')
    """
    return steps.times(step_flops).minus(-pretraining_flops)


def break_even_tasks(pretraining_flops: float, scratch: Bound, transfer: Bound) -> Bound:
    """How many tasks it takes until pre-training has paid for itself, `m* = C_pre / (C_S - C_T)`, rounded up.

    Args:
      pretraining_flops: C_pre, not negative.
      scratch: FLOPs that a task costs from scratch, C_S.
      transfer: FLOPs that it costs from the source, C_T, without those of the pre-training.

    Returns:
      Whole tasks; infinite where a task saves nothing. Where scratch never reaches the target it saves more than is
      known, so the number is at most the bound: `< m` is said of whole numbers below m.

    Raises:
      ValueError: if the FLOPs of pre-training are negative or not finite.

    >>> break_even_tasks(1000.0, Bound(300.0), Bound(100.0)).text, break_even_tasks(1000.0, Bound(1.0), Bound(1.0)).text
    ('5', '∞')
    >>> break_even_tasks(1000.0, Bound(300.0, ">"), Bound(100.0)).text
    '< 6'
    """
    if not 0 <= pretraining_flops < math.inf:
        raise ValueError(f"pretraining_flops: expected a number ≥ 0, got {pretraining_flops!r}")
    if "?" in (scratch.side, transfer.side):
        return UNKNOWN
    # What a task saves at least and at most, as far as the two bounds tell.
    least, most = scratch.least - transfer.most, scratch.most - transfer.least
    if most <= 0:
        return Bound(math.inf)
    if least == most:
        return Bound(float(math.ceil(pretraining_flops / least)))
    if least > 0:
        return Bound(math.ceil(pretraining_flops / least) + 1.0, "<")
    if math.isfinite(most):
        return Bound(math.ceil(pretraining_flops / most) - 1.0, ">")
    return UNKNOWN

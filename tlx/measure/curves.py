"""Learning curves of two arms: how high they begin, how high they end, and what lies between."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlx.measure.bound import Bound, difference
from tlx.measure.speed import time_to_target

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Scores on the way.

    Args:
      steps: at which there was an evaluation, positive and rising.
      scores: at each; higher is better.

    Raises:
      ValueError: if steps are not positive and rising, or there is not one score for each.
    """

    steps: tuple[float, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what is no curve."""
        steps = np.asarray(self.steps, np.float64)
        if not steps.size or not np.all(steps > 0) or not np.all(np.diff(steps) > 0):
            raise ValueError("steps: expected positive and rising numbers, at least one")
        if len(self.scores) != len(self.steps):
            raise ValueError(f"scores: expected {len(self.steps)}, one for each step, got {len(self.scores)}")


def area_under(curve: Curve) -> float:
    """The mean height of a curve over the logarithm of the steps: the normalised area under the learning curve.

    `1 / (x1 - x0) ∫ a dx` by trapezoids, with `x = log(step)`, so that early steps count as much as late ones.

    Args:
      curve: of two evaluations or more.

    Returns:
      In the unit of the scores; NaN for a single evaluation.

    Source: Liu et al. 2021, "Winning solutions and post-challenge analyses of the ChaLearn AutoDL challenge" (area
    under the learning curve). Theirs is over log(1 + t / t0), ours over log(step).

    >>> area_under(Curve((1, 10, 100), (0.0, 0.5, 1.0)))
    0.5
    """
    if len(curve.steps) < 2:
        return float("nan")
    x = np.log(np.asarray(curve.steps, np.float64))
    return float(np.trapezoid(np.asarray(curve.scores, np.float64), x) / (x[-1] - x[0]))


def area_gain(transfer: Curve, scratch: Curve) -> float:
    """The difference of the areas under two learning curves.

    Raises:
      ValueError: if the curves were evaluated at different steps.

    >>> round(area_gain(Curve((1, 10), (0.5, 0.9)), Curve((1, 10), (0.1, 0.9))), 6)
    0.2
    """
    _same_grid(transfer, scratch)
    return area_under(transfer) - area_under(scratch)


def jumpstart(transfer: Curve, scratch: Curve) -> float:
    """How much higher the transfer arm begins, at the first evaluation.

    It needs a head: evaluate a zero-shot or probed one at the start, or take the first evaluation for what it is.

    Raises:
      ValueError: if the curves were evaluated at different steps.

    Source: Taylor and Stone 2009, "Transfer learning for reinforcement learning domains", section 2.2.

    >>> jumpstart(Curve((1, 10), (0.5, 0.875)), Curve((1, 10), (0.25, 0.75)))
    0.25
    """
    _same_grid(transfer, scratch)
    return float(transfer.scores[0] - scratch.scores[0])


def asymptotic_gain(transfer: Curve, scratch: Curve) -> float:
    """How much higher the transfer arm ends, at the last evaluation.

    Raises:
      ValueError: if the curves were evaluated at different steps.

    Source: Taylor and Stone 2009, section 2.2.

    >>> asymptotic_gain(Curve((1, 10), (0.5, 0.875)), Curve((1, 10), (0.25, 0.75)))
    0.125
    """
    _same_grid(transfer, scratch)
    return float(transfer.scores[-1] - scratch.scores[-1])


def transfer_ratio(transfer: Curve, scratch: Curve) -> float:
    """How much larger the area under the transfer arm's curve is, as a share of that of scratch.

    Returns:
      The share; NaN where the area of scratch is not positive.

    Raises:
      ValueError: if the curves were evaluated at different steps.

    Source: Taylor and Stone 2009, section 2.2. Theirs is over steps, ours over their logarithm, as in `area_under`.

    >>> round(transfer_ratio(Curve((1, 10), (0.5, 0.9)), Curve((1, 10), (0.1, 0.9))), 6)
    0.4
    """
    whole = area_under(scratch)
    gained = area_gain(transfer, scratch)
    return gained / whole if whole > 0 else float("nan")


def steps_saved(transfer: Curve, scratch: Curve, target: float) -> Bound:
    """How many steps sooner the transfer arm reaches a score.

    Args:
      transfer: its curve.
      scratch: its curve.
      target: score to reach.

    Returns:
      Steps of scratch minus those of transfer, censored where one of them never gets there.

    Source: Taylor and Stone 2009, section 2.2 (time to threshold).

    >>> steps = (10, 20, 30, 40, 50)
    >>> steps_saved(Curve(steps, (0.6, 0.6, 0.7, 0.8, 0.8)), Curve(steps, (0.1, 0.2, 0.6, 0.6, 0.6)), 0.55).text
    '20'
    """
    return difference(
        time_to_target(scratch.steps, scratch.scores, target), time_to_target(transfer.steps, transfer.scores, target)
    )


def _same_grid(transfer: Curve, scratch: Curve) -> None:
    if tuple(transfer.steps) != tuple(scratch.steps):
        raise ValueError("steps: expected both curves to be evaluated at the same steps")

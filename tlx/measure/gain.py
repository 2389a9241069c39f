"""How much the transfer arm gains over its paired scratch arm.

Scores are shares between 0 and 1, higher is better; arrays pair their entries. A gain that its formula leaves
undefined is NaN, never an infinity.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Gains = NDArray[np.float64]


def absolute_gain(transfer: ArrayLike, scratch: ArrayLike) -> Gains:
    """The difference of two scores, `a_T - a_S`.

    Args:
      transfer: scores a_T, any shape.
      scratch: scores a_S, same shape.

    Returns:
      Gains in the unit of the scores, same shape.

    >>> absolute_gain([0.75, 0.5], [0.5, 0.75]).tolist()
    [0.25, -0.25]
    """
    return np.subtract(transfer, scratch, dtype=np.float64)


def relative_gain(transfer: ArrayLike, scratch: ArrayLike) -> Gains:
    """The gain as a share of the scratch score, `(a_T - a_S) / a_S`; NaN where `a_S <= 0`.

    Args:
      transfer: scores a_T, any shape.
      scratch: scores a_S, same shape.

    Returns:
      Gains without unit, same shape.

    Source: Vu et al. 2020, "Exploring and predicting transferability across NLP tasks"; Poth et al. 2021.

    >>> relative_gain([0.75, 0.5], [0.5, 0.0]).tolist()
    [0.5, nan]
    """
    return _ratio(absolute_gain(transfer, scratch), scratch)


def error_reduction(transfer: ArrayLike, scratch: ArrayLike) -> Gains:
    """The share of the scratch arm's errors that transfer removes, `(e_S - e_T) / e_S` with `e = 1 - a`.

    Args:
      transfer: accuracies a_T, 0 to 1, any shape.
      scratch: accuracies a_S, 0 to 1, same shape.

    Returns:
      Shares, same shape: 1 at best, negative where transfer adds errors, NaN where scratch makes none.

    >>> error_reduction([0.75, 0.25, 1.0], [0.5, 0.5, 1.0]).tolist()
    [0.5, -0.5, nan]
    """
    return _ratio(absolute_gain(transfer, scratch), np.subtract(1.0, scratch, dtype=np.float64))


def logit_gain(
    transfer_correct: ArrayLike,
    scratch_correct: ArrayLike,
    transfer_total: ArrayLike,
    scratch_total: ArrayLike,
) -> Gains:
    """The gain in log-odds, `logit(a_T) - logit(a_S)`, finite also at 0 and 100 %.

    Args:
      transfer_correct: counts of correct test examples, any shape.
      scratch_correct: the same of the scratch arm, same shape.
      transfer_total: counts of test examples; NaN results where there are none.
      scratch_total: the same of the scratch arm.

    Returns:
      Differences of log-odds (natural logarithm), same shape.

    Raises:
      ValueError: if a count is negative or more are correct than there are.

    Source: Haldane 1956 (0.5 added to both counts); Kornblith, Shlens, Le 2019 (the logit scale).

    >>> logit_gain(75, 50, 100, 100).round(4).item()
    1.0855
    """
    return _log_odds(transfer_correct, transfer_total) - _log_odds(scratch_correct, scratch_total)


def _log_odds(correct: ArrayLike, total: ArrayLike) -> Gains:
    right, count = np.asarray(correct, np.float64), np.asarray(total, np.float64)
    if np.any(right < 0) or np.any(right > count):
        raise ValueError("correct: expected counts between 0 and the number of examples")
    odds = np.log((right + 0.5) / (count - right + 0.5))
    return np.where(count > 0, odds, np.nan)


def _ratio(part: Gains, whole: ArrayLike) -> Gains:
    below = np.asarray(whole, np.float64)
    defined = below > 0
    return np.where(defined, part / np.where(defined, below, 1.0), np.nan)

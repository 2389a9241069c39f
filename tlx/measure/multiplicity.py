"""p-values of many tests at once, so that what is found by looking often is not taken for a finding."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tlx.measure.samples import Values


def holm(p: ArrayLike) -> Values:
    """Holm's adjusted p-values: rejecting those up to alpha errs anywhere with a chance of at most alpha.

    For few comparisons that were planned before the results were seen.

    Args:
      p: (n,) p-values, 0 to 1; NaN where there was no test.

    Returns:
      As many adjusted values, in the same order; NaN stays NaN and counts as no test.

    Raises:
      ValueError: if a p-value is not between 0 and 1.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values, tested = _checked(p)
    adjusted = np.full(values.shape, np.nan)
    known = values[tested]
    order = np.argsort(known, kind="stable")
    steps = np.minimum(1.0, known[order] * np.arange(known.size, 0, -1))
    ordered = np.empty(known.size)
    ordered[order] = np.maximum.accumulate(steps)
    adjusted[tested] = ordered
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> Values:
    """Benjamini and Hochberg's adjusted p-values: of those up to q, a share of at most q is false on average.

    For a whole matrix of sources and targets. It holds for tests that are independent or rise together.

    Args:
      p: (n,) p-values, 0 to 1; NaN where there was no test.

    Returns:
      As many adjusted values, in the same order; NaN stays NaN and counts as no test.

    Raises:
      ValueError: if a p-value is not between 0 and 1.

    Source: Benjamini and Hochberg 1995, "Controlling the false discovery rate".

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    values, tested = _checked(p)
    adjusted = np.full(values.shape, np.nan)
    if tested.any():
        adjusted[tested] = stats.false_discovery_control(values[tested], method="bh")
    return adjusted


def _checked(p: ArrayLike) -> tuple[Values, np.ndarray]:
    values = np.asarray(p, np.float64)
    tested = ~np.isnan(values)
    if values.ndim != 1 or np.any((values[tested] < 0) | (values[tested] > 1)):
        raise ValueError(f"p: expected p-values between 0 and 1 in one dimension, got {p!r}")
    return values, tested

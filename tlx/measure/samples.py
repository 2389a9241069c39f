"""What counts as a sample: finite values, and equal ones though they differ in the last bits."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]


def finite(x: ArrayLike, fewest: int, name: str = "x") -> Values:
    """Values that a statistic can be taken of.

    Args:
      x: (n,) finite values.
      fewest: the least n.
      name: of the argument, for the message.

    Returns:
      The values as float64.

    Raises:
      ValueError: if a value is not finite, there are too few, or they are not in one dimension.

    >>> finite([1, 2], fewest=2)
    array([1., 2.])
    """
    values = np.asarray(x, np.float64)
    if values.ndim != 1 or values.size < fewest or not np.all(np.isfinite(values)):
        raise ValueError(f"{name}: expected at least {fewest} finite values in one dimension, got {x!r}")
    return values


def constant(values: Values) -> bool:
    """Whether the values are equal but for rounding; differences of scores round at the scale of 1.

    >>> constant(np.array([0.8 - 0.7, 0.9 - 0.8]))
    True
    """
    return bool(np.ptp(values) <= 4 * np.spacing(max(1.0, np.abs(values).max())))


def unrounded(values: Values) -> Values:
    """The values with those that are equal on paper made equal, for ranks and comparisons.

    Scores are counts over a few hundred or thousand examples, so that they differ by far more than 1e-12
    where they differ at all.

    >>> np.unique(unrounded(np.array([0.8 - 0.7, 0.9 - 0.8]))).size
    1
    """
    rounded: Values = np.round(values, 12)
    return rounded

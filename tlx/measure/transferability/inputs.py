"""What estimators are given, checked once: features, probabilities and labels.

Shape suffixes: S sources, N examples, D features, Z source classes, C target classes.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]
# Rows of probabilities come from float32 passes.
_SUM_TOLERANCE = 1e-3


def features_of(features: ArrayLike) -> Numbers:
    """Features in float64.

    Args:
      features: [N, D], or [S, N, D] of several sources on the same examples.

    Raises:
      ValueError: another shape, a number that is not finite, or examples that are all alike.
    """
    x = _finite("features", features)
    if not np.all(np.any(x != x[..., :1, :], axis=(-2, -1))):
        raise ValueError("features: all examples have the same, so nothing can be told from them")
    return x


def probabilities_of(probabilities: ArrayLike) -> Numbers:
    """Predictions of source classes in float64, each row divided by its sum.

    Args:
      probabilities: [N, Z], or [S, N, Z] of several sources on the same examples.

    Raises:
      ValueError: another shape, a number that is not finite, or rows that are no distributions.
    """
    theta = _finite("probabilities", probabilities)
    sums = theta.sum(axis=-1, keepdims=True)
    if theta.min() < 0 or np.abs(sums - 1).max() > _SUM_TOLERANCE:
        raise ValueError("probabilities: expected rows that are not negative and sum to 1")
    return np.asarray(theta / sums)


def one_hot_of(labels: ArrayLike, examples: int) -> Numbers:
    """Labels as indicators of the classes that occur, [N, C].

    Args:
      labels: integers [N].
      examples: N.

    Raises:
      ValueError: they are not N integers, or of a single class.
    """
    y_N = np.asarray(labels)
    if y_N.shape != (examples,) or not np.issubdtype(y_N.dtype, np.integer):
        raise ValueError(f"labels: expected {examples} integers, got {y_N.dtype} of shape {y_N.shape}")
    classes = np.unique(y_N)
    if classes.size < 2:
        raise ValueError("labels: expected at least two classes")
    return (y_N[:, None] == classes[None, :]).astype(np.float64)


def _finite(name: str, values: ArrayLike) -> Numbers:
    x = np.asarray(values, np.float64)
    if x.ndim not in (2, 3) or x.size == 0:
        raise ValueError(f"{name}: expected an array [N, ...] or [S, N, ...] that is not empty, got shape {x.shape}")
    if not np.all(np.isfinite(x)):
        raise ValueError(f"{name}: expected finite numbers")
    return x

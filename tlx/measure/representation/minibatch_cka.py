"""Linear CKA of representations that are too wide for a matrix of their products: batch by batch.

Shape suffixes: B examples of a batch, D and E features of the two representations.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

# HSIC_1 divides by n (n - 3).
FEWEST = 4


class MinibatchCka:
    """CKA from an unbiased estimate of each of its three inner products, averaged over batches and then divided.

    A batch takes B² numbers and DB operations for each of its examples, so features may be whole feature maps,
    flattened. Equal to debiased CKA for a single batch.

    Source: Nguyen, Raghu and Kornblith 2021, "Do wide and deep networks learn the same things?", equations 2 and 3.
      Batches count by their number of examples, where the paper has equal ones; those of fewer than 4 do not count.
    """

    def __init__(self) -> None:
        self.count = 0
        self.left_out = 0
        self._totals = np.zeros(3)

    def add(self, x_BD: ArrayLike, y_BE: ArrayLike) -> None:
        """Add a batch.

        Args:
          x_BD: features of one representation.
          y_BE: those of the other, of the same examples.

        Raises:
          ValueError: if they are not finite matrices with as many rows as one another.
        """
        batch = [np.asarray(each, np.float64) for each in (x_BD, y_BE)]
        if any(each.ndim != 2 or not np.all(np.isfinite(each)) for each in batch) or len(batch[0]) != len(batch[1]):
            shapes = " and ".join(str(list(each.shape)) for each in batch)
            raise ValueError(f"x, y: expected finite features of the same examples, got {shapes}")
        size = len(batch[0])
        if size < FEWEST:
            self.left_out += size
            return
        # A shift changes no HSIC, but keeps digits where features are far from 0.
        one_BB, other_BB = (each @ each.T for each in (each - each.mean(axis=0) for each in batch))
        parts = [hsic(one_BB, other_BB), hsic(one_BB, one_BB), hsic(other_BB, other_BB)]
        self._totals += size * np.array(parts)
        self.count += size

    @property
    def value(self) -> float:
        """The CKA so far; NaN without a batch of 4, or where a representation is constant."""
        cross, one, other = self._totals / self.count if self.count else (math.nan,) * 3
        return float(cross / math.sqrt(one * other)) if one > 0 and other > 0 else math.nan


def hsic(k_BB: ArrayLike, l_BB: ArrayLike) -> float:
    """The unbiased estimate HSIC_1 of the dependence of two kernels.

    Args:
      k_BB: kernel matrix of one representation; its diagonal is not used.
      l_BB: that of the other.

    Returns:
      0 on average for independent representations.

    Raises:
      ValueError: if there are fewer than 4 examples.

    Source: Song, Smola, Gretton, Bedo and Borgwardt 2012; Nguyen et al. 2021, equation 3.

    >>> hsic(np.eye(4), np.ones((4, 4)))
    0.0
    """
    k, el = (_without_diagonal(each) for each in (k_BB, l_BB))
    n = len(k)
    if n < FEWEST:
        raise ValueError(f"k: expected at least {FEWEST} examples, got {n}")
    total = np.vdot(k, el.T) + k.sum() * el.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(axis=0) @ el.sum(axis=1))
    return float(total / (n * (n - 3)))


def _without_diagonal(gram_BB: ArrayLike) -> NDArray[np.float64]:
    values = np.array(gram_BB, np.float64)
    np.fill_diagonal(values, 0.0)
    return values

"""Centred kernel alignment: how alike two representations of the same examples are, up to rotation and scale.

Shape suffixes: N examples, D and E features of the two representations.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tlx.measure.representation.moments import Moments, moments

# Below this number of examples the debiased estimate is 0 / 0.
FEWEST = 4


def linear_cka(x_ND: ArrayLike, y_NE: ArrayLike, *, debiased: bool = True) -> float:
    """Linear CKA, `‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖)` with centred features.

    Args:
      x_ND: features of one representation.
      y_NE: those of the other, of the same examples.
      debiased: see `cka_of`.

    Returns:
      As `cka_of`.

    Raises:
      ValueError: if the features are not finite matrices with as many rows as one another.

    >>> rng = np.random.RandomState(1337)
    >>> x_ND = rng.randn(100, 10)
    >>> y_ND = rng.randn(100, 10) + x_ND
    >>> round(linear_cka(x_ND, y_ND, debiased=False), 5), round(linear_cka(x_ND, y_ND), 5)
    (0.55761, 0.51346)
    """
    return cka_of(moments(x_ND, y_NE), debiased=debiased)


def cka_of(sums: Moments, *, debiased: bool = True) -> float:
    """Linear CKA from sums over batches, whatever the batches were.

    Args:
      sums: of both representations.
      debiased: whether each inner product is replaced by an unbiased estimate. The plain one tends to 1 for unrelated
        features where there are few examples for their number; use it above 5 examples a feature only.

    Returns:
      1 for representations that differ by a rotation and a factor, 0 for unrelated ones; the debiased one can be
      slightly negative. NaN where a representation is constant, and debiased for fewer than 4 examples.

    Raises:
      ValueError: if there are no examples.

    Source: Kornblith, Norouzi, Lee and Hinton 2019, section 3, with a linear kernel; the debiased form is that of
      Song et al. 2012, written for features as in the authors' published notebook.
    """
    if debiased and sums.count < FEWEST:
        return math.nan
    inner = _debiased if debiased else _plain
    cross, own, other = (inner(sums, pair) for pair in ("xy", "xx", "yy"))
    negligible = 1e-12 * max(_plain(sums, "xx"), 0.0), 1e-12 * max(_plain(sums, "yy"), 0.0)
    if own <= negligible[0] or other <= negligible[1]:
        return math.nan
    return cross / math.sqrt(own * other)


def rbf_cka(x_ND: ArrayLike, y_NE: ArrayLike, threshold: float = 1.0) -> float:
    """CKA with a Gaussian kernel, whose width is a multiple of the median distance.

    Args:
      x_ND: features of one representation; N² numbers are held.
      y_NE: those of the other, of the same examples.
      threshold: the width as a multiple of the median of all distances between examples.

    Returns:
      0 to 1, biased; NaN where more than half of the distances of a representation are 0.

    Raises:
      ValueError: if the features are not finite matrices with as many rows as one another.

    Source: Kornblith et al. 2019, section 3.
    """
    sums = moments(x_ND, y_NE)
    if not sums.count:
        raise ValueError("x: expected at least one example")
    grams = [_gaussian(np.asarray(each, np.float64), threshold) for each in (x_ND, y_NE)]
    if any(gram is None for gram in grams):
        return math.nan
    one_NN, other_NN = (_centred(gram) for gram in grams if gram is not None)
    return float(np.vdot(one_NN, other_NN) / (np.linalg.norm(one_NN) * np.linalg.norm(other_NN)))


def _plain(sums: Moments, pair: str) -> float:
    return float(np.sum(np.square(sums.covariance(pair))))


def _debiased(sums: Moments, pair: str) -> float:
    n = sums.count
    norms = float(np.trace(sums.covariance(pair[0] * 2)) * np.trace(sums.covariance(pair[1] * 2)))
    return _plain(sums, pair) - n / (n - 2) * sums.norm_products(pair) + norms / ((n - 1) * (n - 2))


def _gaussian(x_ND: NDArray[np.float64], threshold: float) -> NDArray[np.float64] | None:
    x_ND = x_ND - x_ND.mean(axis=0)
    length_N = np.sum(np.square(x_ND), axis=1)
    square_NN = np.maximum(length_N[:, None] + length_N - 2 * x_ND @ x_ND.T, 0.0)
    median = float(np.median(square_NN))
    return np.exp(-square_NN / (2 * threshold**2 * median)) if median > 0 else None


def _centred(gram_NN: NDArray[np.float64]) -> NDArray[np.float64]:
    rows_NN = gram_NN - gram_NN.mean(axis=0)
    centred_NN: NDArray[np.float64] = rows_NN - rows_NN.mean(axis=1, keepdims=True)
    return centred_NN

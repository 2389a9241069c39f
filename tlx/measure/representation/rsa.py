"""Representational similarity: whether two representations find the same examples alike.

Shape suffixes: N examples, D and E features of the two representations.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata


def dissimilarity(x_ND: ArrayLike) -> NDArray[np.float64]:
    """One less Pearson's correlation of every two examples' features.

    Args:
      x_ND: features; N² numbers are made, so take a few hundred examples.

    Returns:
      [N, N], 0 to 2, with 0 on the diagonal; NaN beside an example whose features are all equal.

    Raises:
      ValueError: if the features are no finite matrix.

    Source: Kriegeskorte, Mur and Bandettini 2008, "Representational similarity analysis".

    >>> dissimilarity([[0.0, 1.0], [1.0, 0.0], [0.0, 2.0]]).round(6).tolist()
    [[0.0, 2.0, 0.0], [2.0, 0.0, 2.0], [0.0, 2.0, 0.0]]
    """
    x = np.asarray(x_ND, np.float64)
    if x.ndim != 2 or not np.all(np.isfinite(x)):
        raise ValueError(f"x: expected finite features [examples, features], got an array {list(x.shape)}")
    centred_ND = x - x.mean(axis=1, keepdims=True)
    length_N1 = np.linalg.norm(centred_ND, axis=1, keepdims=True)
    varies_N1 = length_N1 > 1e-12 * np.linalg.norm(x, axis=1, keepdims=True)
    unit_ND = np.divide(centred_ND, length_N1, out=np.full_like(centred_ND, np.nan), where=varies_N1)
    made_NN = 1.0 - np.clip(unit_ND @ unit_ND.T, -1.0, 1.0)
    np.fill_diagonal(made_NN, np.where(varies_N1[:, 0], 0.0, np.nan))
    return made_NN


def rsa(x_ND: ArrayLike, y_NE: ArrayLike) -> float:
    """Spearman's correlation of the dissimilarities of all pairs of examples.

    Args:
      x_ND: features of one representation.
      y_NE: those of the other, of the same examples.

    Returns:
      -1 to 1; ties have their mean rank. NaN for fewer than 3 examples, and where one has all features equal or all
      pairs are equally dissimilar.

    Raises:
      ValueError: if the features are no finite matrices with as many rows as one another.

    Source: Kriegeskorte et al. 2008.
    """
    one_NN, other_NN = dissimilarity(x_ND), dissimilarity(y_NE)
    if one_NN.shape != other_NN.shape:
        raise ValueError(f"y: expected as many examples as x, {len(one_NN)}, got {len(other_NN)}")
    above = np.triu_indices(len(one_NN), 1)
    ranks = []
    for pair_P in (one_NN[above], other_NN[above]):
        if len(pair_P) < 3 or not np.all(np.isfinite(pair_P)):
            return math.nan
        # What differs in the last bits only is a tie.
        rank_P = rankdata(pair_P.round(12))
        ranks.append(rank_P - rank_P.mean())
    lengths = math.prod(float(np.linalg.norm(rank_P)) for rank_P in ranks)
    return float(ranks[0] @ ranks[1] / lengths) if lengths else math.nan

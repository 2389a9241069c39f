"""Canonical correlations of two representations: how much of one is a linear map of the other.

Shape suffixes: N examples, D and E features of the two sides, K and L directions kept of them, R correlations.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tlx.measure.representation.moments import Moments, moments

# Directions with less of the variance than this share of the first one's hold rounding errors.
NEGLIGIBLE = 1e-11

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Canonical:
    """Canonical correlations, the greatest first.

    Args:
      correlation_R: 0 to 1; as many as the smaller number of directions kept.
      weight_R: of each, the sum over the first representation's features of their absolute inner products with its
        canonical variable; sum 1.
      kept: directions kept of each side.
    """

    correlation_R: Floats
    weight_R: Floats
    kept: tuple[int, int]


def canonical(sums: Moments, keep: float = 1.0) -> Canonical:
    """The canonical correlations of two representations, from sums over batches.

    Args:
      sums: of both representations.
      keep: share of each side's variance that is kept, its greatest directions first; 1 for all that is no rounding.

    Returns:
      The correlations; none where a representation is constant.

    Raises:
      ValueError: if `keep` is no share, or the examples are no more than directions, where any two representations are
        perfectly correlated.

    Source: Hotelling 1936, "Relations between two sets of variates"; the weights are Morcos, Raghu and Bengio 2018,
      "Insights on representational similarity in neural networks with canonical correlation".
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep: expected a share above 0 and up to 1, got {keep!r}")
    xx_DD = sums.covariance("xx")
    white_DK, white_EL = _whitening(xx_DD, keep), _whitening(sums.covariance("yy"), keep)
    kept = (white_DK.shape[1], white_EL.shape[1])
    if sums.count <= max(kept) + 1:  # the mean has taken one
        raise ValueError(f"x: {sums.count} examples are too few for the {max(kept)} directions kept")
    if not min(kept):
        return Canonical(np.zeros(0), np.zeros(0), kept)
    turn_KR, correlation_R, _ = np.linalg.svd(white_DK.T @ sums.covariance("xy") @ white_EL, full_matrices=False)
    weight_R = np.abs((white_DK @ turn_KR).T @ xx_DD).sum(axis=1)
    return Canonical(np.clip(correlation_R, 0.0, 1.0), weight_R / weight_R.sum(), kept)


def svcca(x_ND: ArrayLike, y_NE: ArrayLike, keep: float = 0.99) -> float:
    """SVCCA: the mean canonical correlation of the directions that hold most of each side's variance.

    Args:
      x_ND: features of one representation; of feature maps, positions are examples and channels features.
      y_NE: those of the other, of the same examples.
      keep: share of the variance kept on either side.

    Returns:
      0 to 1; NaN where a representation is constant.

    Raises:
      ValueError: as for `canonical` and `Moments.add`.

    Source: Raghu, Gilmer, Yosinski and Sohl-Dickstein 2017, section 2.1.
    """
    return svcca_of(moments(x_ND, y_NE), keep)


def svcca_of(sums: Moments, keep: float = 0.99) -> float:
    """SVCCA from sums over batches; returns and errors as for `svcca`."""
    return _mean(canonical(sums, keep).correlation_R)


def pwcca(x_ND: ArrayLike, y_NE: ArrayLike) -> float:
    """PWCCA: canonical correlations weighted by how much of the first representation each accounts for.

    Args:
      x_ND: features of the representation that the weights are of; the measure is not symmetric.
      y_NE: those of the other, of the same examples.

    Returns:
      0 to 1; NaN where a representation is constant.

    Raises:
      ValueError: as for `canonical` and `Moments.add`.

    Source: Morcos et al. 2018.
    """
    return pwcca_of(moments(x_ND, y_NE))


def pwcca_of(sums: Moments) -> float:
    """PWCCA from sums over batches; returns and errors as for `pwcca`."""
    found = canonical(sums)
    return float(found.weight_R @ found.correlation_R) if len(found.weight_R) else float("nan")


def mean_squared_cca(x_ND: ArrayLike, y_NE: ArrayLike, *, centred: bool = True) -> float:
    """The mean squared canonical correlation, over all directions of the smaller representation.

    Args:
      x_ND: features of one representation.
      y_NE: those of the other, of the same examples.
      centred: whether features are taken less their means, as correlations are.

    Returns:
      0 to 1; NaN where a representation is constant.

    Raises:
      ValueError: if the features are not finite matrices with as many rows as one another, or the examples
        are no more than directions.

    Source: Kornblith et al. 2019, table 1, `R²_CCA`. The authors' published notebook does not centre here.

    >>> rng = np.random.RandomState(1337)
    >>> x_ND = rng.randn(100, 10)
    >>> round(mean_squared_cca(x_ND, rng.randn(100, 10) + x_ND, centred=False), 5)
    0.54312
    """
    if centred:
        return _mean(np.square(canonical(moments(x_ND, y_NE)).correlation_R))
    moments(x_ND, y_NE)  # what is wrong with them is said there
    one_NK, other_NL = _basis(np.asarray(x_ND, np.float64)), _basis(np.asarray(y_NE, np.float64))
    fewest = min(one_NK.shape[1], other_NL.shape[1])
    return float(np.sum(np.square(one_NK.T @ other_NL)) / fewest) if fewest else float("nan")


def _basis(x_ND: Floats) -> Floats:
    """Orthonormal columns that span those of a matrix."""
    if len(x_ND) <= x_ND.shape[1]:
        raise ValueError(f"x: {len(x_ND)} examples are too few for the {x_ND.shape[1]} features")
    left_NK, value_K, _ = np.linalg.svd(x_ND, full_matrices=False)
    made: Floats = left_NK[:, value_K > 1e-10 * max(value_K[0], 0.0)]
    return made


def _whitening(covariance_DD: Floats, keep: float) -> Floats:
    """[D, K]: the directions of the greatest variance, each divided by its deviation."""
    # Features of very different scale would hide the small ones in rounding errors, were all variance kept.
    scale_D = np.sqrt(np.maximum(np.diag(covariance_DD), 0.0)) if keep == 1 else np.ones(len(covariance_DD))
    per_D = np.divide(1.0, scale_D, out=np.zeros_like(scale_D), where=scale_D > 0)
    variance_K, axis_DK = np.linalg.eigh(covariance_DD * per_D[:, None] * per_D)
    variance_K, axis_DK = variance_K[::-1], axis_DK[:, ::-1]
    is_kept = variance_K > NEGLIGIBLE * max(variance_K[0], 0.0)
    if keep < 1 and is_kept.any():
        before_K = np.concatenate([[0.0], np.cumsum(variance_K[is_kept])[:-1]])
        is_kept[np.flatnonzero(is_kept)[before_K >= keep * variance_K[is_kept].sum()]] = False
    made: Floats = per_D[:, None] * axis_DK[:, is_kept] / np.sqrt(variance_K[is_kept])
    return made


def _mean(value_R: Floats) -> float:
    return float(value_R.mean()) if len(value_R) else float("nan")

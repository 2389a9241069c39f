"""PARC: whether examples that are far apart in features have different labels.

Shape suffixes: S sources, N examples, D features, P = N(N-1)/2 pairs.
"""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from tlx.measure.transferability.batched import over_sources
from tlx.measure.transferability.inputs import Numbers, features_of, one_hot_of
from tlx.measure.transferability.spectrum import centred, reduced

DIMS = 32
# Pairs are held and sorted.
MOST_EXAMPLES = 5000


def parc(features: ArrayLike, labels: ArrayLike, *, dims: int | None = DIMS) -> Numbers:
    """100 times Spearman's correlation of `1 - corr(f_i, f_j)` with whether i and j have different labels.

    Args:
      features: [N, D], or [S, N, D], mapped at once.
      labels: integers [N].
      dims: principal components that are kept of more features, where there are more examples, too; None for all.

    Returns:
      One number or [S], -100 to 100.

    Raises:
      ValueError: the inputs do not have these shapes or are not finite, or are of more than 5000 examples.

    Source: Bolya, Mittapalli, Hoffman 2021, "Scalable diverse model selection for accessible transfer learning".
      Features are standardised over the examples. The reference correlates with distances of one-hot rows, whose
      rounding breaks ties between pairs of one class; ours are exact, and differ by a point or so.
    """
    x = features_of(features)
    y_NC = one_hot_of(labels, x.shape[-2])
    if len(y_NC) > MOST_EXAMPLES:
        raise ValueError(f"features: expected at most {MOST_EXAMPLES} examples, as every pair counts; take a subset")
    if np.all(y_NC.sum(axis=0) == 1):
        raise ValueError("labels: expected a class with two examples")
    row, column = np.triu_indices(len(y_NC), 1)
    differ_P = 1.0 - np.sum(y_NC[row] * y_NC[column], axis=1)
    return np.asarray(100 * over_sources(_one, x, differ_P, dims=dims))


def spearman(x_P: ArrayLike, y_P: ArrayLike) -> Numbers:
    """Spearman's correlation, ties sharing their mean rank.

    Args:
      x_P: (P,) numbers.
      y_P: (P,) numbers.

    Returns:
      -1 to 1, 0 where one of them is constant.
    """
    given = np.stack([np.asarray(x_P, np.float64), np.asarray(y_P, np.float64)])
    return np.asarray(over_sources(_spearman_of, given))


def _spearman_of(given_2P: jax.Array) -> jax.Array:
    return _spearman(given_2P[0], given_2P[1])


def _one(x_ND: jax.Array, differ_P: jax.Array, dims: int | None) -> jax.Array:
    x_ND = centred(x_ND if dims is None else reduced(x_ND, dims))
    x_ND = x_ND / _or_one(jnp.sqrt(jnp.mean(x_ND**2, axis=0, keepdims=True)))
    x_ND = x_ND - jnp.mean(x_ND, axis=1, keepdims=True)
    # A row whose features are all alike correlates with nothing.
    unit_ND = x_ND / _or_one(jnp.sqrt(jnp.sum(x_ND**2, axis=1, keepdims=True)))
    row, column = np.triu_indices(len(x_ND), 1)
    return _spearman(1 - (unit_ND @ unit_ND.T)[row, column], differ_P)


def _spearman(x_P: jax.Array, y_P: jax.Array) -> jax.Array:
    one_P, other_P = _ranks(x_P), _ranks(y_P)
    length = jnp.sqrt(jnp.sum(one_P**2) * jnp.sum(other_P**2))
    return jnp.sum(one_P * other_P) / _or_one(length)


def _ranks(x_P: jax.Array) -> jax.Array:
    """Mean ranks, less their mean."""
    sorted_P = jnp.sort(x_P)
    rank_P = jnp.searchsorted(sorted_P, x_P, side="left") + jnp.searchsorted(sorted_P, x_P, side="right")
    return (rank_P.astype(x_P.dtype) - x_P.shape[0]) / 2


def _or_one(x: jax.Array) -> jax.Array:
    return jnp.where(x > 0, x, 1.0)

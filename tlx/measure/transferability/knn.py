"""The accuracy of nearest neighbours, each example told by the others.

Shape suffixes: S sources, N examples, D features, C classes.
"""

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from tlx.measure.transferability.batched import over_sources
from tlx.measure.transferability.inputs import Numbers, features_of, one_hot_of

_ROWS = 64  # of the distances that are held at once


def knn(features: ArrayLike, labels: ArrayLike, *, neighbours: int = 1) -> Numbers:
    """The leave-one-out accuracy of the majority among the nearest neighbours, by Euclidean distance.

    Classes with equally many votes share the point, as do examples at equal distances their votes, so neither the
    order of the examples nor that of the classes counts.

    Args:
      features: [N, D], or [S, N, D], mapped at once.
      labels: integers [N].
      neighbours: how many vote, fewer than N.

    Returns:
      A share, one number or [S].

    Raises:
      ValueError: the inputs do not have these shapes or are not finite, or there are too few examples.

    Source: Fix and Hodges 1951; Cover and Hart 1967.
    """
    x = features_of(features)
    y_NC = one_hot_of(labels, x.shape[-2])
    if not 1 <= neighbours < len(y_NC):
        raise ValueError(f"features: expected more than {neighbours} examples for {neighbours} neighbours")
    return over_sources(_one, x, y_NC, neighbours=neighbours)


def _one(x_ND: jax.Array, y_NC: jax.Array, neighbours: int) -> jax.Array:
    square_N = jnp.sum(x_ND**2, axis=1)

    def point(n: jax.Array) -> jax.Array:
        distance_N = square_N - 2 * (x_ND @ x_ND[n])
        distance_N = jnp.where(jnp.arange(len(x_ND)) == n, jnp.inf, distance_N)
        last = -jax.lax.top_k(-distance_N, neighbours)[0][-1]
        nearer_N, at_N = distance_N < last, distance_N == last
        weight_N = jnp.where(at_N, (neighbours - jnp.sum(nearer_N)) / jnp.sum(at_N), nearer_N.astype(x_ND.dtype))
        vote_C = weight_N @ y_NC
        first_C = (vote_C >= jnp.max(vote_C) * (1 - 1e-9)).astype(x_ND.dtype)
        return first_C @ y_NC[n] / jnp.sum(first_C)

    return jnp.mean(jax.lax.map(point, jnp.arange(len(x_ND)), batch_size=min(_ROWS, len(x_ND))))

"""TransRate: the coding rate that the classes save.

Shape suffixes: S sources, N examples, D features, C classes.
"""

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from tlx.measure.transferability.batched import over_sources
from tlx.measure.transferability.classes import class_sizes
from tlx.measure.transferability.inputs import Numbers, features_of, one_hot_of
from tlx.measure.transferability.spectrum import centred

EPSILON = 1e-4


def transrate(features: ArrayLike, labels: ArrayLike, *, epsilon: float = EPSILON) -> Numbers:
    """`R(Z) - Σ_c n_c/n R(Z_c)` with `R(Z) = ½ log det(I + ZᵀZ / (n ε))`.

    The variant is the paper's own: all features centred once, classes weighted by their share, rows and eigenvalues
    as they are. It depends on the features' scale.

    Args:
      features: [N, D], or [S, N, D], mapped at once.
      labels: integers [N].
      epsilon: squared distortion ε, in the features' units squared.

    Returns:
      Nats, one number or [S].

    Raises:
      ValueError: the inputs do not have these shapes or are not finite.

    Source: Huang et al. 2022, "Frustratingly easy transferability estimation". tllib weights classes by 1/C; the
      authors' code also normalises rows and eigenvalues and divides by the rank.
    """
    x = features_of(features)
    return over_sources(_one, x, one_hot_of(labels, x.shape[-2]), epsilon=epsilon)


def _one(x_ND: jax.Array, y_NC: jax.Array, epsilon: float) -> jax.Array:
    x_ND = centred(x_ND)

    def of_class(member_N: jax.Array) -> jax.Array:
        return _rate(x_ND * member_N[:, None], jnp.sum(member_N) * epsilon)

    share_C = class_sizes(y_NC) / x_ND.shape[0]
    return _rate(x_ND, x_ND.shape[0] * epsilon) - jnp.sum(share_C * jax.lax.map(of_class, y_NC.T))


def _rate(x_ND: jax.Array, scale: jax.Array | float) -> jax.Array:
    # Both products have the same eigenvalues but for zeros: the smaller will do.
    product = x_ND.T @ x_ND if x_ND.shape[1] <= x_ND.shape[0] else x_ND @ x_ND.T
    return jnp.linalg.slogdet(jnp.eye(len(product), dtype=product.dtype) + product / scale)[1] / 2

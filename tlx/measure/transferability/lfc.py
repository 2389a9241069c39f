"""LFC: whether features and labels call the same examples alike.

Shape suffixes: S sources, N examples, D features, C classes.
"""

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from tlx.measure.transferability.batched import over_sources
from tlx.measure.transferability.classes import class_sizes
from tlx.measure.transferability.inputs import Numbers, features_of, one_hot_of


def lfc(features: ArrayLike, labels: ArrayLike) -> Numbers:
    """The cosine of the kernels `f fᵀ` and ±1 for labels that agree or not, each less its mean.

    Args:
      features: [N, D], or [S, N, D], mapped at once.
      labels: integers [N].

    Returns:
      One number or [S], -1 to 1; 0 where all products of features are equal.

    Raises:
      ValueError: the inputs do not have these shapes or are not finite.

    Source: Deshpande et al. 2021, "A linearized framework and a new benchmark for model selection for fine-tuning".
      Norms are Frobenius's; ports take the spectral norm. No kernel [N, N] is made.
    """
    x = features_of(features)
    return over_sources(_one, x, one_hot_of(labels, x.shape[-2]))


def _one(x_ND: jax.Array, y_NC: jax.Array) -> jax.Array:
    pairs = x_ND.shape[0] ** 2
    sums_CD = jnp.einsum("nc,nd->cd", y_NC, x_ND)
    total = jnp.sum(jnp.sum(sums_CD, axis=0) ** 2)
    product = x_ND.T @ x_ND if x_ND.shape[1] <= x_ND.shape[0] else x_ND @ x_ND.T
    feature_norm = jnp.sum(product**2) - total**2 / pairs
    agreeing = jnp.sum(class_sizes(y_NC) ** 2)
    label_mean = 2 * agreeing / pairs - 1
    label_norm = pairs * (1 - label_mean**2)
    inner = 2 * jnp.sum(sums_CD**2) - total - total * label_mean
    length = jnp.sqrt(jnp.maximum(feature_norm, 0.0) * label_norm)
    return inner / jnp.where(length > 0, length, 1.0)

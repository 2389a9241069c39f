"""GBC: how far the classes, as Gaussians, overlap.

Shape suffixes: S sources, N examples, D features, C classes.
"""

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from tlx.measure.transferability.batched import over_sources
from tlx.measure.transferability.classes import class_means
from tlx.measure.transferability.inputs import Numbers, features_of, one_hot_of
from tlx.measure.transferability.spectrum import reduced

DIMS, FLOOR = 64, 1e-4


def gbc(features: ArrayLike, labels: ArrayLike, *, spherical: bool = True, dims: int = DIMS) -> Numbers:
    """The negative sum of Bhattacharyya coefficients `exp(-D_B)` over all ordered pairs of classes.

    Args:
      features: [N, D], or [S, N, D], mapped at once.
      labels: integers [N].
      spherical: whether a class has one variance, the mean over the features, or one for each feature.
      dims: principal components that are kept of more features.

    Returns:
      One number or [S], -C(C-1) where all classes coincide to 0 where none overlap. A variance is at least 1e-4, so it
      depends on the features' scale where classes are tight, or have one example.

    Raises:
      ValueError: the inputs do not have these shapes or are not finite.

    Source: Pándy et al. 2022, "Transferability estimation using Bhattacharyya class separability". Google's code counts
      the spherical log-determinant once, not D times.
    """
    x = features_of(features)
    return over_sources(_one, x, one_hot_of(labels, x.shape[-2]), spherical=spherical, dims=dims)


def _one(x_ND: jax.Array, y_NC: jax.Array, spherical: bool, dims: int) -> jax.Array:
    x_ND = reduced(x_ND, dims)
    mean_CD = class_means(x_ND, y_NC)
    variance_CD = jnp.maximum(class_means((x_ND - y_NC @ mean_CD) ** 2, y_NC), FLOOR)
    if spherical:
        variance_CD = jnp.broadcast_to(jnp.mean(variance_CD, axis=1, keepdims=True), variance_CD.shape)

    def overlap(one: tuple[jax.Array, jax.Array]) -> jax.Array:
        mean_D, variance_D = one
        both_CD = (variance_CD + variance_D[None, :]) / 2
        apart_C = jnp.sum((mean_CD - mean_D[None, :]) ** 2 / both_CD, axis=1) / 8
        unlike_CD = jnp.log(both_CD) - (jnp.log(variance_CD) + jnp.log(variance_D)[None, :]) / 2
        return jnp.sum(jnp.exp(-apart_C - jnp.sum(unlike_CD, axis=1) / 2))

    # Every class overlaps with itself wholly.
    return y_NC.shape[1] - jnp.sum(jax.lax.map(overlap, (mean_CD, variance_CD)))

"""SFDA: how well a discriminant tells classes apart that were moved towards one another.

Shape suffixes: S sources, N examples, D features, C classes.
"""

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from tlx.measure.transferability.batched import over_sources
from tlx.measure.transferability.classes import class_means, posteriors, within_scatter
from tlx.measure.transferability.inputs import Numbers, features_of, one_hot_of

LEAST_SHARE = 1e-10


def sfda(features: ArrayLike, labels: ArrayLike, *, power_steps: int | None = None) -> Numbers:
    """The mean posterior of the true class under a regularised discriminant, after ConfMix.

    The scatter within classes is shrunk towards a sphere by a share `exp(-5 λ)`, λ its largest eigenvalue. ConfMix
    moves each example towards the mean of the other classes' means, further the less it was believed; the
    discriminant is then fitted again with the same share.

    Args:
      features: [N, D], or [S, N, D], mapped at once.
      labels: integers [N].
      power_steps: None for the exact λ; a number for as many double steps of the power method from the row sums, as
        the reference takes 3, which depends on the axes.

    Returns:
      A probability, one number or [S].

    Raises:
      ValueError: the inputs do not have these shapes or are not finite.

    Source: Shao et al. 2022, "Not all models are equal: predicting model transferability in a self-challenging Fisher
      space". As in the reference the mean is of probabilities, where the paper writes their logarithm.
    """
    x = features_of(features)
    return over_sources(_one, x, one_hot_of(labels, x.shape[-2]), power_steps=power_steps)


def _one(x_ND: jax.Array, y_NC: jax.Array, power_steps: int | None) -> jax.Array:
    scatter_DD = within_scatter(x_ND, y_NC)
    largest = jnp.linalg.eigvalsh(scatter_DD)[-1] if power_steps is None else _power(scatter_DD, power_steps)
    share = jnp.maximum(jnp.exp(-5 * largest), LEAST_SHARE)
    believed_N = jnp.sum(jax.nn.softmax(_fitted(x_ND, y_NC, share), axis=1) * y_NC, axis=1)
    mean_CD = class_means(x_ND, y_NC)
    others_CD = (jnp.sum(mean_CD, axis=0, keepdims=True) - mean_CD) / (y_NC.shape[1] - 1)
    mixed_ND = believed_N[:, None] * x_ND + (1 - believed_N)[:, None] * (y_NC @ others_CD)
    return jnp.mean(jnp.sum(_fitted(mixed_ND, y_NC, share) * y_NC, axis=1))


def _fitted(x_ND: jax.Array, y_NC: jax.Array, share: jax.Array) -> jax.Array:
    scatter_DD = within_scatter(x_ND, y_NC)
    features = x_ND.shape[1]
    sphere_DD = jnp.trace(scatter_DD) / features * jnp.eye(features, dtype=x_ND.dtype)
    # Where classes have no scatter at all, any sphere will do.
    least_DD = jnp.finfo(x_ND.dtype).tiny ** 0.5 * jnp.eye(features, dtype=x_ND.dtype)
    return posteriors(x_ND, y_NC, (1 - share) * scatter_DD + share * sphere_DD + least_DD)


def _power(scatter_DD: jax.Array, steps: int) -> jax.Array:
    vector_D, before_D = jnp.sum(scatter_DD, axis=1), jnp.sum(scatter_DD, axis=1)
    for _ in range(steps):
        before_D = scatter_DD @ vector_D
        before_D = before_D / jnp.linalg.norm(before_D)
        vector_D = scatter_DD @ before_D
        vector_D = vector_D / jnp.linalg.norm(vector_D)
    return vector_D @ scatter_DD @ before_D

"""H-score: how much of the features' variance lies between classes.

Shape suffixes: S sources, N examples, D features, C classes, K = min(N, D).
"""

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from tlx.measure.transferability.batched import over_sources
from tlx.measure.transferability.classes import class_means, class_sizes
from tlx.measure.transferability.inputs import Numbers, features_of, one_hot_of
from tlx.measure.transferability.spectrum import centred


def h_score(features: ArrayLike, labels: ArrayLike) -> Numbers:
    """`tr(cov(f)⁺ cov(E[f|y]))`, the variance between classes after whitening.

    Args:
      features: [N, D], or [S, N, D], mapped at once.
      labels: integers [N].

    Returns:
      One number or [S], 0 to min(D, C-1). It is C-1 for any features once D ≥ N-1: use the shrunk one there.

    Raises:
      ValueError: the inputs do not have these shapes or are not finite.

    Source: Bao et al. 2019, "An information-theoretic approach to transferability in task transfer learning", through
      the singular vectors, so that no covariance is inverted.
    """
    x = features_of(features)
    return over_sources(_one, x, one_hot_of(labels, x.shape[-2]))


def shrunk_h_score(features: ArrayLike, labels: ArrayLike) -> Numbers:
    """The H-score with a covariance that is shrunk towards a sphere, `tr(cov_a⁻¹ (1-a) cov(E[f|y]))`.

    Args:
      features: [N, D], or [S, N, D], mapped at once.
      labels: integers [N].

    Returns:
      One number or [S], at least 0.

    Raises:
      ValueError: the inputs do not have these shapes or are not finite.

    Source: Ibrahim, Ponomareva, Mazumder 2022, "Newer is not always better", with Ledoit and Wolf's share a. As in the
      reference, cov_a divides by N and cov(E[f|y]) by N-1.
    """
    x = features_of(features)
    return over_sources(_shrunk, x, one_hot_of(labels, x.shape[-2]))


def shrinkage(features: ArrayLike) -> Numbers:
    """The share a of the sphere in `(1-a) cov(f) + a tr(cov(f))/D I` that is best in the mean.

    Args:
      features: [N, D], or [S, N, D], mapped at once.

    Returns:
      One number or [S], 0 to 1.

    Raises:
      ValueError: the features do not have these shapes or are not finite.

    Source: Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices".
    """
    return over_sources(_shrinkage, features_of(features))


def _one(x_ND: jax.Array, y_NC: jax.Array) -> jax.Array:
    u_NK, s_K, _ = jnp.linalg.svd(centred(x_ND), full_matrices=False)
    # Directions that rounding alone has filled are none.
    is_there_K = s_K > s_K[0] * max(x_ND.shape) * jnp.finfo(x_ND.dtype).eps
    return jnp.sum(jnp.where(is_there_K, _between(u_NK, y_NC), 0.0))


def _shrunk(x_ND: jax.Array, y_NC: jax.Array) -> jax.Array:
    examples, features = x_ND.shape
    u_NK, s_K, _ = jnp.linalg.svd(centred(x_ND), full_matrices=False)
    share, variance_K = _shrinkage(x_ND), s_K**2 / examples
    shrunk_K = (1 - share) * variance_K + share * jnp.sum(variance_K) / features
    between_K = _between(u_NK, y_NC) * s_K**2 / (examples - 1)
    return (1 - share) * jnp.sum(jnp.where(shrunk_K > 0, between_K / jnp.where(shrunk_K > 0, shrunk_K, 1.0), 0.0))


def _between(u_NK: jax.Array, y_NC: jax.Array) -> jax.Array:
    """The squared length of each column's class means, all examples counted, [K]."""
    return jnp.sum(class_sizes(y_NC)[:, None] * class_means(u_NK, y_NC) ** 2, axis=0)


def _shrinkage(x_ND: jax.Array) -> jax.Array:
    examples, features = x_ND.shape
    x_ND = centred(x_ND)
    mean = jnp.sum(x_ND**2) / (examples * features)
    gram = x_ND.T @ x_ND if features <= examples else x_ND @ x_ND.T
    squares = jnp.sum(gram**2) / examples**2
    away = squares / features - mean**2
    noise = (jnp.sum(jnp.sum(x_ND**2, axis=1) ** 2) / examples - squares) / (features * examples)
    noise = jnp.minimum(jnp.maximum(noise, 0.0), away)
    return jnp.where(away > 0, noise / jnp.where(away > 0, away, 1.0), 0.0)

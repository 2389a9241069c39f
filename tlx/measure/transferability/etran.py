"""ETran: an energy of the features and a discriminant of the labels, set against other sources.

Shape suffixes: S sources, N examples, D features, C classes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from tlx.measure.transferability.batched import over_sources
from tlx.measure.transferability.classes import posteriors, within_scatter
from tlx.measure.transferability.inputs import Numbers, features_of, one_hot_of

DISCRIMINANT_SHARE = 0.85
# Of the mean variance, so that more features than examples still have an inverse.
RIDGE = 1e-4


def etran(discriminant_S: ArrayLike, energy_S: ArrayLike) -> Numbers:
    """Both parts together: `0.85 minmax(discriminant) + 0.15 minmax(energy)` over a pool of sources.

    Args:
      discriminant_S: (S,) of `etran_discriminant`.
      energy_S: (S,) of `etran_energy`, the same sources.

    Returns:
      (S,), 0 to 1. It depends on the pool: a source alone has none. A part that all share counts 0.

    Raises:
      ValueError: the arrays are not of one length, or a number is not finite.

    Source: Gholami et al. 2023, "ETran: energy-based transferability estimation".

    >>> etran([0.5, 1.0, 0.75], [2.0, 2.0, 2.0]).tolist()
    [0.0, 0.85, 0.425]
    """
    discriminant, energy = np.asarray(discriminant_S, np.float64), np.asarray(energy_S, np.float64)
    finite = np.all(np.isfinite(discriminant)) and np.all(np.isfinite(energy))
    if discriminant.ndim != 1 or discriminant.shape != energy.shape or not discriminant.size or not finite:
        raise ValueError("discriminant and energy: expected finite numbers (S,) of the same sources")
    parts = DISCRIMINANT_SHARE * _min_max(discriminant) + (1 - DISCRIMINANT_SHARE) * _min_max(energy)
    return np.asarray(parts)


def etran_energy(features: ArrayLike, *, share: float = 1.0) -> Numbers:
    """The mean of `log Σ_d exp(f_d)` over the examples where it is largest: how much a source finds in them.

    Args:
      features: [N, D], or [S, N, D], mapped at once.
      share: of the examples, above 0 to 1.

    Returns:
      Nats, one number or [S].

    Raises:
      ValueError: the features do not have these shapes or are not finite, or the share is out of range.
    """
    x = features_of(features)
    if not 0 < share <= 1:
        raise ValueError(f"share: expected a number above 0 to 1, got {share}")
    return over_sources(_energy, x, most=max(1, round(share * x.shape[-2])))


def etran_discriminant(features: ArrayLike, labels: ArrayLike) -> Numbers:
    """The mean posterior of the true class under linear discriminant analysis.

    Args:
      features: [N, D], or [S, N, D], mapped at once.
      labels: integers [N].

    Returns:
      A probability, one number or [S].

    Raises:
      ValueError: the inputs do not have these shapes or are not finite.

    Source: as `etran`, whose code gives a symmetric solver a matrix that is not; ours solves with the scatter itself,
      1e-4 of the mean variance added to its diagonal.
    """
    x = features_of(features)
    return over_sources(_discriminant, x, one_hot_of(labels, x.shape[-2]))


def _energy(x_ND: jax.Array, most: int) -> jax.Array:
    return jnp.mean(jax.lax.top_k(jax.nn.logsumexp(x_ND, axis=1), most)[0])


def _discriminant(x_ND: jax.Array, y_NC: jax.Array) -> jax.Array:
    ridge = RIDGE * jnp.mean(jnp.var(x_ND, axis=0))
    scatter_DD = within_scatter(x_ND, y_NC) + ridge * jnp.eye(x_ND.shape[1], dtype=x_ND.dtype)
    return jnp.mean(jnp.sum(posteriors(x_ND, y_NC, scatter_DD) * y_NC, axis=1))


def _min_max(x_S: Numbers) -> Numbers:
    width = np.ptp(x_S)
    return np.asarray((x_S - x_S.min()) / width) if width > 0 else np.zeros_like(x_S)

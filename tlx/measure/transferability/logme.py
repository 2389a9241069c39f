"""LogME: the evidence of a Bayesian linear model of the labels.

Shape suffixes: S sources, N examples, D features, C classes, K = min(N, D).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from tlx.measure.transferability.batched import over_sources
from tlx.measure.transferability.inputs import Numbers, features_of, one_hot_of

# Of the reference; keeps both precisions finite where the labels are fitted perfectly.
EPSILON = 1e-5
TOLERANCE, MOST_STEPS = 1e-6, 1000
# Both precisions, their ratio before, and the number of steps.
_State = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


class Evidence(NamedTuple):
    """Of each column of targets, [C] or [S, C].

    Args:
      per_example: log-evidence divided by N, in nats.
      alpha: precision of the weights' prior.
      beta: precision of the noise.
    """

    per_example: Numbers
    alpha: Numbers
    beta: Numbers


def logme(features: ArrayLike, labels: ArrayLike) -> Numbers:
    """The largest log-evidence of `y = f w + noise` per example, its mean over one-hot label columns.

    Args:
      features: [N, D], or [S, N, D], mapped at once.
      labels: integers [N].

    Returns:
      Nats per example, one number or [S]; any sign, as it is of a density.

    Raises:
      ValueError: the inputs do not have these shapes or are not finite.

    Source: You et al. 2021, "LogME: practical assessment of pre-trained models for transfer learning", section 4. Ours
      counts the D-K directions without data in the log-determinant, which public ports leave out: they are wrong
      where D > N or features depend on one another. Residual and norm are those of the final precisions.
    """
    x = features_of(features)
    return np.asarray(evidence(x, one_hot_of(labels, x.shape[-2])).per_example.mean(axis=-1))


def evidence(features: ArrayLike, targets: ArrayLike) -> Evidence:
    """The same for any targets, such as scores, column by column.

    Args:
      features: [N, D], or [S, N, D], mapped at once.
      targets: [N, C].

    Returns:
      The evidence at the fixed point of both precisions.

    Raises:
      ValueError: the inputs do not have these shapes or are not finite.
    """
    x, y_NC = features_of(features), np.asarray(targets, np.float64)
    if y_NC.ndim != 2 or len(y_NC) != x.shape[-2] or not np.all(np.isfinite(y_NC)):
        raise ValueError(f"targets: expected finite numbers [{x.shape[-2]}, C], got shape {y_NC.shape}")
    return Evidence(*over_sources(_one, x, y_NC))


def _one(x_ND: jax.Array, y_NC: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    u_NK, s_K, _ = jnp.linalg.svd(x_ND, full_matrices=False)
    projected_KC = u_NK.T @ y_NC
    outside_C = jnp.maximum(jnp.sum(y_NC**2, axis=0) - jnp.sum(projected_KC**2, axis=0), 0.0)

    def column(projected_K: jax.Array, outside: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return _column(s_K**2, projected_K**2, outside, x_ND.shape)

    return jax.vmap(column, in_axes=(1, 0))(projected_KC, outside_C)


def _column(
    sigma_K: jax.Array, square_K: jax.Array, outside: jax.Array, shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    examples, features = shape
    one = jnp.ones((), sigma_K.dtype)

    def fit(ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Squared residual and squared norm of the weights' posterior mean, for a ratio α/β."""
        share_K = ratio / (ratio + sigma_K)
        return jnp.sum(square_K * share_K**2) + outside, jnp.sum(sigma_K * square_K / (ratio + sigma_K) ** 2)

    def more(state: _State) -> jax.Array:
        alpha, beta, before, step = state
        return (jnp.abs(alpha / beta - before) >= TOLERANCE * before) & (step < MOST_STEPS)

    def advance(state: _State) -> _State:
        alpha, beta, _, step = state
        ratio = alpha / beta
        residual, norm = fit(ratio)
        determined = jnp.sum(sigma_K / (ratio + sigma_K))
        return determined / (norm + EPSILON), (examples - determined) / (residual + EPSILON), ratio, step + 1

    alpha, beta, *_ = jax.lax.while_loop(more, advance, (one, one, 2 * one, jnp.asarray(0)))
    residual, norm = fit(alpha / beta)
    determinant = jnp.sum(jnp.log(alpha + beta * sigma_K)) + (features - sigma_K.size) * jnp.log(alpha)
    total = features * jnp.log(alpha) + examples * jnp.log(beta) - determinant
    total = total - beta * residual - alpha * norm - examples * jnp.log(2 * jnp.pi)
    return total / (2 * examples), alpha, beta

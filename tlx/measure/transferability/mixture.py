"""A mixture of Gaussians by expectation maximisation, from a start that a seed decides.

Shape suffixes: N examples, D features, K components.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

# As in the field's usual implementation: added to variances, and the gain of mean log-likelihood that ends it.
FLOOR, TOLERANCE = 1e-6, 1e-3
_LLOYD, _MOST_STEPS = 10, 100


class Mixture(NamedTuple):
    """Weights [K], means [K, D] and Cholesky factors of the covariances [K, D, D]."""

    weight_K: jax.Array
    mean_KD: jax.Array
    factor_KDD: jax.Array


# A mixture, its mean log-likelihood, that of the one before, and the number of steps.
_State = tuple[Mixture, jax.Array, jax.Array, jax.Array]


def posteriors(x_ND: jax.Array, components: int, seed: int) -> jax.Array:
    """The probability of each component given each example, after fitting.

    Args:
      x_ND: features; one that is 0 everywhere changes nothing.
      components: K, at most N.
      seed: of the start: k-means++ and Lloyd's steps on the examples in the order of their distance to the mean, so
        that the order they are given in does not count.

    Returns:
      [N, K].

    Source: Dempster, Laird, Rubin 1977; Arthur and Vassilvitskii 2007 (k-means++); covariances are full.
    """
    order_N = jnp.argsort(jnp.sum((x_ND - jnp.mean(x_ND, axis=0, keepdims=True)) ** 2, axis=1))
    sorted_ND = x_ND[order_N]
    mixture, _ = expectation_maximisation(sorted_ND, _start(sorted_ND, components, seed))
    return jax.nn.softmax(log_joint(x_ND, mixture), axis=1)


def expectation_maximisation(x_ND: jax.Array, member_NK: jax.Array) -> tuple[Mixture, jax.Array]:
    """Steps from a first guess of who belongs where, until they gain little.

    Args:
      x_ND: features.
      member_NK: rows sum to 1.

    Returns:
      The mixture and the examples' mean log-likelihood, in nats.
    """

    def likelihood(mixture: Mixture) -> tuple[jax.Array, jax.Array]:
        joint_NK = log_joint(x_ND, mixture)
        total_N = jax.nn.logsumexp(joint_NK, axis=1)
        return jnp.exp(joint_NK - total_N[:, None]), jnp.mean(total_N)

    def more(state: _State) -> jax.Array:
        _, now, before, step = state
        return (jnp.abs(now - before) >= TOLERANCE) & (step < _MOST_STEPS)

    def advance(
        state: tuple[Mixture, jax.Array, jax.Array, jax.Array],
    ) -> tuple[Mixture, jax.Array, jax.Array, jax.Array]:
        mixture, now, _, step = state
        member_NK, mean = likelihood(mixture)
        return _maximised(x_ND, member_NK), mean, now, step + 1

    far = jnp.asarray(-jnp.inf, x_ND.dtype)
    start = (_maximised(x_ND, member_NK), far, jnp.zeros_like(far), jnp.asarray(0))
    mixture, *_ = jax.lax.while_loop(more, advance, start)
    return mixture, likelihood(mixture)[1]


def log_joint(x_ND: jax.Array, mixture: Mixture) -> jax.Array:
    """The log-density of each example together with each component, [N, K].

    Args:
      x_ND: features.
      mixture: fitted.
    """

    def of_one(mean_D: jax.Array, factor_DD: jax.Array) -> jax.Array:
        white_DN = jax.scipy.linalg.solve_triangular(factor_DD, (x_ND - mean_D[None, :]).T, lower=True)
        return -0.5 * jnp.sum(white_DN**2, axis=0) - jnp.sum(jnp.log(jnp.diagonal(factor_DD)))

    density_KN = jax.vmap(of_one)(mixture.mean_KD, mixture.factor_KDD)
    constant = 0.5 * x_ND.shape[1] * jnp.log(2 * jnp.pi)
    return density_KN.T - constant + jnp.log(mixture.weight_K)[None, :]


def _maximised(x_ND: jax.Array, member_NK: jax.Array) -> Mixture:
    # A component that everybody has left keeps a weight whose logarithm is finite.
    count_K = jnp.sum(member_NK, axis=0) + 10 * jnp.finfo(x_ND.dtype).eps
    mean_KD = jnp.einsum("nk,nd->kd", member_NK, x_ND) / count_K[:, None]
    floor_DD = FLOOR * jnp.eye(x_ND.shape[1], dtype=x_ND.dtype)

    def factor(mean_D: jax.Array, member_N: jax.Array, count: jax.Array) -> jax.Array:
        around_ND = x_ND - mean_D[None, :]
        return jnp.linalg.cholesky(jnp.einsum("n,nd,ne->de", member_N, around_ND, around_ND) / count + floor_DD)

    factor_KDD = jax.vmap(factor, in_axes=(0, 1, 0))(mean_KD, member_NK, count_K)
    return Mixture(count_K / x_ND.shape[0], mean_KD, factor_KDD)


def _start(x_ND: jax.Array, components: int, seed: int) -> jax.Array:
    """Memberships of k-means, each of one component, [N, K]."""
    key_K = jax.random.split(jax.random.key(seed), components)
    first = jax.random.randint(key_K[0], (), 0, x_ND.shape[0])
    centre_KD = jnp.zeros((components, x_ND.shape[1]), x_ND.dtype).at[0].set(x_ND[first])

    def drawn(k: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        centre_KD, nearest_N = state
        chosen_D = x_ND[jax.random.categorical(key_K[k], jnp.log(nearest_N))]
        return centre_KD.at[k].set(chosen_D), jnp.minimum(nearest_N, _squares(x_ND, chosen_D))

    centre_KD, _ = jax.lax.fori_loop(1, components, drawn, (centre_KD, _squares(x_ND, x_ND[first])))

    def lloyd(_: jax.Array, centre_KD: jax.Array) -> jax.Array:
        member_NK = _nearest(x_ND, centre_KD)
        count_K = jnp.sum(member_NK, axis=0)
        moved_KD = jnp.einsum("nk,nd->kd", member_NK, x_ND) / jnp.maximum(count_K, 1.0)[:, None]
        return jnp.where((count_K > 0)[:, None], moved_KD, centre_KD)

    return _nearest(x_ND, jax.lax.fori_loop(0, _LLOYD, lloyd, centre_KD))


def _nearest(x_ND: jax.Array, centre_KD: jax.Array) -> jax.Array:
    distance_KN = jax.lax.map(lambda centre_D: _squares(x_ND, centre_D), centre_KD)
    return jax.nn.one_hot(jnp.argmin(distance_KN, axis=0), centre_KD.shape[0], dtype=x_ND.dtype)


def _squares(x_ND: jax.Array, centre_D: jax.Array) -> jax.Array:
    return jnp.sum((x_ND - centre_D[None, :]) ** 2, axis=1)

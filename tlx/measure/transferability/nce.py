"""NCE: how much of the target's labels the source's guesses leave open.

Shape suffixes: S sources, N examples, Z source classes, C target classes.
"""

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from tlx.measure.transferability.batched import over_sources
from tlx.measure.transferability.inputs import Numbers, one_hot_of, probabilities_of


def nce(probabilities: ArrayLike, labels: ArrayLike) -> Numbers:
    """The negative conditional entropy `-H(Y|Z)` of labels given the source's most probable class.

    Args:
      probabilities: of the source's classes, [N, Z], or [S, N, Z] of sources with as many classes, mapped at once.
      labels: integers [N].

    Returns:
      Nats, one number or [S]; at most 0, at least -log C.

    Raises:
      ValueError: the inputs do not have these shapes, or are no probabilities.

    Source: Tran, Nguyen, Hassner 2019, "Transferability and hardness of supervised classification tasks". PARC's code
      adds 1e-5 to every count, which biases it; ours adds nothing.
    """
    theta = probabilities_of(probabilities)
    return over_sources(_one, theta, one_hot_of(labels, theta.shape[-2]))


def _one(theta_NZ: jax.Array, y_NC: jax.Array) -> jax.Array:
    guess_NZ = jax.nn.one_hot(jnp.argmax(theta_NZ, axis=1), theta_NZ.shape[1], dtype=theta_NZ.dtype)
    joint_ZC = jnp.einsum("nz,nc->zc", guess_NZ, y_NC) / theta_NZ.shape[0]
    marginal_Z = jnp.sum(joint_ZC, axis=1)
    return jnp.sum(jax.scipy.special.xlogy(joint_ZC, joint_ZC)) - jnp.sum(
        jax.scipy.special.xlogy(marginal_Z, marginal_Z)
    )

"""LEEP: the log-likelihood of target labels under the source's own predictions.

Shape suffixes: S sources, N examples, Z source classes, C target classes.
"""

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from tlx.measure.transferability.batched import over_sources
from tlx.measure.transferability.inputs import Numbers, one_hot_of, probabilities_of


def leep(probabilities: ArrayLike, labels: ArrayLike) -> Numbers:
    """The mean log of `Σ_z P(y|z) θ_z`, where P(y|z) is counted from the predictions θ themselves.

    Args:
      probabilities: of the source's classes, [N, Z], or [S, N, Z] of sources with as many classes, mapped at once.
      labels: integers [N].

    Returns:
      Nats, one number or [S]; at most 0. log(1/C) where the source tells nothing and the classes are of one size.

    Raises:
      ValueError: the inputs do not have these shapes, or are no probabilities.

    Source: Nguyen et al. 2020, "LEEP: a new measure to evaluate transferability of learned representations". The ports
      in SFDA's and ETran's code leave the logarithm out.
    """
    theta = probabilities_of(probabilities)
    return over_sources(expected_log_probability, theta, one_hot_of(labels, theta.shape[-2]))


def expected_log_probability(theta_NZ: jax.Array, y_NC: jax.Array) -> jax.Array:
    """LEEP of one source.

    Args:
      theta_NZ: probabilities of source classes, or of the components of a mixture.
      y_NC: one-hot labels.
    """
    joint_ZC = jnp.einsum("nz,nc->zc", theta_NZ, y_NC)
    marginal_Z = jnp.sum(joint_ZC, axis=1)
    # A class that nobody predicts says nothing about any label.
    given_ZC = joint_ZC / jnp.where(marginal_Z > 0, marginal_Z, 1.0)[:, None]
    return jnp.mean(jnp.log(jnp.sum((theta_NZ @ given_ZC) * y_NC, axis=1)))

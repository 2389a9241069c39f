"""Sums over the examples of each class.

Shape suffixes: N examples, D features, C classes.
"""

import jax
import jax.numpy as jnp


def class_sizes(y_NC: jax.Array) -> jax.Array:
    """How many examples each class has, [C]."""
    return jnp.sum(y_NC, axis=0)


def class_means(x_ND: jax.Array, y_NC: jax.Array) -> jax.Array:
    """The mean features of each class, [C, D].

    Args:
      x_ND: features.
      y_NC: one-hot labels; every class has an example.
    """
    return jnp.einsum("nc,nd->cd", y_NC, x_ND) / class_sizes(y_NC)[:, None]


def within_scatter(x_ND: jax.Array, y_NC: jax.Array) -> jax.Array:
    """The covariance around the class means, over all N examples, [D, D].

    Args:
      x_ND: features.
      y_NC: one-hot labels.
    """
    around_ND = x_ND - y_NC @ class_means(x_ND, y_NC)
    return jnp.einsum("nd,ne->de", around_ND, around_ND) / x_ND.shape[0]


def posteriors(x_ND: jax.Array, y_NC: jax.Array, scatter_DD: jax.Array) -> jax.Array:
    """Bayes' posteriors of classes that are Gaussian around their means and share one covariance, [N, C].

    Args:
      x_ND: features.
      y_NC: one-hot labels; their shares are the priors.
      scatter_DD: the covariance, positive definite.

    Source: Fisher 1936. All directions count: those without a difference between the means cancel, so choosing
      C-1 discriminants by an eigenproblem would give the same.
    """
    mean_CD = class_means(x_ND, y_NC)
    coefficient_DC = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(scatter_DD), mean_CD.T)
    offset_C = jnp.log(jnp.mean(y_NC, axis=0)) - 0.5 * jnp.einsum("cd,dc->c", mean_CD, coefficient_DC)
    return jax.nn.softmax(x_ND @ coefficient_DC + offset_C[None, :], axis=1)

"""Principal components, with signs that do not depend on the order of the examples.

Shape suffixes: N examples, D features, K = min(N, D) components.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tlx.measure.transferability.inputs import Numbers


def centred(x_ND: jax.Array) -> jax.Array:
    """The features less their mean over the examples."""
    return x_ND - jnp.mean(x_ND, axis=0, keepdims=True)


def components(x_ND: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The examples along the principal axes.

    Args:
      x_ND: features.

    Returns:
      Scores [N, K] and singular values [K] of the centred features, largest first. Each axis points to where the
      loading that is largest by size is positive.
    """
    u_NK, s_K, v_KD = jnp.linalg.svd(centred(x_ND), full_matrices=False)
    largest_K1 = jnp.argmax(jnp.abs(v_KD), axis=1, keepdims=True)
    sign_K = jnp.sign(jnp.take_along_axis(v_KD, largest_K1, axis=1))[:, 0]
    return u_NK * (s_K * sign_K)[None, :], s_K


def kept(s_K: Numbers, energy: float) -> int:
    """How many components hold a share of the variance.

    Args:
      s_K: singular values, largest first.
      energy: the share, 0 to 1.
    """
    share_K = np.cumsum(s_K**2) / np.sum(s_K**2)
    return min(int(np.searchsorted(share_K, energy)) + 1, s_K.size)


def reduced(x_ND: jax.Array, dims: int) -> jax.Array:
    """The examples along the first axes, or as they are where there are no more than these.

    Args:
      x_ND: features.
      dims: axes.
    """
    return components(x_ND)[0][:, :dims] if dims < min(x_ND.shape) else x_ND

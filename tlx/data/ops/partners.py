"""Examples that are mixed with one another, and their labels with them."""

import jax
import jax.numpy as jnp
from einops import rearrange

from tlx.losses import of_shares

# Shape suffixes: B examples, C classes.


def partner(x: jax.Array) -> jax.Array:
    """For each example of a batch the one before it, for the first the last.

    As the order of examples is random, a neighbour is as good a partner as one that is drawn, and costs no shuffling
    between devices.
    """
    return jnp.roll(x, 1, axis=0)


def shares_of_classes(label: jax.Array, num_classes: int) -> jax.Array:
    """Labels as shares of classes.

    Args:
      label: integer classes [B], or shares [B, C] already.
      num_classes: how many classes there are.

    Returns:
      float32 [B, C], each row of sum 1.
    """
    return label if of_shares(label) else jax.nn.one_hot(label, num_classes, dtype=jnp.float32)


def mixed_labels(label_BC: jax.Array, kept_B: jax.Array) -> jax.Array:
    """Labels of examples of which a share is kept, the rest being their partner's.

    Args:
      label_BC: shares of classes.
      kept_B: share of each example that is its own.

    Returns:
      float32 [B, C].
    """
    kept_B1 = rearrange(kept_B, "b -> b 1")
    return kept_B1 * label_BC + (1.0 - kept_B1) * partner(label_BC)


def drawn_shares(key_B: jax.Array, alpha: float, probability: float) -> jax.Array:
    """How much of each example is its own: of Beta(alpha, alpha), or 1 for those that are left alone.

    Args:
      key_B: a random key for each example.
      alpha: both parameters of the distribution.
      probability: share of the examples that are mixed.

    Returns:
      float32 [B], from 0 to 1.
    """

    def draw(key: jax.Array) -> jax.Array:
        of_share, of_choice = jax.random.split(key)
        share = jax.random.beta(of_share, jnp.float32(alpha), jnp.float32(alpha))
        return jnp.where(jax.random.bernoulli(of_choice, probability), share, 1.0)

    return jax.vmap(draw)(key_B)

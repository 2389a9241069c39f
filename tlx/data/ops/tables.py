"""Changes of an image that send each level of a channel to another one, as in Pillow."""

import jax
import jax.numpy as jnp
from einops import rearrange

# Shape suffixes: H rows, W columns, C channels, L = 256 levels.


def identity(channels: int) -> jax.Array:
    """Each level to itself, int32 [C, 256]."""
    return jnp.tile(jnp.arange(256)[None], (channels, 1))


def solarised(channels: int, threshold: jax.Array | float) -> jax.Array:
    """Levels from a threshold on are inverted, int32 [C, 256]."""
    level_CL = identity(channels)
    return jnp.where(level_CL < jnp.ceil(jnp.float32(threshold)).astype(jnp.int32), level_CL, 255 - level_CL)


def posterised(channels: int, bits: int) -> jax.Array:
    """Levels of which only the first bits are kept, int32 [C, 256]."""
    return identity(channels) & (256 - 2 ** (8 - bits))


def counts(level_HWC: jax.Array) -> jax.Array:
    """How many pixels have each level.

    Args:
      level_HWC: whole numbers from 0 to 255, of any type.

    Returns:
      int32 [C, 256].
    """
    level_CN = rearrange(level_HWC.astype(jnp.int32), "h w c -> c (h w)")
    return jax.vmap(lambda level_N: jnp.bincount(level_N, length=256))(level_CN)


def stretched(count_CL: jax.Array) -> jax.Array:
    """The lowest level there is to 0, the highest to 255, int32 [C, 256].

    Args:
      count_CL: from `counts`.

    Source: Pillow's `ImageOps.autocontrast`. Ours: in whole numbers, so that a level that falls on a whole number is
      not rounded down to the one below it.
    """

    def table(count_L: jax.Array) -> jax.Array:
        level_L = jnp.arange(256)
        low = jnp.min(jnp.where(count_L > 0, level_L, 255))
        high = jnp.max(jnp.where(count_L > 0, level_L, 0))
        wide_L = jnp.clip((level_L - low) * 255 // jnp.maximum(high - low, 1), 0, 255)
        return jnp.where(high > low, wide_L, level_L)

    return jax.vmap(table)(count_CL)


def equalised(count_CL: jax.Array) -> jax.Array:
    """Levels such that about as many pixels have each, int32 [C, 256].

    Args:
      count_CL: from `counts`.

    Source: Pillow's `ImageOps.equalize`.
    """

    def table(count_L: jax.Array) -> jax.Array:
        level_L = jnp.arange(256)
        highest = jnp.max(jnp.where(count_L > 0, level_L, 0))
        step = (jnp.sum(count_L) - count_L[highest]) // 255
        below_L = jnp.cumsum(count_L) - count_L
        even_L = jnp.clip((step // 2 + below_L) // jnp.maximum(step, 1), 0, 255)
        return jnp.where(step > 0, even_L, level_L)

    return jax.vmap(table)(count_CL)


def looked_up(level_HWC: jax.Array, table_CL: jax.Array) -> jax.Array:
    """An image whose levels are replaced as a table says.

    Args:
      level_HWC: float32, whole numbers from 0 to 255.
      table_CL: the new level of each.

    Returns:
      float32 [H, W, C].
    """
    of_channel = jax.vmap(lambda table_L, level_HW: table_L[level_HW], in_axes=(0, 2), out_axes=2)
    return of_channel(table_CL, level_HWC.astype(jnp.int32)).astype(jnp.float32)

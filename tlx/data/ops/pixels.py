"""Pixels in the two forms that ops take: bytes from 0 to 255, and float32 from -1 to 1."""

import jax
import jax.numpy as jnp

# Shape suffixes: B examples, H rows, W columns, C channels.


def smooth(x: jax.Array) -> jax.Array:
    """Pixels as float32 on their own scale, to be interpolated."""
    return x.astype(jnp.float32)


def restored(x: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """What was computed of `smooth` pixels in the form they had; bytes are rounded, and overshoot is cut off.

    Args:
      x: float32 on the scale of the form.
      dtype: uint8 or float32.
    """
    if dtype == jnp.uint8:
        return jnp.clip(jnp.round(x), 0.0, 255.0).astype(jnp.uint8)
    return jnp.clip(x, -1.0, 1.0)


def levels(x: jax.Array) -> jax.Array:
    """Whole numbers from 0 to 255, as float32, of pixels in either form."""
    return x.astype(jnp.float32) if x.dtype == jnp.uint8 else jnp.clip(jnp.round(x * 127.5 + 127.5), 0.0, 255.0)


def from_levels(level: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Levels in the form the pixels had; uint8 or float32."""
    return restored(level if dtype == jnp.uint8 else (level - 127.5) / 127.5, dtype)


def shade(share: float, dtype: jnp.dtype) -> jax.Array:
    """A gray in a given form.

    Args:
      share: of white, from 0 for black to 1.
      dtype: uint8 or float32.
    """
    return jnp.asarray(round(255 * share) if dtype == jnp.uint8 else 2 * share - 1, dtype)

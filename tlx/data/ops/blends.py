"""Changes of an image that move it away from, or towards, a poorer one, as in Pillow's `ImageEnhance`."""

import jax
import jax.numpy as jnp
from einops import repeat

from tlx.data.ops.boxes import inside

# Shape suffixes: H rows, W columns, C channels. Levels are float32, whole numbers from 0 to 255.

# Red, green and blue in the brightness of a pixel, in 1/65536: Pillow's, which are those of ITU-R BT.601.
_LUMA = (19595, 38470, 7471)


def gray(level_HWC: jax.Array) -> jax.Array:
    """The image without its colours, of as many channels; one that has none as it is."""
    if level_HWC.shape[-1] != 3:
        return level_HWC
    red, green, blue = (share * level_HWC[..., c].astype(jnp.int32) for c, share in enumerate(_LUMA))
    return repeat((red + green + blue + 0x8000) >> 16, "h w -> h w c", c=3).astype(jnp.float32)


def mean_gray(level_HWC: jax.Array) -> jax.Array:
    """An image of one gray, the mean of the image's."""
    return jnp.full_like(level_HWC, jnp.floor(jnp.mean(gray(level_HWC)) + 0.5))


def smoothed(level_HWC: jax.Array) -> jax.Array:
    """The image blurred a little, except for the outermost pixels.

    Source: Pillow's `ImageFilter.SMOOTH`: the middle counts 5 of 13, its eight neighbours 1 each.
    """
    rows, columns, channels = level_HWC.shape
    padded_HWC = jnp.pad(level_HWC, [(1, 1), (1, 1), (0, 0)])
    total_HWC = 4.0 * level_HWC
    for i in range(3):
        for j in range(3):
            total_HWC += padded_HWC[i : i + rows, j : j + columns]
    # Chosen by a mask: to write the inner pixels into the image takes XLA ten times as long.
    inner_HW = inside(jnp.ones(2, jnp.int32), jnp.array([rows - 1, columns - 1]), rows, columns)
    return jnp.where(repeat(inner_HW, "h w -> h w c", c=channels), jnp.floor(total_HWC / 13.0 + 0.5), level_HWC)


def blended(poorer_HWC: jax.Array, level_HWC: jax.Array, factor: jax.Array | float) -> jax.Array:
    """The poorer image for a factor of 0, the image itself for 1, and beyond that more than it.

    Args:
      poorer_HWC: levels.
      level_HWC: levels.
      factor: from 0.

    Returns:
      Levels, rounded down as in Pillow.
    """
    return jnp.clip(jnp.floor(poorer_HWC + factor * (level_HWC - poorer_HWC)), 0.0, 255.0)

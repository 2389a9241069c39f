"""Changes of an image's geometry: rotations, shears and shifts."""

import jax
import jax.numpy as jnp
from einops import rearrange

# Shape suffixes: H rows, W columns, C channels.


def rotation(degrees: jax.Array | float, rows: int, columns: int) -> jax.Array:
    """Counter-clockwise about the middle, as the matrix that `warped` takes."""
    angle = -jnp.deg2rad(jnp.asarray(degrees, jnp.float32))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x, y = jnp.float32(columns / 2), jnp.float32(rows / 2)
    return jnp.stack([jnp.stack([cos, sin, x - cos * x - sin * y]), jnp.stack([-sin, cos, y + sin * x - cos * y])])


def warped(level_HWC: jax.Array, source_23: jax.Array, fill: jax.Array | float) -> jax.Array:
    """An image each pixel of which is looked for elsewhere, by bilinear interpolation.

    Args:
      level_HWC: float32 levels.
      source_23: where to look: x and y in the source are this matrix times (x, y, 1) in the result, in pixels from the
        upper left corner of the image.
      fill: level of what lies outside.

    Returns:
      float32 [H, W, C], rounded to whole levels.

    Source: Pillow's `Image.transform` with `BILINEAR`, which rounds down where this rounds to the nearest.
    """
    rows, columns = level_HWC.shape[:2]
    middle_W = rearrange(jnp.arange(columns, dtype=jnp.float32) + 0.5, "w -> 1 w")
    middle_H = rearrange(jnp.arange(rows, dtype=jnp.float32) + 0.5, "h -> h 1")
    x_HW, y_HW = (a * middle_W + b * middle_H + c for a, b, c in source_23)
    outside_HW = (x_HW < 0) | (x_HW >= columns) | (y_HW < 0) | (y_HW >= rows)
    left_HW, top_HW = jnp.floor(x_HW - 0.5), jnp.floor(y_HW - 0.5)
    right_share, lower_share = (rearrange(at, "h w -> h w 1") for at in (x_HW - 0.5 - left_HW, y_HW - 0.5 - top_HW))

    def at(row_HW: jax.Array, column_HW: jax.Array) -> jax.Array:
        row = jnp.clip(row_HW, 0, rows - 1).astype(jnp.int32)
        return level_HWC[row, jnp.clip(column_HW, 0, columns - 1).astype(jnp.int32)]

    def along(row_HW: jax.Array) -> jax.Array:
        return (1 - right_share) * at(row_HW, left_HW) + right_share * at(row_HW, left_HW + 1)

    found_HWC = (1 - lower_share) * along(top_HW) + lower_share * along(top_HW + 1)
    return jnp.where(rearrange(outside_HW, "h w -> h w 1"), fill, jnp.round(found_HWC))

"""Rectangles within images."""

import jax
import jax.numpy as jnp
from einops import rearrange

# Shape suffixes: H rows, W columns.


def inside(start_2: jax.Array, stop_2: jax.Array, rows: int, columns: int) -> jax.Array:
    """Which pixels a rectangle covers.

    Args:
      start_2: its first row and column.
      stop_2: one past its last row and column; what lies beyond the image is cut off.
      rows: of the image.
      columns: likewise.

    Returns:
      bool [rows, columns].
    """
    row_H, column_W = jnp.arange(rows, dtype=start_2.dtype), jnp.arange(columns, dtype=start_2.dtype)
    in_H = (row_H >= start_2[0]) & (row_H < stop_2[0])
    in_W = (column_W >= start_2[1]) & (column_W < stop_2[1])
    return rearrange(in_H, "h -> h 1") & rearrange(in_W, "w -> 1 w")

"""Learned positions of an image's patches on a grid of another size, each library in its own way.

Shape suffixes: G side of the old grid, N side of the new one, T positions, D width.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from einops import rearrange

from tlx.errors import ConfigError
from tlx.interop.layout import Resize

# From the sides of the old and the new grid to the weights of the old positions in the new ones, [N, G].
Weights = Callable[[int, int], np.ndarray]


def cubic(old: int, new: int) -> np.ndarray:
    """Cubic convolution without a filter against aliasing, as Hugging Face's `interpolate_pos_encoding`.

    Args:
      old: G.
      new: N.

    Returns:
      Weights [N, G].

    Source: Keys (1981), equation 8, with a = -0.75, corners not aligned, the border repeated: `interpolate` of PyTorch
      with mode "bicubic".
    """
    weight_NG = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * old / new - 0.5
        near = math.floor(centre)
        for j in range(near - 1, near + 3):
            weight_NG[i, min(max(j, 0), old - 1)] += _keys(centre - j, -0.75)
    return weight_NG


def cubic_antialiased(old: int, new: int) -> np.ndarray:
    """Cubic convolution whose filter widens as the grid shrinks, as timm's `resample_abs_pos_embed`.

    Args:
      old: G.
      new: N.

    Returns:
      Weights [N, G].

    Source: as for `cubic`, but with a = -0.5 and, at the border, the weights inside it made to sum to one:
      `interpolate` of PyTorch with mode "bicubic" and antialias, which follows Pillow.
    """
    weight_NG = np.zeros((new, old))
    scale = max(old / new, 1.0)
    for i in range(new):
        centre = (i + 0.5) * old / new
        first, last = max(int(centre - 2 * scale + 0.5), 0), min(int(centre + 2 * scale + 0.5), old)
        for j in range(first, last):
            weight_NG[i, j] = _keys((j - centre + 0.5) / scale, -0.5)
    return weight_NG / weight_NG.sum(axis=1, keepdims=True)


def linear(old: int, new: int) -> np.ndarray:
    """Linear with the corners aligned, as big_vision's `resample_posemb`.

    Args:
      old: G.
      new: N.

    Returns:
      Weights [N, G].

    Source: Dosovitskiy et al. (2021), section 3.2: `zoom` of `scipy.ndimage` with order 1.
    """
    weight_NG = np.zeros((new, old))
    for i in range(new):
        centre = i * (old - 1) / (new - 1) if new > 1 else 0.0
        near = min(int(centre), max(old - 2, 0))
        weight_NG[i, near] += 1.0 - (centre - near)
        if centre > near:
            weight_NG[i, near + 1] += centre - near
    return weight_NG


def resize(weights: Weights, leading: int) -> Resize:
    """How positions come to be those of another grid.

    Args:
      weights: of one axis of the grid; the other's are the same.
      leading: how many positions belong to no patch; these stay as they are.

    Returns:
      From positions [1, T, D] and a wanted shape to positions of that shape; may raise ConfigError, of the field
      `resize`, where a grid is no square.
    """
    return partial(_resized, weights, leading)


def _resized(weights: Weights, leading: int, position_1TD: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    old, new = _side(position_1TD.shape[1] - leading), _side(shape[1] - leading)
    grid_GGD = rearrange(position_1TD[0, leading:].astype(np.float64), "(h w) d -> h w d", h=old)
    weight_NG = weights(old, new)
    grid_NND = np.einsum("nh,mw,hwd->nmd", weight_NG, weight_NG, grid_GGD)
    resized_1TD = rearrange(grid_NND, "h w d -> 1 (h w) d").astype(position_1TD.dtype)
    return np.concatenate([position_1TD[:, :leading], resized_1TD], axis=1)


def _side(patches: int) -> int:
    side = math.isqrt(max(patches, 0))
    if side**2 != patches or not side:
        raise ConfigError("resize", f"positions of {patches} patches form no square; give the side of square images")
    return side


def _keys(distance: float, a: float) -> float:
    """The cubic kernel, 0 from a distance of 2 on."""
    x = abs(distance)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

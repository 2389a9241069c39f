"""Padding and a random crop: the usual augmentation of small images."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from tlx.data.ops.op import Op, setting
from tlx.data.ops.pixels import shade
from tlx.errors import ConfigError

# Shape suffixes: B examples, H rows, W columns, C channels.


@dataclass(frozen=True)
class PadCrop(Op):
    """Each image is padded on all sides and cropped to its old size at a random place.

    Draws, for each example: row and column of the crop's corner, uniform over the 2 · padding + 1 places there are.

    Source: He et al. (2015), section 4.2, who pad with zeros.
    """

    name: ClassVar[str] = "pad_crop"
    does: ClassVar[str] = "pads on all sides, then crops to the old size at a random place"
    paper: ClassVar[str] = "He et al. 2015"
    random: ClassVar[bool] = True

    padding: int = setting(4, "pixels added on each side", low=1, high=1024)
    mode: str = setting("reflect", "what they show: the image mirrored, or black", choices=("reflect", "black"))

    def image(self, x_BHWC: jax.Array, key_B: jax.Array) -> jax.Array:
        """Images of the same shape and type."""
        rows, columns, channels = x_BHWC.shape[1:]
        if self.mode == "reflect" and self.padding >= min(rows, columns):
            raise ConfigError("padding", f"expected less than the shorter side, {min(rows, columns)}, to mirror images")
        width = [(0, 0), (self.padding, self.padding), (self.padding, self.padding), (0, 0)]
        if self.mode == "reflect":
            padded_BHWC = jnp.pad(x_BHWC, width, "reflect")
        else:
            padded_BHWC = jnp.pad(x_BHWC, width, constant_values=shade(0.0, x_BHWC.dtype))

        def crop(image_HWC: jax.Array, key: jax.Array) -> jax.Array:
            top, left = jax.random.randint(key, (2,), 0, 2 * self.padding + 1)
            return jax.lax.dynamic_slice(image_HWC, (top, left, jnp.zeros_like(top)), (rows, columns, channels))

        return jax.vmap(crop)(padded_BHWC, key_B)

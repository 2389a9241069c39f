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
    does: ClassVar[str] = "pads on all sides, then crops at a random place"
    paper: ClassVar[str] = "He et al. 2015"
    random: ClassVar[bool] = True

    padding: int = setting(4, "pixels added on each side", low=0, high=1024)
    mode: str = setting("reflect", "what they show: the image mirrored, or black", choices=("reflect", "black"))
    side: int = setting(0, "side of the square cut out, in pixels; 0 for the old size", low=0, high=4096)

    def image(self, x_BHWC: jax.Array, key_B: jax.Array) -> jax.Array:
        """Images of the same type, and shape unless there is a side."""
        rows, columns, channels = x_BHWC.shape[1:]
        if self.mode == "reflect" and self.padding >= min(rows, columns):
            raise ConfigError("padding", f"expected less than the shorter side, {min(rows, columns)}, to mirror images")
        border, size = 2 * self.padding, (self.side, self.side) if self.side else (rows, columns)
        if size[0] > rows + border or size[1] > columns + border:
            raise ConfigError("side", f"expected at most the padded shorter side, {min(rows, columns) + border}")
        width = [(0, 0), (self.padding, self.padding), (self.padding, self.padding), (0, 0)]
        if self.mode == "reflect":
            padded_BHWC = jnp.pad(x_BHWC, width, "reflect")
        else:
            padded_BHWC = jnp.pad(x_BHWC, width, constant_values=shade(0.0, x_BHWC.dtype))
        room = jnp.array([rows + border - size[0], columns + border - size[1]])
        place_B2 = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, room + 1))(key_B)

        def crop(image_HWC: jax.Array, place_2: jax.Array) -> jax.Array:
            top, left = place_2
            return jax.lax.dynamic_slice(image_HWC, (top, left, jnp.zeros_like(top)), (*size, channels))

        def in_turn(image_BHWC: jax.Array, place_B2: jax.Array) -> jax.Array:
            return jax.lax.map(lambda pair: crop(*pair), (image_BHWC, place_B2))

        # On a CPU slices at places of their own take ten times as long under vmap, where they stand in a loop.
        cut: jax.Array = jax.lax.platform_dependent(padded_BHWC, place_B2, cpu=in_turn, default=jax.vmap(crop))
        return cut

"""A rectangle of every image, painted over."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from einops import rearrange

from tlx.data.ops.boxes import inside
from tlx.data.ops.op import Op, check_span, setting
from tlx.data.ops.pixels import from_levels, levels, shade

# Shape suffixes: B examples, H rows, W columns, C channels.

_FILLS = {"black": 0.0, "gray": 0.5, "white": 1.0}


@dataclass(frozen=True)
class RandomErasing(Op):
    """Some images have a rectangle painted over.

    Draws, for each example: whether it is; the rectangle's share of the area, uniform in `area`; the logarithm of its
    height by its width, uniform in the logarithms of `ratio`; its place, uniform among those inside; and, if it is
    filled with noise, each pixel's level, uniform over the 256.

    Source: Zhong et al. (2017), algorithm 1. Ours: a side too long for the image is shortened, not drawn again.
    """

    name: ClassVar[str] = "random_erasing"
    does: ClassVar[str] = "paints over a random rectangle"
    paper: ClassVar[str] = "Zhong et al. 2017"
    random: ClassVar[bool] = True

    probability: float = setting(0.5, "share of images that lose a rectangle", low=0.0, high=1.0)
    area: tuple[float, ...] = setting((0.02, 0.4), "smallest and largest share of the image")
    ratio: tuple[float, ...] = setting((0.3, 1 / 0.3), "smallest and largest height by width")
    fill: str = setting("noise", "what is painted", choices=("noise", *_FILLS))

    def check(self) -> None:
        """Refuses ends in the wrong order."""
        check_span("area", self.area, 0.0, 1.0)
        check_span("ratio", self.ratio, 0.01, 100.0)

    def image(self, x_BHWC: jax.Array, key_B: jax.Array) -> jax.Array:
        """Images of the same shape and type."""
        rows, columns, channels = x_BHWC.shape[1:]
        dtype = x_BHWC.dtype

        def erase(image_HWC: jax.Array, key: jax.Array) -> jax.Array:
            of_choice, of_box, of_fill = jax.random.split(key, 3)
            erased_HW = self._box(of_box, rows, columns) & jax.random.bernoulli(of_choice, self.probability)
            if self.fill == "noise":
                level_HWC = jax.random.bits(of_fill, (rows, columns, channels), jnp.uint8)
                paint_HWC = from_levels(levels(level_HWC), dtype)
            else:
                paint_HWC = jnp.full(image_HWC.shape, shade(_FILLS[self.fill], dtype))
            return jnp.where(rearrange(erased_HW, "h w -> h w 1"), paint_HWC, image_HWC)

        return jax.vmap(erase)(x_BHWC, key_B)

    def _box(self, key: jax.Array, rows: int, columns: int) -> jax.Array:
        of_area, of_ratio, of_place = jax.random.split(key, 3)
        area = rows * columns * jax.random.uniform(of_area, minval=self.area[0], maxval=self.area[1])
        narrow, wide = jnp.log(jnp.array(self.ratio, jnp.float32))
        ratio = jnp.exp(jax.random.uniform(of_ratio, minval=narrow, maxval=wide))
        image_2 = jnp.array([rows, columns], jnp.float32)
        size_2 = jnp.minimum(jnp.round(jnp.sqrt(jnp.stack([area * ratio, area / ratio]))), image_2)
        start_2 = jnp.floor(jax.random.uniform(of_place, (2,)) * (image_2 - size_2 + 1))
        return inside(start_2, start_2 + size_2, rows, columns)

"""A random part of every image, brought to one size: the usual augmentation of large images."""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from tlx.data.ops.op import Op, check_span, setting
from tlx.data.ops.pixels import restored, smooth

# Shape suffixes: B examples, H rows, W columns, C channels, K tries.

_TRIES = 10
_METHODS = ("bilinear", "bicubic", "lanczos3")


@dataclass(frozen=True)
class RandomResizedCrop(Op):
    """Each image becomes a random part of it, resized.

    Draws, for each example, ten times: the part's share of the area, uniform in `scale`; the logarithm of its width
    by its height, uniform in the logarithms of `ratio`; and its place, uniform among those inside the image. The first
    part that fits is taken; if none does, the largest in the middle whose ratio is allowed.

    Source: Szegedy et al. (2014), section 6. Ours: sides and places are not rounded to whole pixels, and at the
    borders of a part smoothing sees the pixels beyond.
    """

    name: ClassVar[str] = "random_resized_crop"
    does: ClassVar[str] = "cuts out a random part and resizes it"
    paper: ClassVar[str] = "Szegedy et al. 2014"
    random: ClassVar[bool] = True

    side: int = setting(0, "side of the result in pixels; 0 for the size of the images", low=0, high=4096)
    scale: tuple[float, ...] = setting((0.08, 1.0), "smallest and largest share of the area")
    ratio: tuple[float, ...] = setting((0.75, 4 / 3), "smallest and largest width by height")
    method: str = setting("bilinear", "interpolation", choices=_METHODS)

    def check(self) -> None:
        """Refuses ends in the wrong order."""
        check_span("scale", self.scale, 1e-4, 1.0)
        check_span("ratio", self.ratio, 0.01, 100.0)

    def image(self, x_BHWC: jax.Array, key_B: jax.Array) -> jax.Array:
        """Images of the same type."""
        rows, columns, channels = x_BHWC.shape[1:]
        out_HW = (self.side or rows, self.side or columns)
        method = "cubic" if self.method == "bicubic" else self.method

        def crop(image_HWC: jax.Array, key: jax.Array) -> jax.Array:
            corner_2, size_2 = self._part(key, rows, columns)
            zoom_2 = jnp.array(out_HW, jnp.float32) / size_2
            # Where a pixel goes: its place times the zoom, less where the corner goes.
            return jax.image.scale_and_translate(
                image_HWC, (*out_HW, channels), (0, 1), zoom_2, -corner_2 * zoom_2, method, antialias=True
            )

        return restored(jax.vmap(crop)(smooth(x_BHWC), key_B), x_BHWC.dtype)

    def _part(self, key: jax.Array, rows: int, columns: int) -> tuple[jax.Array, jax.Array]:
        """Corner and size of a part, each as (rows, columns)."""
        of_area, of_ratio, of_place = jax.random.split(key, 3)
        low, high = self.scale
        narrow, wide = self.ratio
        area_K = rows * columns * jax.random.uniform(of_area, (_TRIES,), minval=low, maxval=high)
        log_ratio_K = jax.random.uniform(of_ratio, (_TRIES,), minval=math.log(narrow), maxval=math.log(wide))
        ratio_K = jnp.exp(log_ratio_K)
        size_K2 = jnp.stack([jnp.sqrt(area_K / ratio_K), jnp.sqrt(area_K * ratio_K)], axis=1)
        image_2 = jnp.array([rows, columns], jnp.float32)
        fits_K = jnp.all(size_K2 <= image_2[None], axis=1)
        first = jnp.argmax(fits_K)
        size_2, corner_2 = size_K2[first], jax.random.uniform(of_place, (_TRIES, 2))[first] * (image_2 - size_K2[first])
        ratio = min(max(columns / rows, narrow), wide)
        largest_2 = jnp.array([min(rows, columns / ratio), min(columns, rows * ratio)], jnp.float32)
        fits = jnp.any(fits_K)
        return jnp.where(fits, corner_2, (image_2 - largest_2) / 2), jnp.where(fits, size_2, largest_2)

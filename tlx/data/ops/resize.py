"""Another size, the same for every image."""

from dataclasses import dataclass
from typing import ClassVar

import jax

from tlx.data.ops.op import Op, setting
from tlx.data.ops.pixels import restored, smooth

# Shape suffixes: B examples, H rows, W columns, C channels.

METHODS = ("bilinear", "bicubic", "lanczos3", "nearest")


@dataclass(frozen=True)
class Resize(Op):
    """Images of another size, smoothed first where they shrink.

    Source: `jax.image.resize`; samples lie at the centres of pixels, as in Pillow.
    """

    name: ClassVar[str] = "resize"
    does: ClassVar[str] = "resizes to a square, or by the shorter side"

    side: int = setting(224, "side in pixels", low=1, high=4096)
    keep_ratio: bool = setting(False, "whether only the shorter side gets this length, the other in proportion")
    method: str = setting("bilinear", "interpolation", choices=METHODS)

    def image(self, x_BHWC: jax.Array, key_B: jax.Array) -> jax.Array:
        """Images of the same type."""
        size, rows, columns, channels = x_BHWC.shape
        shorter = min(rows, columns)
        high, wide = (
            (round(self.side * length / shorter) if self.keep_ratio else self.side) for length in (rows, columns)
        )
        if (high, wide) == (rows, columns):
            return x_BHWC
        out_BHWC = jax.image.resize(smooth(x_BHWC), (size, high, wide, channels), _jax_name(self.method))
        return restored(out_BHWC, x_BHWC.dtype)


def _jax_name(method: str) -> str:
    return "cubic" if method == "bicubic" else method

"""Gray from colour, and three channels from one."""

from dataclasses import dataclass
from typing import ClassVar

import jax
from einops import repeat

from tlx.data.ops.op import Op, setting
from tlx.data.ops.pixels import restored, smooth
from tlx.errors import ConfigError

# Shape suffixes: B examples, H rows, W columns, C channels.

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow


@dataclass(frozen=True)
class Channels(Op):
    """Images of another number of channels: gray is repeated, of colours the brightness is taken.

    Source: ITU-R BT.601 for the brightness of red, green and blue.
    """

    name: ClassVar[str] = "channels"
    does: ClassVar[str] = "makes gray of colour, or three equal channels of gray"
    paper: ClassVar[str] = "ITU-R BT.601"

    channels: int = setting(3, "of the result: 1 or 3", low=1, high=3)

    def check(self) -> None:
        """Refuses two channels."""
        if self.channels == 2:
            raise ConfigError("channels", "expected 1 or 3, got 2")

    def image(self, x_BHWC: jax.Array, key_B: jax.Array) -> jax.Array:
        """Images of the same size and type."""
        given = x_BHWC.shape[-1]
        if given == self.channels:
            return x_BHWC
        if {given, self.channels} != {1, 3}:
            raise ConfigError("channels", f"expected images of 1 or 3 channels, got {given}")
        if given == 1:
            return repeat(x_BHWC, "b h w 1 -> b h w c", c=3)
        red, green, blue = (share * smooth(x_BHWC[..., c]) for c, share in enumerate(LUMA))
        return restored(repeat(red + green + blue, "b h w -> b h w 1"), x_BHWC.dtype)

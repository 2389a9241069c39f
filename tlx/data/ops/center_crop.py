"""The middle of every image."""

from dataclasses import dataclass
from typing import ClassVar

import jax

from tlx.data.ops.op import Op, setting
from tlx.errors import ConfigError

# Shape suffixes: B examples, H rows, W columns, C channels.


@dataclass(frozen=True)
class CenterCrop(Op):
    """A square from the middle; where the margins cannot be equal, that at the end is one pixel wider."""

    name: ClassVar[str] = "center_crop"
    does: ClassVar[str] = "cuts a square from the middle"

    side: int = setting(224, "side in pixels", low=1, high=4096)

    def image(self, x_BHWC: jax.Array, key_B: jax.Array) -> jax.Array:
        """Images of the same type."""
        rows, columns = x_BHWC.shape[1:3]
        if self.side > min(rows, columns):
            raise ConfigError("side", f"expected at most the shorter side of the images, {min(rows, columns)}")
        top, left = (rows - self.side) // 2, (columns - self.side) // 2
        return x_BHWC[:, top : top + self.side, left : left + self.side]

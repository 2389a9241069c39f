"""Noise on every pixel."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from tlx.data.ops.op import Op, setting
from tlx.data.ops.pixels import restored, smooth

# Shape suffixes: B examples, H rows, W columns, C channels.


@dataclass(frozen=True)
class Noise(Op):
    """Each pixel gets a normal number added, and stays in range.

    Draws, for each example: a normal number for each pixel and channel.
    """

    name: ClassVar[str] = "noise"
    does: ClassVar[str] = "adds normal noise to every pixel"
    random: ClassVar[bool] = True

    std: float = setting(0.1, "standard deviation, as a share of the range from black to white", low=0.0, high=10.0)

    def image(self, x_BHWC: jax.Array, key_B: jax.Array) -> jax.Array:
        """Images of the same shape and type."""
        shape = x_BHWC.shape[1:]
        noise_BHWC = jax.vmap(lambda key: jax.random.normal(key, shape))(key_B)
        whole = 255.0 if x_BHWC.dtype == jnp.uint8 else 2.0
        return restored(smooth(x_BHWC) + whole * self.std * noise_BHWC, x_BHWC.dtype)

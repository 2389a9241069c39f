"""Mirror images."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from einops import rearrange

from tlx.data.ops.op import Op, setting

# Shape suffixes: B examples, H rows, W columns, C channels.


@dataclass(frozen=True)
class Flip(Op):
    """Some images have left and right exchanged.

    Draws, for each example: whether it is flipped.

    Source: Krizhevsky et al. (2012), section 4.1. Not for images of writing.
    """

    name: ClassVar[str] = "flip"
    does: ClassVar[str] = "exchanges left and right"
    paper: ClassVar[str] = "Krizhevsky et al. 2012"
    random: ClassVar[bool] = True

    probability: float = setting(0.5, "share of images that are flipped", low=0.0, high=1.0)

    def image(self, x_BHWC: jax.Array, key_B: jax.Array) -> jax.Array:
        """Images of the same shape and type."""
        flipped_B = jax.vmap(lambda key: jax.random.bernoulli(key, self.probability))(key_B)
        return jnp.where(rearrange(flipped_B, "b -> b 1 1 1"), x_BHWC[:, :, ::-1], x_BHWC)

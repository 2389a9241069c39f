"""A rectangle of one image in another, and their labels by area."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from einops import rearrange

from tlx.data.ops.boxes import inside
from tlx.data.ops.op import Op, setting
from tlx.data.ops.partners import drawn_shares, mixed_labels, partner

# Shape suffixes: B examples, H rows, W columns, C channels (or classes).


@dataclass(frozen=True)
class Cutmix(Op):
    """A rectangle of each image is replaced by what the image before it in the batch has there.

    Draws, for each example: its own share λ, of Beta(alpha, alpha); whether it is mixed at all; the middle of the
    rectangle, uniform over the image. The rectangle's sides are √(1 - λ) of the image's, and what hangs over the edge
    is lost; labels count by the pixels that are really replaced.

    Source: Yun et al. (2019), section 3.2 and algorithm A1. Ours: a rectangle for each example, where their code draws
    one for the batch, and the neighbour as partner.
    """

    name: ClassVar[str] = "cutmix"
    does: ClassVar[str] = "puts a rectangle of another image into each, and mixes labels by area"
    paper: ClassVar[str] = "Yun et al. 2019"
    random: ClassVar[bool] = True
    mixes: ClassVar[bool] = True

    alpha: float = setting(1.0, "of the Beta distribution of shares; 1 for uniform ones", low=0.01, high=100.0)
    probability: float = setting(1.0, "share of the examples that are mixed", low=0.0, high=1.0)

    def apply(self, batch: dict[str, Any], key_B: jax.Array) -> dict[str, Any]:
        """Images of the same type, and labels that are shares of classes."""
        x_BHWC = batch["input"]
        rows, columns = x_BHWC.shape[1:3]
        pair_B2 = jax.vmap(jax.random.split)(key_B)
        share_B = drawn_shares(pair_B2[:, 0], self.alpha, self.probability)

        def box(share: jax.Array, key: jax.Array) -> jax.Array:
            image_2 = jnp.array([rows, columns], jnp.float32)
            half_2 = jnp.floor(image_2 * jnp.sqrt(1.0 - share)) / 2
            middle_2 = jnp.floor(jax.random.uniform(key, (2,)) * image_2)
            return inside(jnp.ceil(middle_2 - half_2), jnp.ceil(middle_2 + half_2), rows, columns)

        other_BHW = jax.vmap(box)(share_B, pair_B2[:, 1])
        kept_B = 1.0 - jnp.mean(other_BHW.astype(jnp.float32), axis=(1, 2))
        label_BC = mixed_labels(batch["label"], kept_B)
        mixed_BHWC = jnp.where(rearrange(other_BHW, "b h w -> b h w 1"), partner(x_BHWC), x_BHWC)
        return batch | {"input": mixed_BHWC, "label": label_BC}

"""Averages of two images, and of their labels."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
from einops import rearrange

from tlx.data.ops.op import Op, setting
from tlx.data.ops.partners import drawn_shares, mixed_labels, partner
from tlx.data.preprocess import normalised

# Shape suffixes: B examples, H rows, W columns, C channels (or classes).


@dataclass(frozen=True)
class Mixup(Op):
    """Each image is averaged with the one before it in the batch, and so are their labels.

    Draws, for each example: its own share, of Beta(alpha, alpha); whether it is mixed at all.

    Source: Zhang et al. (2017), section 2. Ours: a share for each example, where their code draws one for the batch,
    and the neighbour as partner.
    """

    name: ClassVar[str] = "mixup"
    does: ClassVar[str] = "averages each image and its label with another's"
    paper: ClassVar[str] = "Zhang et al. 2017"
    random: ClassVar[bool] = True
    mixes: ClassVar[bool] = True

    alpha: float = setting(0.2, "of the Beta distribution of shares; large for equal shares", low=0.01, high=100.0)
    probability: float = setting(1.0, "share of the examples that are mixed", low=0.0, high=1.0)

    def apply(self, batch: dict[str, Any], key_B: jax.Array) -> dict[str, Any]:
        """float32 images in [-1, 1], as averages need more than bytes, and labels that are shares of classes."""
        kept_B = drawn_shares(key_B, self.alpha, self.probability)
        label_BC = mixed_labels(batch["label"], kept_B)
        x_BHWC, kept_B111 = normalised(batch["input"]), rearrange(kept_B, "b -> b 1 1 1")
        return batch | {"input": kept_B111 * x_BHWC + (1.0 - kept_B111) * partner(x_BHWC), "label": label_BC}

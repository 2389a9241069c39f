"""The next token as the label of each."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from tlx.data.ops.op import Op, setting
from tlx.losses import UNSCORED
from tlx.models.inputs import TOKENS

# Shape suffixes: B sequences, T tokens.


@dataclass(frozen=True)
class NextToken(Op):
    """Each token's label is the token after it; the last has none, nor has one before padding.

    Where a batch has `segment` [B, T], 0 for padding, as packed rows do, the last token of a segment has none either.

    Source: Bengio et al. (2003), equation 1, for the probability of a text as a product over its tokens.
    """

    name: ClassVar[str] = "next_token"
    does: ClassVar[str] = "makes the next token the label of each"
    paper: ClassVar[str] = "Bengio et al. 2003"
    takes: ClassVar[str] = TOKENS
    labels: ClassVar[bool] = True

    pad: int = setting(-1, "id of padding, which is never a label; -1 if there is none", low=0, unset=-1)

    def apply(self, batch: dict[str, Any], key_B: jax.Array) -> dict[str, Any]:
        """Labels int32 [B, T]; no label is `UNSCORED`."""
        id_BT = batch["input"]
        next_BT = id_BT[:, 1:]
        scored_BT = next_BT != self.pad
        if "segment" in batch:
            segment_BT = batch["segment"]
            scored_BT &= (segment_BT[:, 1:] == segment_BT[:, :-1]) & (segment_BT[:, 1:] != 0)
        label_BT = jnp.where(scored_BT, next_BT, UNSCORED)
        return batch | {"label": jnp.pad(label_BT, [(0, 0), (0, 1)], constant_values=UNSCORED)}

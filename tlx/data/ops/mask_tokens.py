"""Words hidden from a model that is to guess them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from tlx.data.ops.op import Op, setting
from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.losses import UNSCORED
from tlx.models.inputs import TOKENS

# Shape suffixes: B sequences, T tokens, S special ids.

_ID = Field(0, "a token id", low=0)


@dataclass(frozen=True)
class MaskTokens(Op):
    """Some tokens are chosen and hidden; their ids are the labels, and the other tokens have none.

    Of the chosen ones most become the mask, some any id, uniform over the vocabulary, and the rest stay as they are.

    Draws, for each token: whether it is chosen, what becomes of it, and an id. Sequences in which no token is chosen
    have no label.

    Source: Devlin et al. (2018), section 3.1 and appendix A.1. Ours: each token is chosen by itself, where they
    choose 15 % of each sequence.
    """

    name: ClassVar[str] = "mask_tokens"
    does: ClassVar[str] = "hides tokens; their ids become the labels"
    paper: ClassVar[str] = "Devlin et al. 2018"
    takes: ClassVar[str] = TOKENS
    random: ClassVar[bool] = True
    labels: ClassVar[bool] = True

    mask: int = setting(-1, "id of the mask, which the tokenizer knows; must be given", low=0, unset=-1)
    vocab: int = setting(-1, "ids are below this number; must be given", low=2, unset=-1)
    special: tuple[int, ...] = setting((), "ids never chosen: padding, beginning and end", each=_ID, may_be_empty=True)
    probability: float = setting(0.15, "share of the other tokens that are chosen", low=0.0, high=1.0)
    masked: float = setting(0.8, "share of the chosen that become the mask", low=0.0, high=1.0)
    replaced: float = setting(0.1, "share of the chosen that become any id", low=0.0, high=1.0)

    def check(self) -> None:
        """Refuses what is missing, ids beyond the vocabulary, and shares of more than all."""
        if self.vocab == -1:
            raise ConfigError("vocab", "expected the size of the tokenizer's vocabulary, an integer ≥ 2")
        if not 0 <= self.mask < self.vocab:
            raise ConfigError("mask", f"expected an id below {self.vocab}, got {self.mask}")
        for i, special in enumerate(self.special):
            if special >= self.vocab:
                raise ConfigError(f"special[{i}]", f"expected an id below {self.vocab}, got {special}")
        if self.masked + self.replaced > 1 + 1e-9:
            raise ConfigError("replaced", f"expected at most {1 - self.masked:g}, what is not masked")

    def apply(self, batch: dict[str, Any], key_B: jax.Array) -> dict[str, Any]:
        """Ids and labels, int32 [B, T]; no label is `UNSCORED`."""

        def hide(id_T: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            of_choice, of_fate, of_id = jax.random.split(key, 3)
            special_T = jnp.isin(id_T, jnp.array((self.mask, *self.special), jnp.int32))
            chosen_T = jax.random.bernoulli(of_choice, self.probability, id_T.shape) & ~special_T
            fate_T = jax.random.uniform(of_fate, id_T.shape)
            any_T = jax.random.randint(of_id, id_T.shape, 0, self.vocab)
            new_T = jnp.where(fate_T < self.masked + self.replaced, any_T, id_T)
            new_T = jnp.where(fate_T < self.masked, self.mask, new_T)
            return jnp.where(chosen_T, new_T, id_T), jnp.where(chosen_T, id_T, UNSCORED)

        id_BT, label_BT = jax.vmap(hide)(batch["input"], key_B)
        return batch | {"input": id_BT, "label": label_BT}

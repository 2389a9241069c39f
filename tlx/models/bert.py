"""BERT encoder with a classifier on its first token (Devlin et al., 2018), post-norm.

Shape suffixes: B sequences, T tokens, D width, L labels.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.models import stack, transformer
from tlx.models.inputs import TOKENS, check_input
from tlx.models.transformer import Attention, Mlp

FIELDS = {
    "vocab": Field(30522, "number of token ids", low=1, high=10**6),
    "positions": Field(512, "longest sequence, in tokens", low=1, high=10**5),
    "types": Field(2, "number of segment types; a single sentence has type 0", low=1, high=64),
    "width": Field(768, "width of the residual stream", low=1, high=8192),
    "depth": Field(12, "number of transformer blocks", low=1, high=128),
    "heads": Field(12, "attention heads; must divide the width", low=1, high=128),
    "hidden": Field(3072, "hidden width of the MLP", low=1, high=65536),
    "epsilon": Field(1e-12, "added to the variance by every norm", low=0.0, high=1e-3),
    "dropout": Field(0.1, "dropout rate in training", low=0.0, high=0.9),
    "pad": Field(0, "token id that fills up short sequences; no token attends to it", low=0, high=10**6),
    **stack.FIELDS,
}

INIT = nn.initializers.normal(0.02)

# What flows between the stages: "hidden" [B, T, D] and "mask" [B, T], 1.0 where a token may be attended to.
Flow = dict[str, jax.Array]


def check(settings: dict[str, Any], input_shape: tuple[int, ...]) -> None:
    """Settings that do not fit one another or the sequences.

    Args:
      settings: a value for each field.
      input_shape: [length] of a sequence, in tokens.

    Raises:
      ConfigError: with the field's own name, to be prefixed by the caller.
    """
    check_input("bert", TOKENS, input_shape)
    transformer.check_heads(settings)
    if settings["pad"] >= settings["vocab"]:
        raise ConfigError("pad", f"expected a token id below {settings['vocab']}, got {settings['pad']}")
    _check_length(settings["positions"], input_shape[0])


def targets(settings: dict[str, Any]) -> dict[str, str]:
    """Roles that modules play: patterns over module paths."""
    return {**transformer.TARGETS, "tokens": "embed/word", "positions": "embed/position"}


def _check_length(positions: int, length: int) -> None:
    if length > positions:
        raise ConfigError("positions", f"{positions} positions do not reach the end of sequences of {length} tokens")


def _norm(epsilon: float, name: str) -> nn.LayerNorm:
    # The fast variance, E[x²] - E[x]², is off by more than an epsilon as small as this one.
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, name=name)


class Embed(nn.Module):
    """Looks up tokens, segment types and positions, and normalises their sum."""

    vocab: int
    positions: int
    types: int
    width: int
    epsilon: float
    dropout: float
    pad: int

    @nn.compact
    def __call__(self, id_BT: jax.Array, train: bool = False) -> Flow:
        """Token ids [sequences, tokens] to what flows.

        Raises:
          ConfigError: there are more tokens than positions.
        """
        x_BTD = nn.Embed(self.vocab, self.width, embedding_init=INIT, name="word")(id_BT)
        # An interceptor may have put prompts among the words: what counts is their number, not the ids'.
        length = x_BTD.shape[1]
        _check_length(self.positions, length)
        position_1T = rearrange(jnp.arange(length), "t -> 1 t")
        type_1TD = nn.Embed(self.types, self.width, embedding_init=INIT, name="type")(jnp.zeros_like(position_1T))
        position_1TD = nn.Embed(self.positions, self.width, embedding_init=INIT, name="position")(position_1T)
        x_BTD = _norm(self.epsilon, "norm")(x_BTD + type_1TD + position_1TD)
        x_BTD = nn.Dropout(self.dropout, name="dropout")(x_BTD, deterministic=not train)
        return {"hidden": x_BTD, "mask": (id_BT != self.pad).astype(x_BTD.dtype)}


class Block(nn.Module):
    """Post-norm transformer block."""

    heads: int
    hidden: int
    epsilon: float
    dropout: float

    @nn.compact
    def __call__(self, flow: Flow, train: bool = False) -> Flow:
        """What flows, with new hidden states."""
        x_BTD, mask_BT = flow["hidden"], flow["mask"]
        attention = Attention(self.heads, self.dropout, INIT, name="attention")
        x_BTD = _norm(self.epsilon, "norm1")(x_BTD + attention(x_BTD, mask_BT, train=train))
        mlp = Mlp(self.hidden, gelu_exact=True, dropout=self.dropout, kernel_init=INIT, name="mlp")
        x_BTD = _norm(self.epsilon, "norm2")(x_BTD + mlp(x_BTD, train=train))
        return {"hidden": x_BTD, "mask": mask_BT}


class Pool(nn.Module):
    """A dense layer and tanh on the first token: the features a head sees."""

    dropout: float

    @nn.compact
    def __call__(self, flow: Flow, train: bool = False) -> jax.Array:
        """What flows to [sequences, width]."""
        first_BD = flow["hidden"][:, 0]
        y_BD = jnp.tanh(nn.Dense(first_BD.shape[-1], kernel_init=INIT, name="dense")(first_BD))
        return nn.Dropout(self.dropout, name="dropout")(y_BD, deterministic=not train)


class Bert(nn.Module):
    """The stages, in order; any run of them can be applied alone.

    Args:
      num_classes: outputs of the head.
      The rest: see `FIELDS`.

    Source: Devlin et al. (2018), section 3; the arithmetic is that of Hugging Face's `BertForSequenceClassification`
      with one segment: LayerNorm after each residual sum, the exact GELU, dropout on the embeddings, the attention
      weights, each sublayer's output and the pooled features.
    """

    num_classes: int
    vocab: int = 30522
    positions: int = 512
    types: int = 2
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    epsilon: float = 1e-12
    dropout: float = 0.1
    pad: int = 0
    remat: bool = False
    scan: bool = False

    def setup(self) -> None:
        """Declares the submodules; their names are the stages' names."""
        self.embed = Embed(self.vocab, self.positions, self.types, self.width, self.epsilon, self.dropout, self.pad)
        if self.scan:
            self.blocks = Block(self.heads, self.hidden, self.epsilon, self.dropout)
        else:
            self.block = [Block(self.heads, self.hidden, self.epsilon, self.dropout) for _ in range(self.depth)]
        self.pool = Pool(self.dropout)
        self.head = nn.Dense(self.num_classes, kernel_init=INIT)

    def stages(self) -> tuple[str, ...]:
        """Names of the stages, input first; a stage's parameters lie under its name."""
        return ("embed", *stack.names(self.depth, self.scan), "pool", "head")

    def __call__(self, x: Any, first: int = 0, last: int | None = None, train: bool = False) -> Any:
        """Applies stages `first` to `last`: all of them take ids [B, T] to logits [B, L].

        Args:
          x: output of stage `first - 1`, or int32 token ids [B, T].
          first: index of the first stage to apply.
          last: index after the last one, or None for all.
          train: whether this is a training step; dropout then draws from the collection `dropout`.

        Returns:
          Output of stage `last - 1`: a dict of "hidden" [B, T, D] and "mask" [B, T] up to the last block, features
          [B, D] after `pool`.
        """
        if self.scan:
            blocks = [stack.scanned(self.blocks, self.depth, train, self.remat)]
        else:
            blocks = stack.unrolled(self.block, train, self.remat)
        run: list[stack.Stage] = [partial(self.embed, train=train), *blocks, partial(self.pool, train=train), self.head]
        for stage in run[first:last]:
            x = stage(x)
        return x

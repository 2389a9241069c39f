"""BERT and RoBERTa encoders (Devlin et al., 2018; Liu et al., 2019), post-norm, with a pooling and a head.

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
from tlx.models import bert_heads, stack, transformer
from tlx.models.bert_heads import INIT, OF_TOKENS, DeepHead, MaskedLm, Pool, layer_norm
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
    "gelu": Field("exact", "the GELU by the error function, or by its approximation", choices=("exact", "tanh")),
    "epsilon": Field(1e-12, "added to the variance by every norm", low=0.0, high=1e-3),
    "dropout": Field(0.1, "dropout rate in training", low=0.0, high=0.9),
    "attention_dropout": Field(
        -1.0, "dropout rate on the attention weights; -1 for that of the rest", low=0.0, high=0.9, unset=-1.0
    ),
    "pad": Field(0, "token id that fills up short sequences; no token attends to it", low=0, high=10**6),
    "after_pad": Field(
        False,
        "whether positions count the tokens that are no padding, from the padding's id + 1 on, as in RoBERTa; "
        "the table of positions has as many rows more",
    ),
    **bert_heads.FIELDS,
    **stack.FIELDS,
}

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
    bert_heads.check(settings)
    if settings["pad"] >= settings["vocab"]:
        raise ConfigError("pad", f"expected a token id below {settings['vocab']}, got {settings['pad']}")
    _check_length(settings["positions"], input_shape[0])


def targets(settings: dict[str, Any]) -> dict[str, str]:
    """Roles that modules play: patterns over module paths."""
    return {**transformer.TARGETS, "tokens": "embed/word", "positions": "embed/position"}


def shared(settings: dict[str, Any]) -> tuple[str, ...]:
    """Patterns over leaves that the head reads although they lie under an earlier stage."""
    return ("params/embed/word/embedding",) if settings["head"] == "mlm" else ()


def module(num_classes: int, *, pool: str, head: str, **settings: Any) -> "Bert":
    """The module with these settings, a value for each field."""
    return Bert(num_classes, pooling=pool, reads=head, **settings)


def _check_length(positions: int, length: int) -> None:
    if length > positions:
        raise ConfigError("positions", f"{positions} positions do not reach the end of sequences of {length} tokens")


class Embed(nn.Module):
    """Looks up tokens, segment types and positions, and normalises their sum.

    Args:
      rate: of the dropout.
      The rest: see `FIELDS`.
    """

    vocab: int
    positions: int
    types: int
    width: int
    epsilon: float
    rate: float
    pad: int
    after_pad: bool = False

    def setup(self) -> None:
        """Declares the tables; the head may read that of the words."""
        self.word = nn.Embed(self.vocab, self.width, embedding_init=INIT)
        self.type = nn.Embed(self.types, self.width, embedding_init=INIT)
        self.position = nn.Embed(self.positions + self._start, self.width, embedding_init=INIT)
        self.norm = layer_norm(self.epsilon)
        self.dropout = nn.Dropout(self.rate)

    @property
    def _start(self) -> int:
        """The position of the first token."""
        return self.pad + 1 if self.after_pad else 0

    def __call__(self, id_BT: jax.Array, train: bool = False) -> Flow:
        """Token ids [sequences, tokens] to what flows.

        Raises:
          ConfigError: there are more tokens than positions.
        """
        x_BTD = self.word(id_BT)
        # An interceptor may have put prompts among the words: what counts is their number, not the ids'.
        length = x_BTD.shape[1]
        _check_length(self.positions, length)
        type_1TD = self.type(jnp.zeros((1, length), jnp.int32))
        x_BTD = self.norm(x_BTD + type_1TD + self.position(self._position(id_BT, length)))
        x_BTD = self.dropout(x_BTD, deterministic=not train)
        return {"hidden": x_BTD, "mask": (id_BT != self.pad).astype(x_BTD.dtype)}

    def _position(self, id_BT: jax.Array, length: int) -> jax.Array:
        """The tokens' positions, [1, T] or [B, T]."""
        if self.after_pad and length == id_BT.shape[1]:
            is_word_BT = (id_BT != self.pad).astype(jnp.int32)
            return jnp.cumsum(is_word_BT, axis=1) * is_word_BT + self.pad
        # Where prompts stand is unknown here, so all tokens are counted, as Hugging Face does with embedded inputs.
        return rearrange(jnp.arange(length), "t -> 1 t") + self._start


class Block(nn.Module):
    """Post-norm transformer block."""

    heads: int
    hidden: int
    epsilon: float
    dropout: float
    weight_dropout: float | None = None
    gelu_exact: bool = True

    @nn.compact
    def __call__(self, flow: Flow, train: bool = False, queries: int | None = None) -> Flow:
        """What flows, with new hidden states.

        Args:
          flow: hidden states and mask.
          train: whether this is a training step.
          queries: how many tokens to compute, the first ones; None for all.
        """
        x_BTD, mask_BT = flow["hidden"], flow["mask"]
        asking, rate = queries or 0, self.weight_dropout
        attention = Attention(self.heads, self.dropout, INIT, queries=asking, weight_dropout=rate, name="attention")
        y_BTD = attention(x_BTD, mask_BT, train=train)
        if queries is not None:
            x_BTD, mask_BT = x_BTD[:, :queries], mask_BT[:, :queries]
        x_BTD = layer_norm(self.epsilon, "norm1")(x_BTD + y_BTD)
        mlp = Mlp(self.hidden, gelu_exact=self.gelu_exact, dropout=self.dropout, kernel_init=INIT, name="mlp")
        x_BTD = layer_norm(self.epsilon, "norm2")(x_BTD + mlp(x_BTD, train=train))
        return {"hidden": x_BTD, "mask": mask_BT}


class Bert(nn.Module):
    """The stages, in order; any run of them can be applied alone.

    Args:
      num_classes: outputs of the head; those of a masked language model are as many as there are token ids.
      pooling: the field `pool`, whose name is that of a stage.
      reads: the field `head`, likewise.
      The rest: see `FIELDS`.

    Source: Devlin et al. (2018), section 3; Liu et al. (2019) where positions come after the padding's. The arithmetic
      is that of Hugging Face's `BertForSequenceClassification` with one segment: LayerNorm after each residual sum,
      the exact GELU, dropout on the embeddings, the attention weights, each sublayer's output and the pooled features.
    """

    num_classes: int
    vocab: int = 30522
    positions: int = 512
    types: int = 2
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    gelu: str = "exact"
    epsilon: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = -1.0
    pad: int = 0
    after_pad: bool = False
    pooling: str = "first"
    normalise: bool = False
    reads: str = "classify"
    head_dropout: float = -1.0
    remat: bool = False
    scan: bool = False

    def setup(self) -> None:
        """Declares the submodules; their names are the stages' names.

        Raises:
          ConfigError: a masked language model is to have other outputs than token ids.
        """
        self.embed = Embed(
            self.vocab,
            self.positions,
            self.types,
            self.width,
            self.epsilon,
            self.dropout,
            self.pad,
            self.after_pad,
        )
        if self.scan:
            self.blocks = self._block()
        else:
            self.block = [self._block() for _ in range(self.depth)]
        of_head = self.dropout if self.head_dropout < 0 else self.head_dropout
        of_tokens = self.reads in OF_TOKENS
        self.pool = Pool("" if of_tokens else self.pooling, self.normalise, 0.0 if self.reads == "mlm" else of_head)
        if self.reads == "mlm":
            if self.num_classes != self.vocab:
                raise ConfigError("head", f"'mlm' has an output for each of {self.vocab} ids, not {self.num_classes}")
            self.head: nn.Module = MaskedLm(self.gelu == "exact", self.epsilon)
        elif self.reads == "classify_deep":
            self.head = DeepHead(self.num_classes, of_head)
        else:
            self.head = nn.Dense(self.num_classes, kernel_init=INIT)

    def _block(self) -> Block:
        of_weights = self.dropout if self.attention_dropout < 0 else self.attention_dropout
        return Block(self.heads, self.hidden, self.epsilon, self.dropout, of_weights, self.gelu == "exact")

    def stages(self) -> tuple[str, ...]:
        """Names of the stages, input first; a stage's parameters lie under its name."""
        return ("embed", *stack.names(self.depth, self.scan), "pool", "head")

    def __call__(self, x: Any, first: int = 0, last: int | None = None, train: bool = False) -> Any:
        """Applies stages `first` to `last`: all of them take ids [B, T] to logits [B, L] or [B, T, L].

        Args:
          x: output of stage `first - 1`, or int32 token ids [B, T].
          first: index of the first stage to apply.
          last: index after the last one, or None for all.
          train: whether this is a training step; dropout then draws from the collection `dropout`.

        Returns:
          Output of stage `last - 1`: a dict of "hidden" [B, T, D] and "mask" [B, T] up to the last block; after `pool`
          features [B, D], or [B, T, D] where the head reads every token.
        """
        if self.scan:
            blocks = [stack.scanned(self.blocks, self.depth, train, self.remat)]
        else:
            reads_first = self.reads not in OF_TOKENS and self.pooling != "mean"
            queries = stack.queries(self.depth + 1, first, last, reads_first=reads_first)
            blocks = stack.unrolled(self.block, train, self.remat, queries=queries)
        run: list[stack.Stage] = [
            partial(self.embed, train=train),
            *blocks,
            partial(self.pool, train=train),
            partial(self._read, train=train),
        ]
        for stage in run[first:last]:
            x = stage(x)
        return x

    def _read(self, x: jax.Array, train: bool) -> Any:
        """Features to logits."""
        if self.reads == "mlm":
            return self.head(x, self.embed.word.embedding)
        return self.head(x, train=train) if self.reads == "classify_deep" else self.head(x)

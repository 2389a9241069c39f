"""CLIP's text tower (Radford et al., 2021): a causal transformer and a projection, with a head on top.

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
from tlx.models import clip, stack, transformer
from tlx.models.inputs import TOKENS, check_input

# An `eos` of this value marks checkpoints whose config never held the true one.
HIGHEST = 2

FIELDS = {
    "vocab": Field(49408, "number of token ids", low=1, high=10**6),
    "positions": Field(77, "longest sequence, in tokens", low=1, high=10**5),
    "width": Field(512, "width of the residual stream", low=1, high=8192),
    "heads": Field(8, "attention heads; must divide the width", low=1, high=128),
    "hidden": Field(2048, "hidden width of the MLP", low=1, high=65536),
    "eos": Field(
        49407,
        "token id that ends a text; 2 for the highest id in it, as old checkpoints mean by that",
        low=0,
        high=10**6,
    ),
    "pad": Field(49407, "token id that fills up short sequences, behind the end of the text", low=0, high=10**6),
    **clip.FIELDS,
}

# What flows between the stages: "hidden" [B, T, D] and "mask" [B, T], 1.0 up to the token that ends the text.
Flow = dict[str, jax.Array]


def check(settings: dict[str, Any], input_shape: tuple[int, ...]) -> None:
    """Settings that do not fit one another or the sequences.

    Args:
      settings: a value for each field.
      input_shape: [length] of a sequence, in tokens.

    Raises:
      ConfigError: with the field's own name, to be prefixed by the caller.
    """
    check_input("clip_text", TOKENS, input_shape)
    transformer.check_heads(settings)
    for name in ("eos", "pad"):
        if settings[name] >= settings["vocab"]:
            raise ConfigError(name, f"expected a token id below {settings['vocab']}, got {settings[name]}")
    _check_length(settings["positions"], input_shape[0])


def targets(settings: dict[str, Any]) -> dict[str, str]:
    """Roles that modules play: patterns over module paths."""
    return {**transformer.TARGETS, "tokens": "embed/word", "positions": "embed/position"}


def _check_length(positions: int, length: int) -> None:
    if length > positions:
        raise ConfigError("positions", f"{positions} positions do not reach the end of sequences of {length} tokens")


class Embed(nn.Module):
    """Looks up tokens and positions, and finds where each text ends."""

    vocab: int
    positions: int
    width: int
    eos: int
    dropout: float

    @nn.compact
    def __call__(self, id_BT: jax.Array, train: bool = False) -> Flow:
        """Token ids [sequences, tokens] to what flows.

        Raises:
          ConfigError: there are more tokens than positions.
        """
        x_BTD = nn.Embed(self.vocab, self.width, embedding_init=clip.INIT, name="word")(id_BT)
        # An interceptor may have put prompts among the words: what counts is their number, not the ids'.
        length = x_BTD.shape[1]
        _check_length(self.positions, length)
        position_1T = rearrange(jnp.arange(length), "t -> 1 t")
        x_BTD = x_BTD + nn.Embed(self.positions, self.width, embedding_init=clip.INIT, name="position")(position_1T)
        x_BTD = nn.Dropout(self.dropout, name="dropout")(x_BTD, deterministic=not train)
        return {"hidden": x_BTD, "mask": _up_to_the_end(id_BT, self.eos).astype(x_BTD.dtype)}


def _up_to_the_end(id_BT: jax.Array, eos: int) -> jax.Array:
    """True up to the first end of text; where there is none, at the first token only, which is what is pooled then."""
    end_B = jnp.argmax(id_BT if eos == HIGHEST else id_BT == eos, axis=1)
    position_1T = rearrange(jnp.arange(id_BT.shape[1]), "t -> 1 t")
    return position_1T <= rearrange(end_B, "b -> b 1")


class Pool(nn.Module):
    """The norm and projection of the token that ends the text: the features a head sees."""

    projection: int
    normalise: bool
    epsilon: float

    @nn.compact
    def __call__(self, flow: Flow) -> jax.Array:
        """What flows to [sequences, width of the projection]."""
        last_BD = clip.last_of(flow["hidden"], flow["mask"])
        return clip.features(last_BD, self.epsilon, self.projection, self.normalise)


class ClipText(nn.Module):
    """The stages, in order; any run of them can be applied alone.

    Args:
      num_classes: outputs of the head.
      dropout: rate, after the embedding, on the attention weights and after each sublayer.
      The rest: see `FIELDS`.

    Source: Radford et al. (2021), section 2.4; the arithmetic is that of Hugging Face's `CLIPTextModelWithProjection`,
      whose features are not normalised. What follows the end of a text is not attended to, which changes no feature,
      as no token asks those behind it.
    """

    num_classes: int
    vocab: int = 49408
    positions: int = 77
    width: int = 512
    depth: int = 12
    heads: int = 8
    hidden: int = 2048
    projection: int = 512
    activation: str = "quick_gelu"
    epsilon: float = 1e-5
    normalise: bool = True
    dropout: float = 0.0
    eos: int = 49407
    pad: int = 49407
    remat: bool = False
    scan: bool = False

    def setup(self) -> None:
        """Declares the submodules; their names are the stages' names."""
        self.embed = Embed(self.vocab, self.positions, self.width, self.eos, self.dropout)
        if self.scan:
            self.blocks = self._block()
        else:
            self.block = [self._block() for _ in range(self.depth)]
        self.pool = Pool(self.projection, self.normalise, self.epsilon)
        self.head = nn.Dense(self.num_classes, kernel_init=clip.INIT)

    def _block(self) -> clip.Block:
        return clip.Block(self.heads, self.hidden, self.activation, self.epsilon, self.dropout, causal=True)

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
          [B, E] after `pool`.
        """
        if self.scan:
            blocks = [stack.scanned(self.blocks, self.depth, train, self.remat)]
        else:
            blocks = stack.unrolled(self.block, train, self.remat)
        run: list[stack.Stage] = [partial(self.embed, train=train), *blocks, self.pool, self.head]
        for stage in run[first:last]:
            x = stage(x)
        return x

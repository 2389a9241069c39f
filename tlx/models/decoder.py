"""Pre-norm causal decoders: GPT-2 (Radford et al., 2019), Llama (Touvron et al., 2023) and what lies between.

One kind rather than one for each family: they differ in four places, the norm, the positions, the MLP and which layers
have biases, each of which is a setting with a meaning of its own. Qwen2 is Llama with biases on three layers, Mistral
is Llama with a window; two kinds would each need the settings of the other before long, and what is tested of one
kind, the cache and every method, is then tested of all.

Shape suffixes: B sequences, T tokens, P prompts put in front of them, D width, L labels, V token ids.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.models import rope, stack, transformer
from tlx.models.inputs import TOKENS, check_input
from tlx.models.norms import NORMS, norm
from tlx.models.rope import Rope
from tlx.models.transformer import Attention, GatedMlp, Mlp

LM, CLASSIFY = "lm", "classify"
# Which of the layers of a block have biases.
BIASES = {
    "all": ("query, key and value", "out", "mlp"),
    "attention": ("query, key and value", "out"),
    "qkv": ("query, key and value",),
    "none": (),
}

FIELDS = {
    "vocab": Field(50257, "number of token ids", low=1, high=10**6),
    "positions": Field(1024, "longest sequence, in tokens", low=1, high=10**8),
    "position": Field("learned", "learned: a table of positions; rotary: none", choices=("learned", "rotary")),
    "width": Field(768, "width of the residual stream", low=1, high=65536),
    "depth": Field(12, "number of transformer blocks", low=1, high=256),
    "heads": Field(12, "attention heads; must divide the width", low=1, high=512),
    "kv_heads": Field(0, "heads of keys and values; must divide the heads; 0 for as many", low=0, high=512),
    "head_width": Field(0, "width of a head; 0 for the width over the heads", low=0, high=8192),
    "hidden": Field(3072, "hidden width of the MLP", low=1, high=10**6),
    "norm": Field("layer", "layer: LayerNorm; rms: RMSNorm", choices=NORMS),
    "mlp": Field(
        "gelu_tanh",
        "gelu_tanh, gelu: two layers with a GELU, approximated or exact; swiglu: three layers, gated by SiLU",
        choices=("gelu_tanh", "gelu", "swiglu"),
    ),
    "bias": Field("all", "which layers of a block have biases; a LayerNorm has one always", choices=tuple(BIASES)),
    "epsilon": Field(1e-5, "added to the variance or mean square by every norm", low=0.0, high=1e-3),
    "window": Field(0, "how many tokens each one attends to, itself included; 0 for all before it", low=0, high=10**8),
    **rope.FIELDS,
    "head": Field(
        CLASSIFY,
        "classify: a linear layer without a bias on the last token; lm: the next token's logits at every token",
        choices=(CLASSIFY, LM),
    ),
    "tied": Field(True, "whether the lm head is the table of words rather than a layer of its own"),
    "dropout": Field(0.0, "dropout rate in training", low=0.0, high=0.9),
    "pad": Field(0, "token id that fills up sequences at either end; no token attends to it", low=0, high=10**6),
    "eos": Field((), "token ids that end a text", each=Field(0, "a token id", low=0, high=10**6), may_be_empty=True),
    **stack.FIELDS,
}

INIT = nn.initializers.normal(0.02)

# What flows between the stages: "hidden" [B, T, D], "mask" [B, T], 1.0 where a token may be attended to, and with
# rotary positions "position" [B, T], in float32. With a cache also "at", the slot of the first of these tokens; the
# mask then is one of slots.
Flow = dict[str, jax.Array]


def check(settings: dict[str, Any], input_shape: tuple[int, ...]) -> None:
    """Settings that do not fit one another or the sequences.

    Args:
      settings: a value for each field.
      input_shape: [length] of a sequence, in tokens.

    Raises:
      ConfigError: with the field's own name, to be prefixed by the caller.
    """
    check_input("decoder", TOKENS, input_shape)
    heads, kv_heads = settings["heads"], settings["kv_heads"]
    if not settings["head_width"]:
        transformer.check_heads(settings)
    if kv_heads and heads % kv_heads:
        raise ConfigError("kv_heads", f"{kv_heads} heads of keys and values cannot be shared evenly by {heads} heads")
    head_width = settings["head_width"] or settings["width"] // heads
    if settings["position"] == "rotary" and head_width % 2:
        raise ConfigError("head_width", f"rotary positions need heads of an even width, got {head_width}")
    if settings["rope_scaling"] == "llama3" and settings["rope_high"] <= settings["rope_low"]:
        low, high = settings["rope_low"], settings["rope_high"]
        raise ConfigError("rope_high", f"expected more than rope_low {low:g}, got {high:g}")
    for name, ids in (("pad", (settings["pad"],)), ("eos", settings["eos"])):
        for token in ids:
            if token >= settings["vocab"]:
                raise ConfigError(name, f"expected a token id below {settings['vocab']}, got {token}")
    check_length(settings["positions"], input_shape[0])


def check_length(positions: int, length: int) -> None:
    """Whether sequences are short enough.

    Raises:
      ConfigError: of the field `positions`.
    """
    if length > positions:
        raise ConfigError("positions", f"{positions} positions do not reach the end of sequences of {length} tokens")


def targets(settings: dict[str, Any]) -> dict[str, str]:
    """Roles that modules play: patterns over module paths."""
    return {**transformer.TARGETS, "tokens": "embed/word", "positions": "embed/position"}


def shared(settings: dict[str, Any]) -> tuple[str, ...]:
    """Patterns over leaves that the head reads although they lie under an earlier stage."""
    return ("params/embed/word/embedding",) if settings["head"] == LM and settings["tied"] else ()


def words(id_BT: jax.Array, pad: int) -> jax.Array:
    """Which tokens are no padding, [B, T] of bool.

    The runs of the padding's id at both ends are padding. One between other tokens is a token: many a tokenizer has no
    padding and lends it the id that ends a text.

    Args:
      id_BT: token ids.
      pad: the padding's.
    """
    is_word_BT = id_BT != pad
    begun_BT = jnp.cumsum(is_word_BT, axis=1) > 0
    return begun_BT & jnp.flip(jnp.cumsum(jnp.flip(is_word_BT, axis=1), axis=1) > 0, axis=1)


def place(mask_BT: jax.Array) -> jax.Array:
    """Positions counted from the first token that is no padding, [B, T] of int32; 0 before it."""
    first_B1 = jnp.argmax(mask_BT, axis=1, keepdims=True).astype(jnp.int32)
    return jnp.maximum(rearrange(jnp.arange(mask_BT.shape[1]), "t -> 1 t") - first_B1, 0)


class Places(nn.Module):
    """Hands on positions where there is no table of them; a method may shift them here."""

    @nn.compact
    def __call__(self, position_BT: jax.Array) -> jax.Array:
        """Positions [B, T] to the same, in float32."""
        return position_BT.astype(jnp.float32)


class Embed(nn.Module):
    """Looks up tokens and, if there is a table of them, positions.

    Args:
      vocab: number of token ids.
      width: D.
      positions: longest sequence.
      learned: whether positions have a table.
      rate: of the dropout.
      pad: id of the padding.
    """

    vocab: int
    width: int
    positions: int
    learned: bool
    rate: float
    pad: int

    def setup(self) -> None:
        """Declares the tables; the head may read that of the words."""
        self.word = nn.Embed(self.vocab, self.width, embedding_init=INIT)
        self.position: nn.Module = (
            nn.Embed(self.positions, self.width, embedding_init=INIT) if self.learned else Places()
        )
        self.dropout = nn.Dropout(self.rate)

    def __call__(self, x: jax.Array | Flow, train: bool = False) -> Flow:
        """Tokens to what flows.

        Args:
          x: ids [B, T]; or, to generate with a cache, a dict of them as "id", "mask" of all slots, "position" [B, T]
            and "at".
          train: whether to drop.

        Raises:
          ConfigError: there are more tokens than positions.
        """
        given: Flow = x if isinstance(x, dict) else {"id": x, "mask": words(x, self.pad)}
        mask_BT = given["mask"]
        x_BTD = self.word(given["id"])
        place_BT = given["position"] if "position" in given else place(mask_BT)
        # An interceptor may have put prompts in front; what it does to the mask is its own affair.
        if prompts := x_BTD.shape[1] - place_BT.shape[1]:
            ahead_BP = jnp.broadcast_to(jnp.arange(prompts, dtype=jnp.int32)[None], (len(x_BTD), prompts))
            place_BT = jnp.concatenate([ahead_BP, place_BT + prompts], axis=1)
        check_length(self.positions, place_BT.shape[1])
        found = self.position(place_BT)
        x_BTD = self.dropout(x_BTD + found if self.learned else x_BTD, deterministic=not train)
        flow = {"hidden": x_BTD, "mask": mask_BT.astype(x_BTD.dtype)}
        flow |= {} if self.learned else {"position": found}
        return flow | {name: given[name] for name in ("at",) if name in given}

    def scores(self, x_BTD: jax.Array) -> jax.Array:
        """Each vector's products with all words, [B, T, V]."""
        return self.word.attend(x_BTD)


@dataclass(frozen=True)
class Parts:
    """What a block is made of; the arguments are those of `FIELDS`, a rope of None is for learned positions."""

    heads: int
    kv_heads: int
    head_width: int
    hidden: int
    norm: str
    mlp: str
    bias: str
    epsilon: float
    window: int
    dropout: float
    rope: Rope | None


class Block(nn.Module):
    """Pre-norm transformer block."""

    parts: Parts

    @nn.compact
    def __call__(self, flow: Flow, train: bool = False) -> Flow:
        """What flows, with new hidden states."""
        parts, x_BTD = self.parts, flow["hidden"]
        attention = Attention(
            parts.heads,
            parts.dropout,
            INIT,
            kv_heads=parts.kv_heads,
            head_width=parts.head_width,
            bias="query, key and value" in BIASES[parts.bias],
            out_bias="out" in BIASES[parts.bias],
            causal=True,
            window=parts.window,
            rope=parts.rope,
            name="attention",
        )
        y_BTD = norm(parts.norm, parts.epsilon, "norm1")(x_BTD)
        x_BTD = x_BTD + attention(y_BTD, flow["mask"], flow.get("position"), flow.get("at"), train=train)
        y_BTD = norm(parts.norm, parts.epsilon, "norm2")(x_BTD)
        return {**flow, "hidden": x_BTD + self._mlp()(y_BTD, train=train)}

    @nn.nowrap
    def _mlp(self) -> nn.Module:
        parts = self.parts
        has_bias = "mlp" in BIASES[parts.bias]
        if parts.mlp == "swiglu":
            return GatedMlp(parts.hidden, has_bias, parts.dropout, INIT, name="mlp")
        return Mlp(parts.hidden, parts.mlp == "gelu", parts.dropout, INIT, bias=has_bias, name="mlp")


class Pool(nn.Module):
    """The final norm, and where the head reads one token of a sequence, the choice of the last one.

    Args:
      norm: which.
      epsilon: of the norm.
      last: whether to choose.
    """

    norm: str
    epsilon: float
    last: bool

    @nn.compact
    def __call__(self, flow: Flow) -> jax.Array:
        """What flows to [B, D], or to [B, T, D]."""
        x_BTD = norm(self.norm, self.epsilon, "norm")(flow["hidden"])
        if not self.last:
            return x_BTD
        slot_1T = rearrange(jnp.arange(x_BTD.shape[1]), "t -> 1 t")
        last_B11 = rearrange(jnp.argmax(jnp.where(flow["mask"] != 0, slot_1T, 0), axis=1), "b -> b 1 1")
        return rearrange(jnp.take_along_axis(x_BTD, last_B11, axis=1), "b 1 d -> b d")


class Decoder(nn.Module):
    """The stages, in order; any run of them can be applied alone, but that a tied head reads the table of words too.

    Args:
      num_classes: outputs of the head; those of a language model are as many as there are token ids.
      vocab: number of token ids.
      width: of the residual stream.
      positions: longest sequence.
      depth: number of blocks.
      parts: of each.
      pad: id of the padding.
      reads: the field `head`, whose name is that of a stage.
      tied: whether a language model's head is the table of words.
      remat: see `stack.FIELDS`.
      scan: likewise.

    Source: Radford et al. (2019), section 2.3; Touvron et al. (2023), section 2.2; the arithmetic is that of Hugging
      Face's `GPT2LMHeadModel`, `LlamaForCausalLM` and their `ForSequenceClassification`. All kernels and tables are
      drawn with a standard deviation of 0.02; GPT-2's own are smaller where they add to the residual stream.
    """

    num_classes: int
    vocab: int
    width: int
    positions: int
    depth: int
    parts: Parts
    pad: int = 0
    reads: str = CLASSIFY
    tied: bool = True
    remat: bool = False
    scan: bool = False

    def setup(self) -> None:
        """Declares the submodules; their names are the stages' names.

        Raises:
          ConfigError: a language model is to have other outputs than token ids.
        """
        if self.reads == LM and self.num_classes != self.vocab:
            raise ConfigError("head", f"'lm' has an output for each of {self.vocab} ids, not {self.num_classes}")
        learned = self.parts.rope is None
        self.embed = Embed(self.vocab, self.width, self.positions, learned, self.parts.dropout, self.pad)
        if self.scan:
            self.blocks = Block(self.parts)
        else:
            self.block = [Block(self.parts) for _ in range(self.depth)]
        self.pool = Pool(self.parts.norm, self.parts.epsilon, last=self.reads == CLASSIFY)
        if not (self.reads == LM and self.tied):
            self.head = nn.Dense(self.num_classes, use_bias=False, kernel_init=INIT)

    def stages(self) -> tuple[str, ...]:
        """Names of the stages, input first; a stage's parameters lie under its name."""
        return ("embed", *stack.names(self.depth, self.scan), "pool", "head")

    def __call__(self, x: Any, first: int = 0, last: int | None = None, train: bool = False) -> Any:
        """Applies stages `first` to `last`: all of them take ids [B, T] to logits [B, L], or [B, T, V].

        Args:
          x: output of stage `first - 1`, or int32 token ids [B, T], or what `Embed` takes to use a cache.
          first: index of the first stage to apply.
          last: index after the last one, or None for all.
          train: whether this is a training step; dropout then draws from the collection `dropout`.

        Returns:
          Output of stage `last - 1`: a dict, see `Flow`, up to the last block; after `pool` features [B, D], or
          [B, T, D] where the head reads every token.
        """
        if self.scan:
            blocks = [stack.scanned(self.blocks, self.depth, train, self.remat)]
        else:
            blocks = stack.unrolled(self.block, train, self.remat)
        head = self.embed.scores if self.reads == LM and self.tied else self.head
        run: list[stack.Stage] = [partial(self.embed, train=train), *blocks, self.pool, head]
        for stage in run[first:last]:
            x = stage(x)
        return x


def module(num_classes: int, **settings: Any) -> Decoder:
    """The module with these settings.

    Args:
      num_classes: outputs of the head.
      settings: of `FIELDS`; what is left out has its default.
    """
    s = {name: settings.get(name, field.default) for name, field in FIELDS.items()}
    angles = {name.removeprefix("rope_"): s[name] for name in rope.FIELDS}
    turning = Rope(**angles) if s["position"] == "rotary" else None
    own = ("heads", "kv_heads", "head_width", "hidden", "norm", "mlp", "bias", "epsilon", "window", "dropout")
    parts = Parts(**{name: s[name] for name in own}, rope=turning)
    of_model = {name: s[name] for name in ("vocab", "width", "positions", "depth", "pad", "tied", "remat", "scan")}
    return Decoder(num_classes, parts=parts, reads=s["head"], **of_model)

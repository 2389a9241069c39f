"""The sublayers transformers here are made of.

Shape suffixes: B examples, T tokens that ask, S tokens that are asked, D width, N heads, G groups of heads that share
keys and values, K width of a head, F hidden width of the MLP.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tlx.errors import ConfigError
from tlx.models.rope import Rope

# The roles that are the same in every transformer: patterns over module paths.
TARGETS = {
    "low_rank": r".*/(query|value)",
    "scaled_outputs": r".*/(key|value)",
    "scaled_inputs": r".*/down",
    "attention": r".*/attention",
    "mlp": r".*/mlp",
    "keys": r".*/attention/key",
    "values": r".*/attention/value",
    "blocks": r"block_\d+|blocks",
}

# By the names that Hugging Face's configs give them. The last is Hendrycks and Gimpel's (2016), x·σ(1.702·x).
ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu_pytorch_tanh": lambda x: nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),
}


def check_heads(settings: dict[str, Any]) -> None:
    """Whether the heads share the width evenly.

    Raises:
      ConfigError: they do not.
    """
    if settings["width"] % settings["heads"]:
        raise ConfigError("heads", f"{settings['heads']} heads do not divide the width {settings['width']}")


class Attention(nn.Module):
    """Multi-head self-attention with separate query, key and value projections.

    Args:
      heads: number of heads; divides the width.
      dropout: rate, on the output, and on the attention weights where they have no rate of their own.
      kernel_init: of all four projections.
      causal: whether a token asks itself and those before it only.
      queries: number of leading tokens that ask, 0 for all.
      kv_heads: number of heads of keys and values, each shared by as many consecutive heads; 0 for one each.
      head_width: width K of a head; 0 for the width over the heads.
      bias: whether queries, keys and values have biases.
      out_bias: whether the output has one.
      window: how many tokens one asks at most, itself included; 0 for any number. Only where it is causal.
      rope: how queries and keys turn with their position, or None.
      weight_dropout: rate, on the attention weights; None for `dropout`.

    Source: Vaswani et al. (2017), equation 1 and section 3.2.2; shared keys and values, Ainslie et al. (2023),
      section 2.2; windows, Beltagy et al. (2020), section 3.1.
    """

    heads: int
    dropout: float = 0.0
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    causal: bool = False
    queries: int = 0
    kv_heads: int = 0
    head_width: int = 0
    bias: bool = True
    out_bias: bool = True
    window: int = 0
    rope: Rope | None = None
    weight_dropout: float | None = None

    @nn.compact
    def __call__(
        self,
        x_BTD: jax.Array,
        mask_BS: jax.Array | None = None,
        position_BT: jax.Array | None = None,
        at: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Every token asks every token, unless the fields say otherwise.

        Args:
          x_BTD: tokens.
          mask_BS: true or 1 where a token may be asked, or None where all may. Longer than T when an interceptor
            made the outputs of `key` and `value` longer; what it put in front has no position, and all may ask it.
          position_BT: the tokens' positions, float32; needed with `rope` only.
          at: where keys and values of all calls are kept, in slots of the collection `cache`: the slot of the first of
            these tokens. The mask then is one of slots. None where nothing is kept.
          train: whether to drop.

        Returns:
          [B, T, D], or as many tokens as ask.
        """
        asking_BTD = x_BTD[:, : self.queries] if self.queries else x_BTD
        groups = self.kv_heads or self.heads
        q_BNTK = self._projected("query", asking_BTD, self.heads)
        k_BGSK, v_BGSK = (self._projected(name, x_BTD, groups) for name in ("key", "value"))
        lead = k_BGSK.shape[2] - x_BTD.shape[1]
        if self.rope is not None:
            assert position_BT is not None
            q_BNTK = self.rope.turned(q_BNTK, position_BT[:, : q_BNTK.shape[2]])
            turned_BGTK = self.rope.turned(k_BGSK[:, :, lead:], position_BT)
            k_BGSK = jnp.concatenate([k_BGSK[:, :, :lead], turned_BGTK], axis=2)
        if at is not None:
            assert mask_BS is not None
            slots = mask_BS.shape[1] - lead
            k_BGSK, v_BGSK = (self._kept(n, x, lead, at, slots) for n, x in (("keys", k_BGSK), ("values", v_BGSK)))
        allowed = self._allowed(mask_BS, q_BNTK.shape[2], k_BGSK.shape[2], lead, 0 if at is None else at)
        mixed_BTD = self._mixed(q_BNTK, k_BGSK, v_BGSK, allowed, train)
        out = nn.Dense(x_BTD.shape[-1], use_bias=self.out_bias, kernel_init=self.kernel_init, name="out")
        return nn.Dropout(self.dropout, name="dropout")(out(mixed_BTD), deterministic=not train)

    @nn.nowrap
    def _projected(self, name: str, x_BSD: jax.Array, heads: int) -> jax.Array:
        features = heads * (self.head_width or x_BSD.shape[-1] // self.heads)
        y_BSD = nn.Dense(features, use_bias=self.bias, kernel_init=self.kernel_init, name=name)(x_BSD)
        return rearrange(y_BSD, "b s (n k) -> b n s k", n=heads)

    @nn.nowrap
    def _kept(self, name: str, new_BGSK: jax.Array, lead: int, at: jax.Array, slots: int) -> jax.Array:
        """Keys or values of all slots, these among them, behind what an interceptor put in front."""
        front, own = new_BGSK[:, :, :lead], new_BGSK[:, :, lead:]
        shape = (*own.shape[:2], slots, own.shape[-1])
        kept = self.variable("cache", name, jnp.zeros, shape, own.dtype)
        kept.value = jax.lax.dynamic_update_slice_in_dim(kept.value, own, at, axis=2)
        return jnp.concatenate([front, kept.value], axis=2)

    @nn.nowrap
    def _allowed(
        self, mask_BS: jax.Array | None, length: int, slots: int, lead: int, at: jax.Array | int
    ) -> jax.Array | None:
        """Which of `slots` keys each of `length` tokens may ask, to be broadcast to [B, N, T, S]; None for all."""
        allowed = None if mask_BS is None else rearrange(mask_BS.astype(jnp.bool_), "b s -> b 1 1 s")
        if not self.causal:
            return allowed
        own_11T1 = rearrange(lead + at + jnp.arange(length), "t -> 1 1 t 1")
        slot_111S = rearrange(jnp.arange(slots), "s -> 1 1 1 s")
        past = slot_111S <= own_11T1
        if self.window:
            past = past & ((slot_111S > own_11T1 - self.window) | (slot_111S < lead))
        return past if allowed is None else past & allowed

    @nn.nowrap
    def _mixed(
        self, q_BNTK: jax.Array, k_BGSK: jax.Array, v_BGSK: jax.Array, allowed: jax.Array | None, train: bool
    ) -> jax.Array:
        """What each token hears, all heads in a row: [B, T, N·K]."""
        groups, length = k_BGSK.shape[1], q_BNTK.shape[2]
        # The heads of a group ask as if they were further tokens of one head.
        asking = rearrange(q_BNTK * float(q_BNTK.shape[-1] ** -0.5), "b (g r) t k -> b g (r t) k", g=groups)
        score = jnp.einsum("bntk,bnsk->bnts", asking, k_BGSK)
        score_BNTS = rearrange(score, "b g (r t) s -> b (g r) t s", t=length)
        if allowed is not None:
            # The lowest finite number, not -inf: where nothing may be asked the weights are even, not NaN.
            score_BNTS = jnp.where(allowed, score_BNTS, jnp.finfo(score_BNTS.dtype).min)
        weight_BNTS = jax.nn.softmax(score_BNTS.astype(jnp.float32)).astype(score_BNTS.dtype)
        rate = self.dropout if self.weight_dropout is None else self.weight_dropout
        weight_BNTS = nn.Dropout(rate, name="weight_dropout")(weight_BNTS, deterministic=not train)
        weight = rearrange(weight_BNTS, "b (g r) t s -> b g (r t) s", g=groups)
        mixed = jnp.einsum("bnts,bnsk->bntk", weight, v_BGSK)
        return rearrange(mixed, "b g (r t) k -> b t (g r k)", t=length)


class Mlp(nn.Module):
    """Two-layer perceptron with a GELU.

    Args:
      hidden: width F of the hidden layer.
      gelu_exact: the GELU by the error function, not by its approximation with tanh.
      dropout: rate, on the output.
      kernel_init: of both layers.
      activation: key of `ACTIVATIONS`, or empty for what `gelu_exact` says.
      bias: whether the layers have biases.
    """

    hidden: int
    gelu_exact: bool = False
    dropout: float = 0.0
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    activation: str = ""
    bias: bool = True

    @nn.compact
    def __call__(self, x_BTD: jax.Array, train: bool = False) -> jax.Array:
        """[B, T, D] to the same; `train` is whether to drop."""
        h_BTF = nn.Dense(self.hidden, use_bias=self.bias, kernel_init=self.kernel_init, name="up")(x_BTD)
        h_BTF = ACTIVATIONS[self.activation or ("gelu" if self.gelu_exact else "gelu_pytorch_tanh")](h_BTF)
        y_BTD = nn.Dense(x_BTD.shape[-1], use_bias=self.bias, kernel_init=self.kernel_init, name="down")(h_BTF)
        return nn.Dropout(self.dropout, name="dropout")(y_BTD, deterministic=not train)


class GatedMlp(nn.Module):
    """Two-layer perceptron whose hidden layer is a product of two, one of them through SiLU.

    Args:
      hidden: width F of the hidden layer.
      bias: whether the three layers have biases.
      dropout: rate, on the output.
      kernel_init: of all three layers.

    Source: Shazeer (2020), equation 6, SwiGLU; biases, which it leaves out, are possible.
    """

    hidden: int
    bias: bool = False
    dropout: float = 0.0
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x_BTD: jax.Array, train: bool = False) -> jax.Array:
        """[B, T, D] to the same; `train` is whether to drop."""

        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, use_bias=self.bias, kernel_init=self.kernel_init, name=name)

        h_BTF = nn.silu(dense(self.hidden, "gate")(x_BTD)) * dense(self.hidden, "up")(x_BTD)
        y_BTD = dense(x_BTD.shape[-1], "down")(h_BTF)
        return nn.Dropout(self.dropout, name="dropout")(y_BTD, deterministic=not train)

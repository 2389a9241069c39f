"""What a BERT's features are, and what reads them.

Shape suffixes: B sequences, T tokens, D width, L labels, V token ids.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tlx.errors import ConfigError
from tlx.fields import Field

FIELDS = {
    "pool": Field(
        "first",
        "features of a sequence. first: a dense layer and tanh on the first token; first_token: the first token as "
        "it is; mean: the mean of the tokens that are no padding. Heads that read every token have no use for it",
        choices=("first", "first_token", "mean"),
    ),
    "normalise": Field(False, "whether features are divided by their Euclidean length"),
    "head": Field(
        "classify",
        "classify: a linear layer on the features; classify_deep: a dense layer and tanh before it, as in RoBERTa; "
        "tokens: a linear layer on every token; mlm: the masked language model, whose last layer is the table of words",
        choices=("classify", "classify_deep", "tokens", "mlm"),
    ),
    "head_dropout": Field(
        -1.0, "dropout rate on what the head reads; -1 for that of the rest", low=0.0, high=0.9, unset=-1.0
    ),
}
INIT = nn.initializers.normal(0.02)
# Heads whose input and output are a row for each token.
OF_TOKENS = ("tokens", "mlm")


def check(settings: Mapping[str, Any]) -> None:
    """Whether the settings of pooling and head fit one another.

    Raises:
      ConfigError: they do not.
    """
    if settings["normalise"] and settings["head"] in OF_TOKENS:
        raise ConfigError("normalise", f"expected false, as the head {settings['head']!r} reads every token")


class Pool(nn.Module):
    """From the last block's tokens to the features that a head sees.

    Args:
      pool: which; empty for all tokens.
      normalise: whether to give them length 1.
      dropout: rate.

    Source: Devlin et al. (2018) for the dense layer; Reimers and Gurevych (2019), section 3, for the mean.
    """

    pool: str
    normalise: bool
    dropout: float

    @nn.compact
    def __call__(self, flow: dict[str, jax.Array], train: bool = False) -> jax.Array:
        """What flows to [sequences, width], or to [sequences, tokens, width]."""
        x_BTD = flow["hidden"]
        y = x_BTD
        if self.pool == "mean":
            y = _mean(x_BTD, flow["mask"])
        elif self.pool:
            y = x_BTD[:, 0]
        if self.pool == "first":
            y = jnp.tanh(nn.Dense(y.shape[-1], kernel_init=INIT, name="dense")(y))
        if self.normalise:
            y = _unit(y)
        return nn.Dropout(self.dropout, name="dropout")(y, deterministic=not train)


def _mean(x_BTD: jax.Array, mask_BT: jax.Array) -> jax.Array:
    """The mean over tokens that are no padding; zeros where there are none."""
    total_BD = jnp.einsum("btd,bt->bd", x_BTD, mask_BT, preferred_element_type=jnp.float32)
    count_B1 = rearrange(jnp.sum(mask_BT.astype(jnp.float32), axis=1), "b -> b 1")
    return (total_BD / jnp.maximum(count_B1, 1.0)).astype(x_BTD.dtype)


def _unit(x_BD: jax.Array) -> jax.Array:
    # The root's slope at zero is infinite; there the least length takes its place.
    square_B1 = jnp.sum(jnp.square(x_BD.astype(jnp.float32)), axis=-1, keepdims=True)
    return (x_BD * jax.lax.rsqrt(jnp.maximum(square_B1, 1e-24))).astype(x_BD.dtype)


class DeepHead(nn.Module):
    """A dense layer and tanh, then a linear layer.

    Args:
      num_classes: outputs.
      dropout: rate, between the layers.

    Source: Liu et al. (2019), RoBERTa, as Hugging Face's `RobertaClassificationHead`.
    """

    num_classes: int
    dropout: float

    @nn.compact
    def __call__(self, x_BD: jax.Array, train: bool = False) -> jax.Array:
        """[B, D] to [B, L]."""
        width = x_BD.shape[-1]
        h_BD = jnp.tanh(nn.Dense(width, kernel_init=INIT, name="dense")(x_BD))
        h_BD = nn.Dropout(self.dropout, name="dropout")(h_BD, deterministic=not train)
        # The last layer's leaves lie where those of a head of one layer do.
        kernel_DL = self.param("kernel", INIT, (width, self.num_classes))
        bias_L = self.param("bias", nn.initializers.zeros, (self.num_classes,))
        return h_BD @ kernel_DL + rearrange(bias_L, "l -> 1 l")


class MaskedLm(nn.Module):
    """A dense layer, a GELU and a norm, then the table of words as the last layer.

    Args:
      gelu_exact: the GELU by the error function.
      epsilon: of the norm.

    Source: Devlin et al. (2018), as Hugging Face's `BertLMPredictionHead`.
    """

    gelu_exact: bool
    epsilon: float

    @nn.compact
    def __call__(self, x_BTD: jax.Array, table_VD: jax.Array) -> jax.Array:
        """[B, T, D] and the table of words to [B, T, V]."""
        h_BTD = nn.Dense(x_BTD.shape[-1], kernel_init=INIT, name="dense")(x_BTD)
        h_BTD = layer_norm(self.epsilon, "norm")(nn.gelu(h_BTD, approximate=not self.gelu_exact))
        bias_V = self.param("bias", nn.initializers.zeros, (len(table_VD),))
        return jnp.einsum("btd,vd->btv", h_BTD, table_VD) + rearrange(bias_V, "v -> 1 1 v")


def layer_norm(epsilon: float, name: str | None = None) -> nn.LayerNorm:
    """A norm whose variance is exact: the fast one, E[x²] - E[x]², is off by more than an epsilon of 1e-12."""
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, name=name)

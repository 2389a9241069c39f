"""What the two towers of CLIP (Radford et al., 2021) share, and the two together.

Shape suffixes: B images, P texts, T tokens, D width, E width of the projection.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.models import stack, transformer
from tlx.models.transformer import Attention, Mlp

# What both towers may be told. Their defaults are those of CLIP's ViT-B/32.
FIELDS = {
    "depth": Field(12, "number of transformer blocks", low=1, high=128),
    "projection": Field(512, "width of the space that images and texts share; 0 for no projection", low=0, high=8192),
    "activation": Field(
        "quick_gelu", "of the MLP; OpenAI's models have quick_gelu", choices=tuple(transformer.ACTIVATIONS)
    ),
    "epsilon": Field(1e-5, "added to the variance by every norm", low=0.0, high=1e-3),
    "normalise": Field(True, "whether the features that the head reads are divided by their length"),
    "dropout": Field(0.0, "dropout rate in training", low=0.0, high=0.9),
    **stack.FIELDS,
}
# Of cosines, at the start of training; the parameter is its logarithm.
SCALE = 1 / 0.07

INIT = nn.initializers.normal(0.02)


def layer_norm(epsilon: float, name: str) -> nn.LayerNorm:
    """A norm over the width."""
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, name=name)


def normalised(x: jax.Array) -> jax.Array:
    """[..., E] divided by its length; zeros stay zeros."""
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    # Large enough for the gradient at zeros to be finite.
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-24))


def features(x_BD: jax.Array, epsilon: float, projection: int, normalise: bool) -> jax.Array:
    """The last norm and the projection of a tower, for a compact method to call.

    Args:
      x_BD: the state that stands for the whole.
      epsilon: of the norm.
      projection: width E, 0 for none.
      normalise: whether to divide by the length.

    Returns:
      [B, E].
    """
    y_BE = layer_norm(epsilon, "norm")(x_BD)
    if projection:
        y_BE = nn.Dense(projection, use_bias=False, name="projection")(y_BE)
    return normalised(y_BE) if normalise else y_BE


class Block(nn.Module):
    """Pre-norm transformer block.

    Args:
      heads: number of attention heads.
      hidden: width of the MLP's hidden layer.
      activation: key of `transformer.ACTIVATIONS`.
      epsilon: of both norms.
      dropout: rate.
      causal: whether a token asks itself and those before it only.
    """

    heads: int
    hidden: int
    activation: str
    epsilon: float
    dropout: float = 0.0
    causal: bool = False

    @nn.compact
    def __call__(self, flow: Any, train: bool = False, queries: int | None = None) -> Any:
        """Tokens [B, T, D], or a dict of "hidden" and "mask" [B, T], to the same, or to `queries` leading tokens."""
        x_BTD, mask_BT = (flow["hidden"], flow["mask"]) if isinstance(flow, dict) else (flow, None)
        attention = Attention(self.heads, self.dropout, causal=self.causal, queries=queries or 0, name="attention")
        mixed_BTD = attention(layer_norm(self.epsilon, "norm1")(x_BTD), mask_BT, train=train)
        x_BTD = x_BTD[:, : mixed_BTD.shape[1]] + mixed_BTD
        mlp = Mlp(self.hidden, dropout=self.dropout, activation=self.activation, name="mlp")
        x_BTD = x_BTD + mlp(layer_norm(self.epsilon, "norm2")(x_BTD), train=train)
        return {**flow, "hidden": x_BTD} if isinstance(flow, dict) else x_BTD


class Clip(nn.Module):
    """Both towers, up to their features, and the scale of their cosines.

    Args:
      vision: a `ClipVision`; its head is neither used nor made.
      text: a `ClipText`, likewise.

    Source: Radford et al. (2021), figure 3; the arithmetic is that of Hugging Face's `CLIPModel`.
    """

    vision: nn.Module
    text: nn.Module

    def setup(self) -> None:
        """Declares the scale, as its logarithm."""
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(math.log(SCALE)), ())

    def __call__(self, image_BHWC: jax.Array, id_PT: jax.Array, train: bool = False) -> jax.Array:
        """Images in [-1, 1] and token ids to logits: how well each text describes each image [B, P]."""
        image_BE = self.vision(image_BHWC, 0, len(self.vision.stages()) - 1, train)
        text_PE = self.text(id_PT, 0, len(self.text.stages()) - 1, train)
        return similarity(image_BE, text_PE, self.logit_scale)


def similarity(image_BE: jax.Array, text_PE: jax.Array, log_scale: jax.Array | float) -> jax.Array:
    """Scaled cosines.

    Args:
      image_BE: images' features, of any length.
      text_PE: texts' features, of any length.
      log_scale: logarithm of the scale.

    Returns:
      Logits [B, P]; a softmax over the texts makes them probabilities of what an image shows.

    Source: Radford et al. (2021), figure 3.
    """
    cosine_BP = jnp.einsum("be,pe->bp", normalised(image_BE), normalised(text_PE))
    return cosine_BP * jnp.exp(jnp.asarray(log_scale, cosine_BP.dtype))


def check_projections(vision: dict[str, Any], text: dict[str, Any]) -> None:
    """Whether two towers share a space.

    Args:
      vision: settings of a `ClipVision`.
      text: settings of a `ClipText`.

    Raises:
      ConfigError: of the field `projection`.
    """
    images, texts = (settings["projection"] or settings["width"] for settings in (vision, text))
    if images != texts:
        raise ConfigError("projection", f"images have {images} features but texts have {texts}")


def class_token(width: int) -> nn.initializers.Initializer:
    """How a class token starts: of length one, more or less."""
    return nn.initializers.normal(width**-0.5)


def last_of(x_BTD: jax.Array, mask_BT: jax.Array) -> jax.Array:
    """The state of the last token that the mask lets be asked [B, D]."""
    behind_B = jnp.argmax(jnp.flip(mask_BT, axis=1), axis=1)
    at_B11 = rearrange(mask_BT.shape[1] - 1 - behind_B, "b -> b 1 1")
    return rearrange(jnp.take_along_axis(x_BTD, at_B11, axis=1), "b 1 d -> b d")

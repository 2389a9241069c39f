"""Vision transformer (Dosovitskiy et al., 2021), pre-norm, mean-pooled, learned positions.

Shape suffixes: B images, H rows, W columns, C channels, T patches, E numbers in a patch, D width, L labels.
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
from tlx.models.inputs import IMAGE, check_input
from tlx.models.transformer import Attention, Mlp

FIELDS = {
    "patch": Field(7, "side of a square patch, in pixels", low=1, high=64),
    "width": Field(64, "width of the residual stream", low=1, high=8192),
    "depth": Field(3, "number of transformer blocks", low=1, high=128),
    "heads": Field(4, "attention heads; must divide the width", low=1, high=128),
    "mlp_ratio": Field(4, "hidden width of the MLP over the width", low=1, high=16),
    "dropout": Field(0.0, "dropout rate in training", low=0.0, high=0.9),
    **stack.FIELDS,
}


def check(settings: dict[str, Any], input_shape: tuple[int, ...]) -> None:
    """Settings that do not fit one another or the images.

    Args:
      settings: a value for each field.
      input_shape: [rows, columns, channels] of an image.

    Raises:
      ConfigError: with the field's own name, to be prefixed by the caller.
    """
    check_input("vit", IMAGE, input_shape)
    transformer.check_heads(settings)
    if input_shape[0] % settings["patch"] or input_shape[1] % settings["patch"]:
        size = f"{input_shape[0]}×{input_shape[1]}"
        raise ConfigError("patch", f"patches of {settings['patch']} pixels do not tile images of {size}")


def targets(settings: dict[str, Any]) -> dict[str, str]:
    """Roles that modules play: patterns over module paths."""
    return {**transformer.TARGETS, "tokens": "embed"}


class Embed(nn.Module):
    """Cuts an image into patches and projects them; a matmul, where a strided convolution would be slower."""

    patch: int
    width: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, train: bool = False) -> jax.Array:
        """[images, rows, columns, channels] to [images, patches, width]."""
        patch_BTE = rearrange(x_BHWC, "b (h p) (w q) c -> b (h w) (p q c)", p=self.patch, q=self.patch)
        x_BTD = nn.Dense(self.width, name="patches")(patch_BTE)
        position_1TD = self.param("position", nn.initializers.normal(0.02), (1, *x_BTD.shape[1:]))
        return nn.Dropout(self.dropout, name="dropout")(x_BTD + position_1TD, deterministic=not train)


class Block(nn.Module):
    """Pre-norm transformer block."""

    heads: int
    mlp_ratio: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x_BTD: jax.Array, train: bool = False) -> jax.Array:
        """[images, patches, width] to the same."""
        attention = Attention(self.heads, self.dropout, name="attention")
        x_BTD = x_BTD + attention(nn.LayerNorm(name="norm1")(x_BTD), None, train=train)
        mlp = Mlp(self.mlp_ratio * x_BTD.shape[-1], dropout=self.dropout, name="mlp")
        return x_BTD + mlp(nn.LayerNorm(name="norm2")(x_BTD), train=train)


class Pool(nn.Module):
    """Final norm and mean over patches: the features a head sees."""

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """[images, patches, width] to [images, width]."""
        return jnp.mean(nn.LayerNorm(name="norm")(x_BTD), axis=1)


class ViT(nn.Module):
    """The stages, in order; any run of them can be applied alone.

    Args:
      num_classes: outputs of the head.
      dropout: rate, where BERT has it: after the embedding, on the attention weights and after each sublayer.
      The rest: see `FIELDS`.
    """

    num_classes: int
    patch: int = 7
    width: int = 64
    depth: int = 3
    heads: int = 4
    mlp_ratio: int = 4
    dropout: float = 0.0
    remat: bool = False
    scan: bool = False

    def setup(self) -> None:
        """Declares the submodules; their names are the stages' names."""
        self.embed = Embed(self.patch, self.width, self.dropout)
        if self.scan:
            self.blocks = Block(self.heads, self.mlp_ratio, self.dropout)
        else:
            self.block = [Block(self.heads, self.mlp_ratio, self.dropout) for _ in range(self.depth)]
        self.pool = Pool()
        self.head = nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.02))

    def stages(self) -> tuple[str, ...]:
        """Names of the stages, input first; a stage's parameters lie under its name."""
        return ("embed", *stack.names(self.depth, self.scan), "pool", "head")

    def __call__(self, x: jax.Array, first: int = 0, last: int | None = None, train: bool = False) -> jax.Array:
        """Applies stages `first` to `last`: all of them take [B, H, W, C] to logits [B, L].

        Args:
          x: output of stage `first - 1`, or images [B, H, W, C] in [-1, 1].
          first: index of the first stage to apply.
          last: index after the last one, or None for all.
          train: whether this is a training step; dropout then draws from the collection `dropout`.

        Returns:
          Output of stage `last - 1`.
        """
        if self.scan:
            blocks = [stack.scanned(self.blocks, self.depth, train, self.remat)]
        else:
            blocks = stack.unrolled(self.block, train, self.remat)
        run: list[stack.Stage] = [partial(self.embed, train=train), *blocks, self.pool, self.head]
        for stage in run[first:last]:
            x = stage(x)
        return x

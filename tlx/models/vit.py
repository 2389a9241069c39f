"""Vision transformer (Dosovitskiy et al., 2021), pre-norm, mean-pooled, learned positions.

Shape suffixes: B images, H rows, W columns, C channels, T patches, D width, N heads, K width of a head,
F hidden width of the MLP, L labels.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tlx.errors import ConfigError
from tlx.fields import Field

FIELDS = {
    "patch": Field(7, "side of a square patch, in pixels", low=1, high=64),
    "width": Field(64, "width of the residual stream", low=1, high=8192),
    "depth": Field(3, "number of transformer blocks", low=1, high=128),
    "heads": Field(4, "attention heads; must divide the width", low=1, high=128),
    "mlp_ratio": Field(4, "hidden width of the MLP over the width", low=1, high=16),
}


def check(settings: dict[str, Any], image_HWC: tuple[int, ...]) -> None:
    """Settings that do not fit one another or the images.

    Raises:
      ConfigError: with the field's own name, to be prefixed by the caller.
    """
    if settings["width"] % settings["heads"]:
        raise ConfigError("heads", f"{settings['heads']} heads do not divide the width {settings['width']}")
    if image_HWC[0] % settings["patch"] or image_HWC[1] % settings["patch"]:
        size = f"{image_HWC[0]}×{image_HWC[1]}"
        raise ConfigError("patch", f"patches of {settings['patch']} pixels do not tile images of {size}")


class Embed(nn.Module):
    """Cuts an image into patches and projects them; a matmul, where a strided convolution would be slower."""

    patch: int
    width: int

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """[images, rows, columns, channels] to [images, patches, width]."""
        patch_BTE = rearrange(x_BHWC, "b (h p) (w q) c -> b (h w) (p q c)", p=self.patch, q=self.patch)
        x_BTD = nn.Dense(self.width, name="patches")(patch_BTE)
        position_1TD = self.param("position", nn.initializers.normal(0.02), (1, *x_BTD.shape[1:]))
        return x_BTD + position_1TD


class Attention(nn.Module):
    """Multi-head self-attention with separate query, key and value projections."""

    heads: int

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """[images, patches, width] to the same."""
        width = x_BTD.shape[-1]

        def project(name: str) -> jax.Array:
            y_BTD = nn.Dense(width, name=name)(x_BTD)
            return rearrange(y_BTD, "b t (n k) -> b n t k", n=self.heads)

        q_BNTK, k_BNTK, v_BNTK = project("query"), project("key"), project("value")
        scale = float((width // self.heads) ** -0.5)
        score_BNTT = jnp.einsum("bnqk,bntk->bnqt", q_BNTK * scale, k_BNTK)
        mixed_BNTK = jnp.einsum("bnqt,bntk->bnqk", jax.nn.softmax(score_BNTT), v_BNTK)
        return nn.Dense(width, name="out")(rearrange(mixed_BNTK, "b n t k -> b t (n k)"))


class Mlp(nn.Module):
    """Two-layer perceptron with a GELU."""

    hidden: int

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """[images, patches, width] to the same."""
        h_BTF = nn.gelu(nn.Dense(self.hidden, name="up")(x_BTD))
        return nn.Dense(x_BTD.shape[-1], name="down")(h_BTF)


class Block(nn.Module):
    """Pre-norm transformer block."""

    heads: int
    mlp_ratio: int

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """[images, patches, width] to the same."""
        hidden = self.mlp_ratio * x_BTD.shape[-1]
        x_BTD = x_BTD + Attention(self.heads, name="attention")(nn.LayerNorm(name="norm1")(x_BTD))
        return x_BTD + Mlp(hidden, name="mlp")(nn.LayerNorm(name="norm2")(x_BTD))


class Pool(nn.Module):
    """Final norm and mean over patches: the features a head sees."""

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """[images, patches, width] to [images, width]."""
        return jnp.mean(nn.LayerNorm(name="norm")(x_BTD), axis=1)


class ViT(nn.Module):
    """The stages, in order; any run of them can be applied alone."""

    num_classes: int
    patch: int = 7
    width: int = 64
    depth: int = 3
    heads: int = 4
    mlp_ratio: int = 4

    def setup(self) -> None:
        """Declares the submodules; their names are the stages' names."""
        self.embed = Embed(self.patch, self.width)
        self.block = [Block(self.heads, self.mlp_ratio) for _ in range(self.depth)]
        self.pool = Pool()
        self.head = nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.02))

    def stages(self) -> tuple[str, ...]:
        """Names of the stages, input first; a stage's parameters lie under its name."""
        return ("embed", *(f"block_{i}" for i in range(self.depth)), "pool", "head")

    def __call__(self, x: jax.Array, first: int = 0, last: int | None = None, train: bool = False) -> jax.Array:
        """Applies stages `first` to `last`: all of them take [B, H, W, C] to logits [B, L].

        Args:
          x: output of stage `first - 1`, or images [B, H, W, C] in [-1, 1].
          first: index of the first stage to apply.
          last: index after the last one, or None for all.
          train: whether this is a training step; this model behaves alike in both.

        Returns:
          Output of stage `last - 1`.
        """
        del train
        run: tuple[Callable[[jax.Array], jax.Array], ...] = (self.embed, *self.block, self.pool, self.head)
        for stage in run[first:last]:
            x = stage(x)
        return x

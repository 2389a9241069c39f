"""Vision transformer (Dosovitskiy et al., 2021), pre-norm, learned positions, with or without a class token.

Shape suffixes: B images, H rows, W columns, C channels, T patches and class token, E numbers in a patch, D width,
L labels.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, repeat

from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.models import stack, transformer
from tlx.models.inputs import IMAGE, IMAGE_FIELDS, check_images, check_input, prepared
from tlx.models.transformer import Attention, Mlp

FIELDS = {
    "patch": Field(7, "side of a square patch, in pixels", low=1, high=64),
    "width": Field(64, "width of the residual stream", low=1, high=8192),
    "depth": Field(3, "number of transformer blocks", low=1, high=128),
    "heads": Field(4, "attention heads; must divide the width", low=1, high=128),
    "mlp_ratio": Field(4, "hidden width of the MLP over the width", low=1, high=16),
    "hidden": Field(
        0, "hidden width of the MLP, where it is no multiple of the width; 0 for the ratio", low=0, high=65536
    ),
    "pool": Field(
        "mean",
        "what the head reads. mean: the mean over patches; class: a class token in front of them; patches: the mean "
        "over patches, past a class token",
        choices=("mean", "class", "patches"),
    ),
    "final_norm": Field("before", "whether the last norm comes before a mean or after it", choices=("before", "after")),
    "gelu_exact": Field(False, "the GELU by the error function, not by its approximation with tanh"),
    "epsilon": Field(1e-6, "added to the variance by every norm", low=0.0, high=1e-3),
    "dropout": Field(0.0, "dropout rate in training", low=0.0, high=0.9),
    **IMAGE_FIELDS,
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
    check_patches(settings, input_shape)


def check_patches(settings: dict[str, Any], input_shape: tuple[int, ...]) -> None:
    """Whether patches tile the images, as these are after resizing.

    Raises:
      ConfigError: they do not, or the images' settings do not fit.
    """
    rows, columns, _ = check_images(settings, input_shape)
    if rows % settings["patch"] or columns % settings["patch"]:
        raise ConfigError("patch", f"patches of {settings['patch']} pixels do not tile images of {rows}×{columns}")


def targets(settings: dict[str, Any]) -> dict[str, str]:
    """Roles that modules play: patterns over module paths."""
    del settings
    return {**transformer.TARGETS, "tokens": "embed"}


def class_tokens(settings: dict[str, Any]) -> int:
    """How many tokens lead the patches."""
    return int(settings.get("pool", "mean") != "mean")


def layer_norm(epsilon: float, name: str) -> nn.LayerNorm:
    """A norm over the width."""
    # The fast variance, E[x²] - E[x]², is off by more than an epsilon such as Hugging Face's 1e-12.
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=epsilon >= 1e-6, name=name)


class Embed(nn.Module):
    """Cuts an image into patches and projects them; a matmul, where a strided convolution would be slower."""

    patch: int
    width: int
    dropout: float = 0.0
    has_class: bool = False
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    resize: int = 0

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, train: bool = False) -> jax.Array:
        """[images, rows, columns, channels] to [images, tokens, width]."""
        x_BHWC = prepared(x_BHWC, self.mean, self.std, self.resize)
        patch_BTE = rearrange(x_BHWC, "b (h p) (w q) c -> b (h w) (p q c)", p=self.patch, q=self.patch)
        x_BTD = nn.Dense(self.width, name="patches")(patch_BTE)
        if self.has_class:
            cls_11D = self.param("cls", nn.initializers.zeros, (1, 1, self.width))
            cls_B1D = repeat(cls_11D.astype(x_BTD.dtype), "1 1 d -> b 1 d", b=len(x_BTD))
            x_BTD = jnp.concatenate([cls_B1D, x_BTD], axis=1)
        position_1TD = self.param("position", nn.initializers.normal(0.02), (1, *x_BTD.shape[1:]))
        return nn.Dropout(self.dropout, name="dropout")(x_BTD + position_1TD, deterministic=not train)


class Block(nn.Module):
    """Pre-norm transformer block.

    Args:
      hidden: of the MLP, 0 for `mlp_ratio` times the width.
      The rest: see `FIELDS`.
    """

    heads: int
    mlp_ratio: int
    dropout: float = 0.0
    hidden: int = 0
    gelu_exact: bool = False
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x_BTD: jax.Array, train: bool = False, queries: int | None = None) -> jax.Array:
        """[images, tokens, width] to the same, or to as many leading tokens as `queries` says."""
        attention = Attention(self.heads, self.dropout, queries=queries or 0, name="attention")
        mixed_BTD = attention(layer_norm(self.epsilon, "norm1")(x_BTD), None, train=train)
        x_BTD = x_BTD[:, : mixed_BTD.shape[1]] + mixed_BTD
        hidden = self.hidden or self.mlp_ratio * x_BTD.shape[-1]
        mlp = Mlp(hidden, self.gelu_exact, self.dropout, name="mlp")
        return x_BTD + mlp(layer_norm(self.epsilon, "norm2")(x_BTD), train=train)


class Pool(nn.Module):
    """Final norm and pooling: the features a head sees."""

    pool: str = "mean"
    final_norm: str = "before"
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """[images, tokens, width] to [images, width]."""
        norm = layer_norm(self.epsilon, "norm")
        if self.pool == "class":
            # A norm is of each token alone, so the others need none.
            return norm(x_BTD[:, 0])
        x_BTD = x_BTD[:, 1:] if self.pool == "patches" else x_BTD
        if self.final_norm == "after":
            return norm(jnp.mean(x_BTD, axis=1))
        return jnp.mean(norm(x_BTD), axis=1)


class ViT(nn.Module):
    """The stages, in order; any run of them can be applied alone.

    Args:
      num_classes: outputs of the head.
      dropout: rate, where BERT has it: after the embedding, on the attention weights and after each sublayer.
      The rest: see `FIELDS`.

    Source: Dosovitskiy et al. (2021), section 3.1; the mean over patches is that of Zhai et al. (2022), section 3.5.
      With `pool` class, `gelu_exact` and an `epsilon` of 1e-12 the arithmetic is that of Hugging Face's
      `ViTForImageClassification`; with 1e-6 and `final_norm` after, if it takes a mean, that of timm's
      `VisionTransformer`.
    """

    num_classes: int
    patch: int = 7
    width: int = 64
    depth: int = 3
    heads: int = 4
    mlp_ratio: int = 4
    hidden: int = 0
    pool: str = "mean"
    final_norm: str = "before"
    gelu_exact: bool = False
    epsilon: float = 1e-6
    dropout: float = 0.0
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    resize: int = 0
    remat: bool = False
    scan: bool = False

    def setup(self) -> None:
        """Declares the submodules; their names are the stages' names."""
        has_class = self.pool != "mean"
        images = (self.mean, self.std, self.resize)
        self.embed = Embed(self.patch, self.width, self.dropout, has_class, *images)
        if self.scan:
            self.blocks = self._block()
        else:
            self.block = [self._block() for _ in range(self.depth)]
        # The field has the name that the stage needs.
        self.pooling = Pool(self.pool, self.final_norm, self.epsilon, name="pool")
        self.head = nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.02))

    def _block(self) -> Block:
        return Block(self.heads, self.mlp_ratio, self.dropout, self.hidden, self.gelu_exact, self.epsilon)

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
            queries = stack.queries(self.depth + 1, first, last, reads_first=self.pool == "class")
            blocks = stack.unrolled(self.block, train, self.remat, queries=queries)
        run: list[stack.Stage] = [partial(self.embed, train=train), *blocks, self.pooling, self.head]
        for stage in run[first:last]:
            x = stage(x)
        return x

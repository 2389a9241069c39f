"""CLIP's image tower (Radford et al., 2021): a pre-norm vision transformer and a projection, with a head on top.

Shape suffixes: B images, H rows, W columns, C channels, T patches and class token, E numbers in a patch, D width,
L labels.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, repeat

from tlx.fields import Field
from tlx.models import clip, stack, transformer, vit
from tlx.models.inputs import IMAGE, IMAGE_FIELDS, check_input, prepared

FIELDS = {
    "patch": Field(32, "side of a square patch, in pixels", low=1, high=64),
    "width": Field(768, "width of the residual stream", low=1, high=8192),
    "heads": Field(12, "attention heads; must divide the width", low=1, high=128),
    "hidden": Field(3072, "hidden width of the MLP", low=1, high=65536),
    **clip.FIELDS,
    **IMAGE_FIELDS,
}


def check(settings: dict[str, Any], input_shape: tuple[int, ...]) -> None:
    """Settings that do not fit one another or the images.

    Args:
      settings: a value for each field.
      input_shape: [rows, columns, channels] of an image.

    Raises:
      ConfigError: with the field's own name, to be prefixed by the caller.
    """
    check_input("clip_vision", IMAGE, input_shape)
    transformer.check_heads(settings)
    vit.check_patches(settings, input_shape)


class Embed(nn.Module):
    """Patches and a class token with their positions, and a norm of all of them."""

    patch: int
    width: int
    epsilon: float
    dropout: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, train: bool = False) -> jax.Array:
        """[images, rows, columns, channels] to [images, tokens, width]."""
        x_BHWC = prepared(x_BHWC, self.mean, self.std, self.resize)
        patch_BTE = rearrange(x_BHWC, "b (h p) (w q) c -> b (h w) (p q c)", p=self.patch, q=self.patch)
        x_BTD = nn.Dense(self.width, use_bias=False, name="patches")(patch_BTE)
        cls_11D = self.param("cls", clip.class_token(self.width), (1, 1, self.width))
        cls_B1D = repeat(cls_11D.astype(x_BTD.dtype), "1 1 d -> b 1 d", b=len(x_BTD))
        x_BTD = jnp.concatenate([cls_B1D, x_BTD], axis=1)
        position_1TD = self.param("position", clip.INIT, (1, *x_BTD.shape[1:]))
        x_BTD = clip.layer_norm(self.epsilon, "norm")(x_BTD + position_1TD)
        return nn.Dropout(self.dropout, name="dropout")(x_BTD, deterministic=not train)


class Pool(nn.Module):
    """The class token's norm and projection: the features a head sees."""

    projection: int
    normalise: bool
    epsilon: float

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """[images, tokens, width] to [images, width of the projection]."""
        return clip.features(x_BTD[:, 0], self.epsilon, self.projection, self.normalise)


class ClipVision(nn.Module):
    """The stages, in order; any run of them can be applied alone.

    Args:
      num_classes: outputs of the head.
      dropout: rate, after the embedding, on the attention weights and after each sublayer.
      The rest: see `FIELDS`.

    Source: Radford et al. (2021), section 2.4; the arithmetic is that of Hugging Face's
      `CLIPVisionModelWithProjection`, whose features are not normalised.
    """

    num_classes: int
    patch: int = 32
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    projection: int = 512
    activation: str = "quick_gelu"
    epsilon: float = 1e-5
    normalise: bool = True
    dropout: float = 0.0
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    resize: int = 0
    remat: bool = False
    scan: bool = False

    def setup(self) -> None:
        """Declares the submodules; their names are the stages' names."""
        images = (self.mean, self.std, self.resize)
        self.embed = Embed(self.patch, self.width, self.epsilon, self.dropout, *images)
        if self.scan:
            self.blocks = self._block()
        else:
            self.block = [self._block() for _ in range(self.depth)]
        self.pool = Pool(self.projection, self.normalise, self.epsilon)
        self.head = nn.Dense(self.num_classes, kernel_init=clip.INIT)

    def _block(self) -> clip.Block:
        return clip.Block(self.heads, self.hidden, self.activation, self.epsilon, self.dropout)

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
            queries = stack.queries(self.depth + 1, first, last, reads_first=True)
            blocks = stack.unrolled(self.block, train, self.remat, queries=queries)
        run: list[stack.Stage] = [partial(self.embed, train=train), *blocks, self.pool, self.head]
        for stage in run[first:last]:
            x = stage(x)
        return x

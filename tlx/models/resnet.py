"""Residual network (He et al., 2015) with batch norm, in the layout known as v1.5 or in the first one.

Shape suffixes: B images, H rows, W columns, C channels, L labels.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.fields import Field
from tlx.models import stack
from tlx.models.conv import conv, max_pool
from tlx.models.inputs import IMAGE, IMAGE_FIELDS, check_images, check_input, prepared

FIELDS = {
    "depths": Field((2, 2, 2, 2), "blocks at each resolution; each halves the one before and doubles the channels"),
    "width": Field(64, "channels at the first resolution", low=1, high=2048),
    "bottleneck": Field(False, "blocks of 1x1, 3x3 and 1x1 convolutions with four times the channels at their ends"),
    "stem": Field("imagenet", "imagenet: 7x7 and pooling, both by 2; small: 3x3 by 1", choices=("imagenet", "small")),
    "halve_first": Field(False, "whether a bottleneck halves the resolution in its first 1x1 convolution, as in v1"),
    **IMAGE_FIELDS,
    "remat": stack.FIELDS["remat"],
}

# Not the field's `each`, which refuses items that stand there twice.
BLOCKS = Field(2, "number of blocks", low=1, high=64)

INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def check(settings: dict[str, Any], input_shape: tuple[int, ...]) -> None:
    """Settings that do not fit the inputs; images of any size do.

    Args:
      settings: a value for each field.
      input_shape: [rows, columns, channels] of an image.

    Raises:
      ConfigError: with the field's own name, to be prefixed by the caller.
    """
    check_input("resnet", IMAGE, input_shape)
    check_images(settings, input_shape)
    for i, depth in enumerate(settings["depths"]):
        BLOCKS.check(f"depths[{i}]", depth)


def targets(settings: dict[str, Any]) -> dict[str, str]:
    """Roles that modules play: patterns over module paths."""
    last = 3 if settings["bottleneck"] else 2
    return {
        "low_rank": r"block_\d+/(conv\d|shortcut)",
        "scaled_outputs": rf"block_\d+/conv[1-{last - 1}]",
        "scaled_inputs": rf"block_\d+/conv{last}",
        "mlp": rf"block_\d+/norm{last}",
        "blocks": r"block_\d+",
    }


def _conv(features: int, side: int, stride: int, name: str) -> nn.Conv:
    # "SAME" pads the far side more than the near one where the stride is 2; this is the same on both.
    margin = (side - 1) // 2
    padding = ((margin, margin), (margin, margin))
    return conv(features, side, stride, padding, name=name, kernel_init=INIT)


def _norm(name: str) -> nn.BatchNorm:
    return nn.BatchNorm(momentum=0.9, epsilon=1e-5, name=name)


class Stem(nn.Module):
    """The first convolution."""

    width: int
    kind: str
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    resize: int = 0

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, train: bool = False) -> jax.Array:
        """[images, rows, columns, channels] to `width` channels; a quarter of rows and columns unless small."""
        x_BHWC = prepared(x_BHWC, self.mean, self.std, self.resize)
        side, stride = (7, 2) if self.kind == "imagenet" else (3, 1)
        x_BHWC = _conv(self.width, side, stride, "conv1")(x_BHWC)
        x_BHWC = nn.relu(_norm("norm1")(x_BHWC, use_running_average=not train))
        if self.kind == "imagenet":
            x_BHWC = max_pool(x_BHWC, 3, 2, margin=1)
        return x_BHWC


class Block(nn.Module):
    """A residual block.

    Args:
      features: channels inside.
      stride: of the 3x3 convolution that halves the resolution, 1 or 2.
      bottleneck: 1x1, 3x3, 1x1 and four times the channels at the end, or two 3x3.
      halve_first: whether the first 1x1 of a bottleneck halves the resolution in its place.
    """

    features: int
    stride: int
    bottleneck: bool
    halve_first: bool = False

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, train: bool = False) -> jax.Array:
        """[images, rows, columns, channels] to rows and columns over `stride`."""
        if self.bottleneck:
            first, second = (self.stride, 1) if self.halve_first else (1, self.stride)
            convolutions = [(1, first, self.features), (3, second, self.features), (1, 1, 4 * self.features)]
        else:
            convolutions = [(3, self.stride, self.features), (3, 1, self.features)]
        y_BHWC = x_BHWC
        for i, (side, stride, features) in enumerate(convolutions, 1):
            y_BHWC = nn.relu(y_BHWC) if i > 1 else y_BHWC
            y_BHWC = _conv(features, side, stride, f"conv{i}")(y_BHWC)
            y_BHWC = _norm(f"norm{i}")(y_BHWC, use_running_average=not train)
        if x_BHWC.shape != y_BHWC.shape:
            x_BHWC = _conv(y_BHWC.shape[-1], 1, self.stride, "shortcut")(x_BHWC)
            x_BHWC = _norm("shortcut_norm")(x_BHWC, use_running_average=not train)
        return nn.relu(x_BHWC + y_BHWC)


class Pool(nn.Module):
    """Mean over rows and columns: the features a head sees."""

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """[images, rows, columns, channels] to [images, channels]."""
        return jnp.mean(x_BHWC, axis=(1, 2))


class ResNet(nn.Module):
    """The stages, in order; any run of them can be applied alone.

    Args:
      num_classes: outputs of the head.
      The rest: see `FIELDS`.

    Source: He et al. (2015), table 1, with the stride of a bottleneck on its 3x3 convolution, as in torchvision, or,
      under `halve_first`, on the first 1x1, as in the paper. Padding, the norms' 0.9 and 1e-5 and the initial kernels
      are torchvision's as well; the running variance is the batch's own, where PyTorch multiplies it by n / (n - 1).
    """

    num_classes: int
    depths: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64
    bottleneck: bool = False
    stem: str = "imagenet"
    halve_first: bool = False
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    resize: int = 0
    remat: bool = False

    def setup(self) -> None:
        """Declares the submodules; their names are the stages' names."""
        # `stem` is a setting, so the module needs a name of its own.
        self.stem_module = Stem(self.width, self.stem, self.mean, self.std, self.resize, name="stem")
        self.block = [
            Block(self.width * 2**level, 2 if level and not i else 1, self.bottleneck, self.halve_first)
            for level, depth in enumerate(self.depths)
            for i in range(depth)
        ]
        self.pool = Pool()
        self.head = nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.02))

    def stages(self) -> tuple[str, ...]:
        """Names of the stages, input first; a stage's leaves lie under its name."""
        return ("stem", *stack.names(sum(self.depths), scan=False), "pool", "head")

    def __call__(self, x: jax.Array, first: int = 0, last: int | None = None, train: bool = False) -> jax.Array:
        """Applies stages `first` to `last`: all of them take [B, H, W, C] to logits [B, L].

        Args:
          x: output of stage `first - 1`, or images [B, H, W, C] in [-1, 1].
          first: index of the first stage to apply.
          last: index after the last one, or None for all.
          train: whether to normalise by the batch, and to update the running statistics, or to use these.

        Returns:
          Output of stage `last - 1`.
        """
        blocks = stack.unrolled(self.block, train, self.remat)
        run: list[stack.Stage] = [partial(self.stem_module, train=train), *blocks, self.pool, self.head]
        for stage in run[first:last]:
            x = stage(x)
        return x

"""EfficientNet-Lite (Tan and Le, 2019; the Lite variants of 2020): inverted residuals of depthwise convolutions, ReLU6.

Shape suffixes: B images, H rows, W columns, C channels, L labels.
"""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.models import stack
from tlx.models.conv import conv
from tlx.models.inputs import IMAGE, IMAGE_FIELDS, check_images, check_input, prepared

# Of each level: side of the depthwise kernels, stride of its first block, and Lite0's channels and blocks.
SIDES, STRIDES = (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 2, 1, 2, 1)
WIDTHS, DEPTHS = (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)
# Factors on channels and blocks, and the side in pixels of the images that a variant was trained on.
VARIANTS = {
    "lite0": (1.0, 1.0, 224),
    "lite1": (1.0, 1.1, 240),
    "lite2": (1.1, 1.2, 260),
    "lite3": (1.2, 1.4, 280),
    "lite4": (1.4, 1.8, 300),
}
EXPAND = 6

FIELDS = {
    "variant": Field("lite0", "published number of blocks and channels", choices=tuple(VARIANTS)),
    "depths": Field((), "blocks at each level, up to seven; empty for the variant's own", may_be_empty=True),
    "widths": Field((), "channels at each level, as many; empty for the variant's own", may_be_empty=True),
    "stem": Field(32, "channels of the first convolution", low=1, high=2048),
    "features": Field(1280, "channels that the head sees", low=1, high=8192),
    "dropout": Field(
        0.2, "dropout rate before the head in training; published: 0.2, from lite2 on 0.3", low=0, high=0.9
    ),
    "momentum": Field(
        0.99,
        "share of the running statistics that a step keeps; published: 0.99, for long training",
        low=0,
        high=0.9999,
    ),
    "drop_connect": Field(
        0.0, "rate at which the last block is skipped in training, those below it less; published: 0.2", low=0, high=0.9
    ),
    **IMAGE_FIELDS,
    "remat": stack.FIELDS["remat"],
}

_BLOCKS = Field(1, "number of blocks", low=1, high=64)
_CHANNELS = Field(16, "number of channels", low=1, high=8192)

INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def levels(settings: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Blocks and channels at each level.

    Args:
      settings: `variant`, `depths`, `widths`.

    Returns:
      Depths and widths.

    Source: Tan and Le (2019), equation 3, with the rounding of their code: blocks up, channels to the nearest multiple
      of 8 unless that takes more than a tenth away. The Lite variants scale neither the first and last level's
      blocks nor the channels before and after all levels.
    """
    wide, deep, _ = VARIANTS[settings["variant"]]
    last = len(DEPTHS) - 1
    depths = tuple(depth if i in (0, last) else math.ceil(depth * deep) for i, depth in enumerate(DEPTHS))
    return settings["depths"] or depths, settings["widths"] or tuple(_rounded(width * wide) for width in WIDTHS)


def _rounded(channels: float) -> int:
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def check(settings: dict[str, Any], input_shape: tuple[int, ...]) -> None:
    """Settings that do not fit one another or the inputs; images of any size do.

    Args:
      settings: a value for each field.
      input_shape: [rows, columns, channels] of an image.

    Raises:
      ConfigError: with the field's own name, to be prefixed by the caller.
    """
    check_input("efficientnet", IMAGE, input_shape)
    check_images(settings, input_shape)
    for name, rule in (("depths", _BLOCKS), ("widths", _CHANNELS)):
        for i, value in enumerate(settings[name]):
            rule.check(f"{name}[{i}]", value)
    depths, widths = levels(settings)
    if len(depths) != len(widths) or len(depths) > len(SIDES):
        reason = f"expected as many levels as there are widths, {len(widths)}, and at most {len(SIDES)}"
        raise ConfigError("depths", f"{reason}, got {len(depths)}")


def targets(settings: dict[str, Any]) -> dict[str, str]:
    """Roles that modules play: patterns over module paths."""
    return {
        "low_rank": r"block_\d+/(expand|project)",
        "scaled_outputs": r"block_\d+/depthwise",
        "scaled_inputs": r"block_\d+/project",
        "mlp": r"block_\d+/project_norm",
        "blocks": r"block_\d+",
    }


def _conv(features: int, name: str, side: int = 1, stride: int = 1) -> nn.Conv:
    return conv(features, side, stride, "SAME", name=name, kernel_init=INIT)


def _norm(name: str, momentum: float) -> nn.BatchNorm:
    return nn.BatchNorm(momentum=momentum, epsilon=1e-3, name=name)


class Stem(nn.Module):
    """The first convolution: 3x3 by 2."""

    width: int
    momentum: float = 0.99
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    resize: int = 0

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, train: bool = False) -> jax.Array:
        """[images, rows, columns, channels] to `width` channels and half the rows and columns."""
        x_BHWC = prepared(x_BHWC, self.mean, self.std, self.resize)
        x_BHWC = _conv(self.width, "conv", 3, 2)(x_BHWC)
        return nn.relu6(_norm("norm", self.momentum)(x_BHWC, use_running_average=not train))


class Block(nn.Module):
    """An inverted residual: more channels by a 1x1 convolution, a depthwise one, fewer channels by another 1x1.

    Args:
      features: channels that leave it.
      side: of the depthwise kernel.
      stride: of the depthwise convolution.
      expand: factor on the channels that enter it; 1 leaves the first convolution out.
      drop: rate at which the branch is left out in training, image by image.
      momentum: of the norms' running statistics.

    Source: Sandler et al. (2018), figure 4d; the last convolution is linear. No squeeze-and-excitation.
    """

    features: int
    side: int
    stride: int
    expand: int
    drop: float = 0.0
    momentum: float = 0.99

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, train: bool = False) -> jax.Array:
        """[images, rows, columns, channels] to rows and columns over `stride`."""
        y_BHWC, wide = x_BHWC, self.expand * x_BHWC.shape[-1]
        if self.expand > 1:
            y_BHWC = _conv(wide, "expand")(y_BHWC)
            y_BHWC = nn.relu6(_norm("expand_norm", self.momentum)(y_BHWC, use_running_average=not train))
        # Each of its kernels feeds as many numbers as it has.
        init = nn.initializers.normal(math.sqrt(2.0) / self.side)
        depthwise = conv(wide, self.side, self.stride, "SAME", groups=wide, name="depthwise", kernel_init=init)
        y_BHWC = nn.relu6(_norm("depthwise_norm", self.momentum)(depthwise(y_BHWC), use_running_average=not train))
        y_BHWC = _norm("project_norm", self.momentum)(
            _conv(self.features, "project")(y_BHWC), use_running_average=not train
        )
        if x_BHWC.shape != y_BHWC.shape:
            return y_BHWC
        drop = nn.Dropout(self.drop, broadcast_dims=(1, 2, 3), name="drop_connect")
        return x_BHWC + drop(y_BHWC, deterministic=not train)


class Pool(nn.Module):
    """The last convolution and the mean over rows and columns: the features a head sees.

    Args:
      features: channels.
      dropout: rate, on what leaves it.
      momentum: of the norm's running statistics.
    """

    features: int
    dropout: float
    momentum: float = 0.99

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, train: bool = False) -> jax.Array:
        """[images, rows, columns, channels] to [images, `features`]."""
        x_BHWC = _conv(self.features, "conv")(x_BHWC)
        x_BHWC = nn.relu6(_norm("norm", self.momentum)(x_BHWC, use_running_average=not train))
        return nn.Dropout(self.dropout, name="dropout")(jnp.mean(x_BHWC, axis=(1, 2)), deterministic=not train)


class EfficientNet(nn.Module):
    """The stages, in order; any run of them can be applied alone.

    Args:
      num_classes: outputs of the head.
      The rest: see `FIELDS`.

    Source: Tan and Le (2019), table 1, with the changes of the Lite variants: ReLU6 for swish, no squeeze-and-
      excitation, a first convolution and features of fixed width. Padding and the norms' 0.99 and 1e-3 are those of
      TensorFlow. The rate of drop connect rises linearly from 0 in the first block, as in Huang et al. (2016), to
      one block's step short of `drop_connect`, as in their code. The running variance is the batch's own, where
      PyTorch multiplies it by n / (n - 1).
    """

    num_classes: int
    variant: str = "lite0"
    depths: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()
    stem: int = 32
    features: int = 1280
    dropout: float = 0.2
    momentum: float = 0.99
    drop_connect: float = 0.0
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    resize: int = 0
    remat: bool = False

    def setup(self) -> None:
        """Declares the submodules; their names are the stages' names."""
        # `stem` is a setting, so the module needs a name of its own.
        self.stem_module = Stem(self.stem, self.momentum, self.mean, self.std, self.resize, name="stem")
        depths, widths = self._levels()
        plan = [
            (level, width, STRIDES[level] if i == 0 else 1)
            for level, (depth, width) in enumerate(zip(depths, widths, strict=False))
            for i in range(depth)
        ]
        self.block = [
            Block(width, SIDES[level], stride, EXPAND if level else 1, self.drop_connect * i / len(plan), self.momentum)
            for i, (level, width, stride) in enumerate(plan)
        ]
        self.pool = Pool(self.features, self.dropout, self.momentum)
        self.head = nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.02))

    def _levels(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return levels({"variant": self.variant, "depths": self.depths, "widths": self.widths})

    def stages(self) -> tuple[str, ...]:
        """Names of the stages, input first; a stage's leaves lie under its name."""
        return ("stem", *stack.names(sum(self._levels()[0]), scan=False), "pool", "head")

    def __call__(self, x: jax.Array, first: int = 0, last: int | None = None, train: bool = False) -> jax.Array:
        """Applies stages `first` to `last`: all of them take [B, H, W, C] to logits [B, L].

        Args:
          x: output of stage `first - 1`, or images [B, H, W, C] in [-1, 1].
          first: index of the first stage to apply.
          last: index after the last one, or None for all.
          train: whether to normalise by the batch, to update the running statistics and to drop; what is dropped is
            drawn from the collection `dropout`.

        Returns:
          Output of stage `last - 1`.
        """
        blocks = stack.unrolled(self.block, train, self.remat)
        stem, pool = partial(self.stem_module, train=train), partial(self.pool, train=train)
        run: list[stack.Stage] = [stem, *blocks, pool, self.head]
        for stage in run[first:last]:
            x = stage(x)
        return x

"""BiT's residual network (Kolesnikov et al., 2020): norms before convolutions, group norm, standardised kernels.

Shape suffixes: B images, H rows, W columns, C channels, L labels.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.models import stack
from tlx.models.conv import conv, convolve, max_pool, widened
from tlx.models.inputs import IMAGE, IMAGE_FIELDS, check_images, check_input, prepared

FIELDS = {
    "depths": Field((3, 4, 6, 3), "blocks at each resolution; each halves the one before and doubles the channels"),
    "width": Field(64, "channels of the first convolution; blocks begin with four times as many", low=1, high=2048),
    "groups": Field(32, "groups of channels that a norm takes together; must divide the width", low=1, high=1024),
    **IMAGE_FIELDS,
    "remat": stack.FIELDS["remat"],
}

BLOCKS = Field(3, "number of blocks", low=1, high=64)

INIT = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def check(settings: dict[str, Any], input_shape: tuple[int, ...]) -> None:
    """Settings that do not fit one another or the inputs; images of any size do.

    Args:
      settings: a value for each field.
      input_shape: [rows, columns, channels] of an image.

    Raises:
      ConfigError: with the field's own name, to be prefixed by the caller.
    """
    check_input("bit", IMAGE, input_shape)
    check_images(settings, input_shape)
    for i, depth in enumerate(settings["depths"]):
        BLOCKS.check(f"depths[{i}]", depth)
    if settings["width"] % settings["groups"]:
        raise ConfigError("groups", f"{settings['groups']} groups do not divide the width {settings['width']}")


def targets(settings: dict[str, Any]) -> dict[str, str]:
    """Roles that modules play: patterns over module paths."""
    return {
        "low_rank": r"block_\d+/(conv\d|shortcut)",
        "scaled_outputs": r"block_\d+/conv[12]",
        "scaled_inputs": r"block_\d+/conv3",
        "mlp": r"block_\d+/conv3",
        "blocks": r"block_\d+",
    }


def standardised(kernel: jax.Array) -> jax.Array:
    """A kernel [rows, columns, in, out] of mean 0 and variance 1 over what feeds each output.

    Source: Qiao et al. (2019), equations 2 and 3, with 1e-10 added to the variance, as in BiT's code.
    """
    axes = tuple(range(kernel.ndim - 1))
    wide = widened(kernel)
    mean, variance = (moment(wide, axis=axes, keepdims=True) for moment in (jnp.mean, jnp.var))
    return ((wide - mean) * jax.lax.rsqrt(variance + 1e-10)).astype(kernel.dtype)


def convolve_standardised(lhs: jax.Array, rhs: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
    """`conv.convolve` with the kernel standardised."""
    return convolve(lhs, standardised(rhs), *args, **kwargs)


def _conv(features: int, side: int, stride: int, name: str) -> nn.Conv:
    margin = (side - 1) // 2
    padding = ((margin, margin), (margin, margin))
    return conv(features, side, stride, padding, name=name, kernel_init=INIT, form=convolve_standardised)


def _norm(groups: int, name: str) -> nn.GroupNorm:
    return nn.GroupNorm(groups, epsilon=1e-5, use_fast_variance=False, name=name)


class Stem(nn.Module):
    """The first convolution and pooling, both by 2."""

    width: int
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    resize: int = 0

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """[images, rows, columns, channels] to `width` channels and a quarter of the rows and columns."""
        x_BHWC = prepared(x_BHWC, self.mean, self.std, self.resize)
        x_BHWC = _conv(self.width, 7, 2, "conv1")(x_BHWC)
        # The margin is of zeros, not of minus infinity, and no norm or ReLU has made all else positive.
        return max_pool(jnp.pad(x_BHWC, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, 2, margin=0)


class Block(nn.Module):
    """A residual block of 1x1, 3x3 and 1x1 convolutions, each after a norm and a ReLU.

    Args:
      features: channels inside; four times as many leave it.
      stride: of the 3x3 convolution, 1 or 2.
      groups: of the norms.
    """

    features: int
    stride: int
    groups: int

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, train: bool = False) -> jax.Array:
        """[images, rows, columns, channels] to rows and columns over `stride`; training changes nothing."""
        y_BHWC = nn.relu(_norm(self.groups, "norm1")(x_BHWC))
        if self.stride > 1 or x_BHWC.shape[-1] != 4 * self.features:
            x_BHWC = _conv(4 * self.features, 1, self.stride, "shortcut")(y_BHWC)
        y_BHWC = _conv(self.features, 1, 1, "conv1")(y_BHWC)
        y_BHWC = nn.relu(_norm(self.groups, "norm2")(y_BHWC))
        y_BHWC = _conv(self.features, 3, self.stride, "conv2")(y_BHWC)
        y_BHWC = nn.relu(_norm(self.groups, "norm3")(y_BHWC))
        return x_BHWC + _conv(4 * self.features, 1, 1, "conv3")(y_BHWC)


class Pool(nn.Module):
    """The last norm, ReLU and the mean over rows and columns: the features a head sees."""

    groups: int

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """[images, rows, columns, channels] to [images, channels]."""
        return jnp.mean(nn.relu(_norm(self.groups, "norm")(x_BHWC)), axis=(1, 2))


class BiT(nn.Module):
    """The stages, in order; any run of them can be applied alone.

    Args:
      num_classes: outputs of the head.
      The rest: see `FIELDS`. BiT's R50x3 is a `width` of 192.

    Source: Kolesnikov et al. (2020), section 2: He et al. (2016), with the stride on the 3x3 convolution, group norm
      (Wu and He, 2018) and standardised kernels (Qiao et al., 2019). Padding is that of BiT's code. Its head is a 1x1
      convolution of the pooled features, which is a dense layer here, and starts at 0, where ours is drawn.
    """

    num_classes: int
    depths: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    groups: int = 32
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    resize: int = 0
    remat: bool = False

    def setup(self) -> None:
        """Declares the submodules; their names are the stages' names."""
        self.stem = Stem(self.width, self.mean, self.std, self.resize)
        self.block = [
            Block(self.width * 2**level, 2 if level and not i else 1, self.groups)
            for level, depth in enumerate(self.depths)
            for i in range(depth)
        ]
        self.pool = Pool(self.groups)
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
          train: changes nothing, as there is neither dropout nor a batch norm.

        Returns:
          Output of stage `last - 1`.
        """
        blocks = stack.unrolled(self.block, train, self.remat)
        run: list[stack.Stage] = [self.stem, *blocks, self.pool, self.head]
        for stage in run[first:last]:
            x = stage(x)
        return x

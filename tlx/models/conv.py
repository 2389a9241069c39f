"""Convolutions and maximum pooling that are fast on a CPU too, in a loop or out of it, and everywhere else XLA's own.

XLA runs a convolution on a CPU well where the image is large and nowhere else: a 3x3 kernel on 2x2 pixels takes 70
times as long as it should, a depthwise kernel 10 to 500 times, and any convolution inside `lax.scan` 40 times. Slices,
products and matmuls have none of these troubles, and a convolution is made of them, but for one that is large and
stands in no loop. Who traces a model inside of one says so, by `looped`.

Shape suffixes: B images, H rows, W columns, C channels, O channels of the output, G channels of all taps of a row,
P positions in all images.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import reduce
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax

Padding = str | Sequence[tuple[int, int]]

_AXES = ("NHWC", "HWIO", "NHWC")
# Patches of more bytes are made anew by the backward pass, for 10 to 15 % of the time, instead of being kept for it.
_KEPT = 2**25
# Rows or columns of an output, and numbers in a kernel, from which on XLA is the faster, outside of loops.
_LARGE, _MANY = 16, 2**12
# Part of what jax keeps compiled programs by.
_IN_LOOP = jax.make_user_context(False)
_ON_LARGE: ContextVar[Callable[[], None] | None] = ContextVar("on_large", default=None)


@contextmanager
def looped(is_loop: bool = True) -> Iterator[None]:
    """What is traced meanwhile stands in a loop, or under `vmap`, where XLA's convolutions are of no use on a CPU.

    Args:
      is_loop: False to change nothing.
    """
    with _IN_LOOP(is_loop or _IN_LOOP.value):
        yield


def is_better_unlooped(run: Callable[[], Any]) -> bool:
    """Whether something has convolutions that XLA is the faster at, if they stand in no loop.

    Args:
      run: calls it; nothing is computed.
    """
    found = []
    token = _ON_LARGE.set(lambda: found.append(True))
    try:
        jax.eval_shape(run)
    finally:
        _ON_LARGE.reset(token)
    return bool(found)


def conv(
    features: int,
    side: int,
    stride: int,
    padding: Padding,
    *,
    name: str,
    kernel_init: nn.initializers.Initializer,
    groups: int = 1,
    form: Callable[..., jax.Array] | None = None,
) -> nn.Conv:
    """A square convolution without a bias.

    Args:
      features: channels of its output.
      side: of the kernel, in pixels.
      stride: in rows and in columns.
      padding: `SAME` as TensorFlow understands it, or zeros before and after the rows and the columns.
      name: of the module.
      kernel_init: of its kernel [side, side, channels / groups, features].
      groups: into which channels and features are parted; as many as channels make it depthwise.
      form: what convolves, called as `convolve` is; None for `convolve`.

    Returns:
      A `nn.Conv`, so that methods which adapt convolutions find it.
    """
    return nn.Conv(
        features,
        (side, side),
        strides=stride,
        padding=padding,
        feature_group_count=groups,
        use_bias=False,
        kernel_init=kernel_init,
        conv_general_dilated=form or convolve,
        name=name,
    )


def convolve(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: Padding,
    *,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> jax.Array:
    """What `lax.conv_general_dilated` computes, in the form that is fastest for these shapes on this machine.

    On a CPU, 1x1 kernels are matmuls, depthwise ones sums of shifted products, and others matmuls of patches. Large
    ones that stand in no loop are left to XLA, with kernels in other groups, dilated ones and those of one or three
    dimensions, and so is everything on an accelerator. Numbers of fewer than 32 bits are multiplied and summed in
    float32.

    Args:
      lhs: images, [B, H, W, C] for the fast forms.
      rhs: kernel, [rows, columns, C / groups, O] for them.
      window_strides: in rows and columns.
      padding: as for `lax.conv_general_dilated`.
      lhs_dilation: of the images.
      rhs_dilation: of the kernel.
      dimension_numbers: order of the axes.
      feature_group_count: groups.
      precision: of the matmuls.

    Returns:
      [B, rows, columns, O].
    """
    depthwise = feature_group_count == lhs.shape[-1] == rhs.shape[-1] > 1
    dilated = any(one != 1 for one in (*(lhs_dilation or ()), *(rhs_dilation or ())))
    ours = _in_our_order(lhs, rhs, dimension_numbers) and not dilated and (depthwise or feature_group_count == 1)
    if not ours or jax.default_backend() != "cpu":
        settings: dict[str, Any] = {"lhs_dilation": lhs_dilation, "rhs_dilation": rhs_dilation}
        settings |= {"dimension_numbers": dimension_numbers, "feature_group_count": feature_group_count}
        return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **settings, precision=precision)
    taps = _Taps(lhs.shape, rhs.shape[:2], window_strides, padding)
    if min(taps.counts) < 1 or not taps.rows or not taps.columns:
        return jnp.zeros((len(lhs), *(max(0, count) for count in taps.counts), rhs.shape[-1]), lhs.dtype)
    x_BHWC, kernel = widened(lhs), widened(rhs)
    if not depthwise and _is_large(taps, rhs.shape):
        form = {"dimension_numbers": dimension_numbers, "precision": precision}
        return lax.conv_general_dilated(x_BHWC, kernel, window_strides, padding, **form).astype(lhs.dtype)
    y_BHWO = _shifts(taps, x_BHWC, kernel) if depthwise else _patches(taps, x_BHWC, kernel, precision)
    return y_BHWO.astype(lhs.dtype)


def _is_large(taps: "_Taps", kernel: tuple[int, ...]) -> bool:
    """Whether XLA is the faster at a convolution, and may be given it."""
    is_large = kernel[:2] != (1, 1) and min(taps.counts) >= _LARGE and math.prod(kernel) >= _MANY
    if is_large and (note := _ON_LARGE.get()):
        note()
    return is_large and not _IN_LOOP.value


def widened(x: jax.Array) -> jax.Array:
    """In float32, unless it has that many bits already."""
    return x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)


def _in_our_order(lhs: jax.Array, rhs: jax.Array, dimension_numbers: Any) -> bool:
    if lhs.ndim != 4:
        return False
    ours, theirs = (lax.conv_dimension_numbers(lhs.shape, rhs.shape, axes) for axes in (_AXES, dimension_numbers))
    return ours == theirs


def _between(taps: Iterable[int]) -> range:
    """The first of some taps, the last and all between."""
    found = [*taps]
    return range(found[0], found[-1] + 1) if found else range(0)


class _Taps:
    """Which pixels each tap of a kernel meets: a slice of the padded images for each.

    Taps that meet margins alone are left out: of a 3x3 kernel on a single pixel only the middle one is left.

    Args:
      shape: of the images, [B, H, W, C].
      sides: of the kernel.
      strides: in rows and columns.
      padding: as for `convolve`.
    """

    def __init__(self, shape: tuple[int, ...], sides: tuple[int, ...], strides: Sequence[int], padding: Padding):
        margins = lax.padtype_to_pads(shape[1:3], sides, strides, padding) if isinstance(padding, str) else padding
        self.strides, self.margins = strides, margins
        self.counts = [
            (size + sum(margin) - side) // stride + 1
            for size, side, stride, margin in zip(shape[1:3], sides, strides, margins, strict=True)
        ]
        self.rows, self.columns = (
            _between(
                tap for tap in range(side) if any(0 <= out * stride + tap - margin[0] < size for out in range(count))
            )
            for size, side, stride, margin, count in zip(shape[1:3], sides, strides, margins, self.counts, strict=True)
        )

    def padded(self, x_BHWC: jax.Array, value: float = 0.0) -> jax.Array:
        """The images with their margins."""
        if not any(map(any, self.margins)):
            return x_BHWC
        return jnp.pad(x_BHWC, ((0, 0), *self.margins, (0, 0)), constant_values=value)

    def along(self, x: jax.Array, axis: int, tap: int) -> jax.Array:
        """What a tap meets along the rows, axis 1, or the columns, axis 2, of padded images."""
        count, stride = self.counts[axis - 1], self.strides[axis - 1]
        return lax.slice_in_dim(x, tap, tap + (count - 1) * stride + 1, stride, axis)


def _patches(taps: _Taps, x_BHWC: jax.Array, kernel: jax.Array, precision: Any) -> jax.Array:
    """A matmul for each row of the kernel, of what that row's taps meet side by side."""
    kernel = kernel[taps.rows.start : taps.rows.stop, taps.columns.start : taps.columns.stop]

    def sum_of_rows(x_BHWC: jax.Array, kernel: jax.Array) -> jax.Array:
        x_BHWC, row_HGO = taps.padded(x_BHWC), rearrange(kernel, "h w c o -> h (w c) o")
        x_BHWG = jnp.concatenate([taps.along(x_BHWC, 2, j) for j in taps.columns], axis=-1)
        # As plain matrices: XLA's gradients of the same product over four axes take up to three times as long.
        met = (rearrange(taps.along(x_BHWG, 1, i), "b h w g -> (b h w) g") for i in taps.rows)
        products = (jnp.matmul(x_PG, row_GO, precision=precision) for x_PG, row_GO in zip(met, row_HGO, strict=True))
        rows, columns = taps.counts
        return rearrange(reduce(jnp.add, products), "(b h w) o -> b h w o", h=rows, w=columns)

    size = len(x_BHWC) * math.prod(taps.counts) * math.prod(kernel.shape[:3]) * x_BHWC.dtype.itemsize
    pointwise = kernel.shape[:2] == (1, 1)
    return (sum_of_rows if pointwise or size <= _KEPT else jax.checkpoint(sum_of_rows))(x_BHWC, kernel)


def _shifts(taps: _Taps, x_BHWC: jax.Array, kernel: jax.Array) -> jax.Array:
    """The sum over the taps of a depthwise kernel [rows, columns, 1, C] of each times the pixels that it meets."""
    # Or XLA computes what comes before, a norm and its activation, once more for every tap.
    x_BHWC = lax.optimization_barrier(taps.padded(x_BHWC))

    def product(i: int, j: int) -> jax.Array:
        met_BHWC = taps.along(taps.along(x_BHWC, 1, i), 2, j)
        return met_BHWC * jnp.broadcast_to(kernel[i, j, 0], met_BHWC.shape)

    return reduce(jnp.add, (product(i, j) for i in taps.rows for j in taps.columns))


def max_pool(x_BHWC: jax.Array, side: int, stride: int, margin: int) -> jax.Array:
    """The largest of every square of pixels.

    Args:
      x_BHWC: images.
      side: of a square, in pixels.
      stride: in rows and columns.
      margin: of minus infinity on all four sides.

    Returns:
      [B, rows, columns, C]. The gradient goes to the first of equals in a square, as in PyTorch.
    """
    margins = ((margin, margin),) * 2
    if jax.default_backend() != "cpu":
        return nn.max_pool(x_BHWC, (side, side), (stride, stride), margins)
    taps = _Taps(x_BHWC.shape, (side, side), (stride, stride), margins)
    x_BHWC = taps.padded(x_BHWC, -math.inf)
    met = [taps.along(taps.along(x_BHWC, 1, i), 2, j) for i in taps.rows for j in taps.columns]
    best = met[0]
    for other in met[1:]:
        # What is not a number is not less than anything, and stays.
        best = jnp.where((best >= other) | jnp.isnan(best), best, other)
    return best

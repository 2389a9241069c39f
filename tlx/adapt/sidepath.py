"""Layers that a low-rank update can stand beside: the product x A B as each of them would compute it, and its kernel.

A has the kernel's input axes and the rank, B the rank and the kernel's output axes, so that A B contracted over the
rank has the kernel's shape: [I, R] and [R, O] beside a dense layer, [V, R] and [R, D] beside an embedding,
[H, W, C, R] and [R, O] beside a convolution.

Shape suffixes: I inputs, O outputs, R rank, V vocabulary, D width, H rows, W columns, C channels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import pack, unpack
from flax.linen.linear import canonicalize_padding

from tlx import tree
from tlx.adapt.anatomy import Anatomy
from tlx.adapt.hooks import Pass
from tlx.adapt.method import Interceptor, Settings
from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.models.conv import convolve
from tlx.models.registry import Model

LAYERS = (nn.Dense, nn.DenseGeneral, nn.Conv, nn.Embed)

RANK = Field(4, "rank r of the update", low=1, high=1024)
ALPHA = Field(8.0, "the update is scaled by alpha / rank", low=0.0, high=1e4)
DROPOUT = Field(0.0, "share of the side path's inputs dropped in training", low=0.0, high=0.9)
TARGET = Field("", "regular expression over paths of layers; empty for the model's own choice")


def target_of(settings: Settings, model: Model) -> str:
    """The pattern of the layers to adapt, as given or as the model declares it.

    Args:
      settings: `target`.
      model: the architecture.

    Raises:
      ConfigError: it is no regular expression, or is empty and the model has no choice of its own.
    """
    return Anatomy(model).role("low_rank", settings["target"])


@dataclass(frozen=True)
class Site:
    """One call of a layer that an update stands beside.

    Args:
      module: the layer, bound.
      x: what flows in: activations [..., I], or the ids that an embedding looks up.
      y: what the layer makes of it, [..., O].
      context: the pass it is part of.
    """

    module: Any
    x: jax.Array
    y: jax.Array
    context: Pass

    @property
    def kernel(self) -> jax.Array:
        """Its frozen kernel, [V, D] of an embedding."""
        return self.module.get_variable("params", "embedding" if isinstance(self.module, nn.Embed) else "kernel")

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The kernel's input axes and its output axes."""
        shape, outputs = self.kernel.shape, 1
        if isinstance(self.module, nn.DenseGeneral):
            outputs = len(_tuple(self.module.features))
        return shape[:-outputs], shape[-outputs:]

    def leaf(self, name: str, init: Callable[[], jax.Array]) -> jax.Array:
        """An adapter beside the layer, made by `init` where there is none yet."""
        # Through the scope, as a module without compact methods, such as an embedding, makes no variables of its own.
        return self.module.scope.variable("adapters", name, init).value

    def key(self) -> jax.Array:
        """A key for an adapter's init, from the run's seed and the layer's path."""
        return self.module.make_rng("adapters")

    def check_rank(self, rank: int) -> None:
        """Whether an update of this rank fits.

        Raises:
          ConfigError: of the field `rank`, where it exceeds the smaller side of the kernel.
        """
        most = min(math.prod(axes) for axes in self.shapes)
        if rank > most:
            raise ConfigError("rank", f"expected at most {most} for {'/'.join(self.module.path)!r}, got {rank}")

    def product(self, a: jax.Array, b: jax.Array, dropout: float = 0.0) -> jax.Array:
        """x A B, in the dtype and shape of `y`.

        Args:
          a: input axes and rank.
          b: rank and output axes.
          dropout: rate on x in training; ids are not dropped.
        """
        a, b, module = a.astype(self.y.dtype), b.astype(self.y.dtype), self.module
        if isinstance(module, nn.Embed):
            return jnp.take(a, self.x, axis=0) @ b
        x = self.x.astype(self.y.dtype)
        if dropout and self.context.train:
            stays = jax.random.bernoulli(module.make_rng("dropout"), 1 - dropout, x.shape)
            x = jnp.where(stays, x / (1 - dropout), jnp.zeros_like(x))
        if isinstance(module, nn.Conv):
            return _convolved(module, x, a) @ b
        if isinstance(module, nn.DenseGeneral):
            # The kernel has its input axes in the order in which the activations have them.
            axes = sorted(axis % x.ndim for axis in _tuple(module.axis))
            return jnp.tensordot(jnp.tensordot(x, a, (axes, list(range(len(axes))))), b, 1)
        return (x @ a) @ b

    def plus(self, factor: float, side: jax.Array) -> jax.Array:
        """`y` and the side path's output, times `factor` and the pass's own scale."""
        return self.y + jnp.asarray(self.context.scale * factor, self.y.dtype) * side


def beside(
    context: Pass, target: str, change: Callable[[Site], jax.Array], layers: tuple[type[nn.Module], ...] = LAYERS
) -> Interceptor:
    """An interceptor that replaces the output of matching layers.

    Args:
      context: the pass.
      target: pattern over paths of modules.
      change: a layer's call to what flows out instead of `y`.
      layers: kinds of layers it is for; others are passed by, whatever their path.

    Returns:
      An interceptor for `nn.intercept_methods`.

    Raises:
      ConfigError: of the field `target`, where it matches a layer that cannot be taken apart.
    """

    def intercept(
        layer: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], call: nn.module.InterceptorContext
    ) -> Any:
        y, module = layer(*args, **kwargs), call.module
        is_layer = isinstance(module, layers) and call.method_name == "__call__"
        if not is_layer or not tree.matches(target, "/".join(module.path)):
            return y
        _check_supported(module)
        return change(Site(module, args[0] if args else kwargs["inputs"], y, context))

    return intercept


def on_kernels(
    leaves: Mapping[str, jax.Array],
    sides: Mapping[str, jax.Array],
    marker: str,
    new: Callable[[jax.Array, dict[str, jax.Array]], jax.Array],
) -> dict[str, jax.Array]:
    """The leaves with the kernel of every adapted layer replaced.

    Args:
      leaves: parameters by path.
      sides: adapters by path.
      marker: name of an adapter that every adapted layer has.
      new: a layer's kernel and its adapters by name to its new kernel. Of layers stacked by a scan it sees one.

    Returns:
      All leaves by path.
    """
    merged = dict(leaves)
    for module in [path.rpartition("/")[0] for path in sides if path.endswith(f"/{marker}")]:
        path = f"{module}/embedding" if f"{module}/embedding" in leaves else f"{module}/kernel"
        own = {name: leaf for at, leaf in sides.items() for above, _, name in [at.rpartition("/")] if above == module}
        stacked = own["lora_a"].ndim + own["lora_b"].ndim - 2 > leaves[path].ndim
        merged[path] = (jax.vmap(new) if stacked else new)(leaves[path], own)
    return merged


def _check_supported(module: nn.Module) -> None:
    problem = ""
    if isinstance(module, nn.Conv) and module.feature_group_count != 1:
        problem = "convolves in groups"
    if isinstance(module, nn.Conv) and module.padding in ("CIRCULAR", "REFLECT", "CAUSAL"):
        problem = f"pads by {module.padding!r}"
    if isinstance(module, nn.DenseGeneral) and module.batch_dims:
        problem = "has a kernel for each example"
    if problem:
        raise ConfigError("target", f"{'/'.join(module.path)!r} {problem}, which no low-rank update here does")


def _convolved(module: nn.Conv, x: jax.Array, a: jax.Array) -> jax.Array:
    """`x` convolved as the layer does, by the kernel A [H, W, C, R]."""
    spatial = len(_tuple(module.kernel_size))

    def each(value: int | Sequence[int] | None) -> tuple[int, ...]:
        return (1 if value is None else value,) * spatial if not isinstance(value, Sequence) else tuple(value)

    axes = " ".join(f"s{i}" for i in range(spatial))
    flat, batch = pack([x], f"* {axes} c")
    letters = "DHW"[-spatial:]
    y = convolve(
        flat,
        a,
        window_strides=each(module.strides),
        padding=canonicalize_padding(module.padding, spatial),
        lhs_dilation=each(module.input_dilation),
        rhs_dilation=each(module.kernel_dilation),
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        precision=module.precision,
    )
    [unpacked] = unpack(y, batch, f"* {axes} c")
    return unpacked


def _tuple(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)

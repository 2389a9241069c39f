"""Bottleneck adapters: two narrow dense layers, after a sublayer or beside it.

Shape suffixes: I inputs, O outputs of the sublayer, H hidden width of the adapter.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx import tree
from tlx.adapt.anatomy import Anatomy
from tlx.adapt.hooks import Pass
from tlx.adapt.method import ADAPTERS, Defaults, Interceptor, Method, Settings
from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.partition import Rules

Init = Callable[[jax.Array, tuple[int, ...], Any], jax.Array]

ZERO: Init = nn.initializers.zeros_init()
# U(±1/√I), PyTorch's own for dense layers.
UNIFORM: Init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")

STD = {"std": Field(1e-3, "standard deviation of both kernels at the start", low=1e-7, high=1.0)}
TARGET = Field("", "regular expression over paths of sublayers; empty for the model's own")
NOT_AT_BASE = "adapters start near zero, not at it"


@dataclass(frozen=True)
class Design:
    """What tells one paper's adapter from another's.

    Args:
      name: of the method; its leaves' names begin with it.
      sublayers: roles of the modules that get one.
      beside: whether it reads the sublayer's input, or its output.
      activation: between its two layers.
    """

    name: str
    sublayers: tuple[str, ...]
    beside: bool
    activation: Callable[[jax.Array], jax.Array]


def interceptor(design: Design, settings: Settings, context: Pass) -> Interceptor:
    """Adds `scale · s · up(φ(down(z)))` to what a sublayer gives, z being its output or, beside it, its input.

    Args:
      design: the paper's.
      settings: `target`; `reduction` (channels over hidden width) or `bottleneck` (hidden width); `factor` s or `std`.
      context: its `scale` is a factor on the whole adapter.

    Returns:
      An interceptor for `nn.intercept_methods`. Four leaves lie in the `adapters` collection under the path of the
      sublayer: `NAME_down` [I, H], `NAME_down_bias` [H], `NAME_up` [H, O], `NAME_up_bias` [O].

    Raises:
      ConfigError: the bottleneck is wider than the sublayer, or a target is no sublayer.

    Source: after a sublayer, Houlsby et al. (2019), section 2.1: after the projection and before the residual sum;
      kernels from a normal of standard deviation 1e-3, cut off at two of these; biases 0; GELU. Pfeiffer et al. (2020):
      after the MLP only; ReLU. Their architecture feeds it the norm of the residual sum; here it reads the MLP's
      output, as Houlsby's does, because models with norms elsewhere have no such place. They state no initial
      values: Houlsby's.
      Beside a sublayer, He et al. (2021), section 4.6: s = 4, kernels as LoRA's. Chen et al. (2022), equations 3
      and 4: s = 0.1, on the MLP's input after the norm, as in their text; their code takes it from before, and drops
      out a tenth of the hidden units.
      In a residual network a sublayer is the last norm of a branch.
    """
    pattern = _pattern(design, settings, Anatomy(context.model))

    def adapt(
        layer: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: nn.module.InterceptorContext,
    ) -> Any:
        path = "/".join(call.module.path)
        y = layer(*args, **kwargs)
        # The model itself has the empty path; it may be run in pieces, so nothing can stand after all of it.
        if call.method_name != "__call__" or not path or not tree.matches(pattern, path):
            return y
        z = args[0] if design.beside else y
        check_sublayer(path, z, y)
        hidden = _hidden(settings, path, min(z.shape[-1], y.shape[-1]))
        strength = context.scale * settings.get("factor", 1.0)
        side = _side(design, settings, call.module, z, hidden, y.shape[-1])
        return y + jnp.asarray(strength).astype(y.dtype) * side.astype(y.dtype)

    return adapt


def leaf(module: nn.Module, name: str, init: Init, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """An adapter's leaf under a module: float32 where it is kept, cast for use.

    Args:
      module: bound; the leaf lies under its path.
      name: of the leaf.
      init: its initial values.
      shape: its shape.
      dtype: of the activations.
    """

    def fresh() -> jax.Array:
        return init(module.make_rng("adapters"), shape, jnp.float32)

    return jnp.asarray(module.variable("adapters", name, fresh).value).astype(dtype)


def _side(design: Design, settings: Settings, module: nn.Module, z: jax.Array, hidden: int, outputs: int) -> jax.Array:
    near_zero: Init = nn.initializers.truncated_normal(settings.get("std", 0.0))
    down, up = (UNIFORM, ZERO) if design.beside else (near_zero, near_zero)
    get = partial(leaf, module, dtype=z.dtype)
    down_IH = get(f"{design.name}_down", down, (z.shape[-1], hidden))
    down_bias_H = get(f"{design.name}_down_bias", ZERO, (hidden,))
    up_HO = get(f"{design.name}_up", up, (hidden, outputs))
    up_bias_O = get(f"{design.name}_up_bias", ZERO, (outputs,))
    return plus(design.activation(plus(z @ down_IH, down_bias_H)) @ up_HO, up_bias_O)


def plus(x: jax.Array, bias_C: jax.Array) -> jax.Array:
    """[..., C] plus [C]."""
    return x + jnp.broadcast_to(bias_C, x.shape)


def check_sublayer(path: str, z: Any, y: Any) -> None:
    """Whether an adapter can read z and add to y.

    Args:
      path: of the module.
      z: what the adapter would read.
      y: what the module gives.

    Raises:
      ConfigError: they are no activations [..., channels], or differ in more than their channels.
    """
    arrays = isinstance(z, jax.Array) and isinstance(y, jax.Array)
    if not arrays or not (jnp.issubdtype(z.dtype, jnp.floating) and jnp.issubdtype(y.dtype, jnp.floating)):
        raise ConfigError("target", f"{path!r} does not take and give one array of activations")
    if z.shape[:-1] != y.shape[:-1]:
        raise ConfigError("target", f"{path!r} takes {z.shape[1:]} and gives {y.shape[1:]}; only channels may differ")


def _hidden(settings: Settings, path: str, channels: int) -> int:
    field = "bottleneck" if "bottleneck" in settings else "reduction"
    if settings[field] > channels:
        raise ConfigError(field, f"expected at most {channels} for {path!r}, got {settings[field]}")
    hidden: int = settings[field] if field == "bottleneck" else channels // settings[field]
    return hidden


def sublayers(anatomy: Anatomy, given: str) -> str:
    """The pattern for attention and MLP sublayers, as given or as the model declares them.

    Args:
      anatomy: the model's; without attention, MLPs alone.
      given: the setting; empty for the model's own.
    """
    if given:
        return given
    roles = ["attention", "mlp"] if "attention" in anatomy.model.targets else ["mlp"]
    return "|".join(f"({anatomy.role(role, '')})" for role in roles)


def _pattern(design: Design, settings: Settings, anatomy: Anatomy) -> str:
    if "attention" in design.sublayers:
        return sublayers(anatomy, settings["target"])
    return anatomy.role("mlp", settings["target"])


def with_norms(settings: Settings, anatomy: Anatomy) -> Rules:
    """Rules by which adapters, the head and all norms train.

    Args:
      settings: not needed.
      anatomy: what has a leaf `scale` there is a norm.

    Source: Houlsby et al. (2019), section 2.1: norms are tuned along with the adapters.
    """
    scales = [path.removesuffix("scale") for path in anatomy.leaves if re.fullmatch("params/.*/scale", path)]
    norms = "|".join(re.escape(norm) for norm in sorted(scales))
    adapters, head, rest = ADAPTERS
    return (adapters, head, *(((f"({norms}).*", "train"),) if norms else ()), rest)


def _gelu(x: jax.Array) -> jax.Array:
    return nn.gelu(x, approximate=False)


def _method(design: Design, own: dict[str, Field], **rest: Any) -> Method:
    return Method(name=design.name, fields={**own, "target": TARGET}, interceptor=partial(interceptor, design), **rest)


def _reduction(default: int) -> dict[str, Field]:
    return {"reduction": Field(default, "channels of the sublayer over hidden width of the adapter", low=1, high=8192)}


def _factor(default: float) -> dict[str, Field]:
    return {"factor": Field(default, "factor s on the adapter's output", low=0.0, high=1e4)}


HOULSBY = _method(
    Design("houlsby", ("attention", "mlp"), False, _gelu),
    _reduction(16) | STD,
    paper="Houlsby et al., 2019",
    trains="bottlenecks after attention and MLP, all norms, and the head",
    defaults=Defaults((3e-5, 3e-4, 3e-3), schedule="linear"),
    rules=with_norms,
    starts_elsewhere=NOT_AT_BASE,
)
PFEIFFER = _method(
    Design("pfeiffer", ("mlp",), False, nn.relu),
    _reduction(16) | STD,
    paper="Pfeiffer et al., 2020",
    trains="bottlenecks after each MLP, and the head",
    defaults=Defaults((5e-5, 1e-4, 5e-4), schedule="linear"),
    rules=lambda settings, anatomy: ADAPTERS,
    starts_elsewhere=NOT_AT_BASE,
)
PARALLEL = _method(
    Design("parallel", ("mlp",), True, nn.relu),
    _reduction(2) | _factor(4.0),
    paper="He et al., 2021",
    trains="scaled bottlenecks beside each MLP, and the head",
    defaults=Defaults((5e-5, 1e-4, 5e-4), schedule="linear"),
    rules=lambda settings, anatomy: ADAPTERS,
)
ADAPTFORMER = _method(
    Design("adaptformer", ("mlp",), True, nn.relu),
    {"bottleneck": Field(64, "hidden width of the adapter", low=1, high=8192)} | _factor(0.1),
    paper="Chen et al., 2022",
    trains="narrow bottlenecks beside each MLP, and the head",
    defaults=Defaults((0.01, 0.05, 0.1), optimizer="sgd"),
    rules=lambda settings, anatomy: ADAPTERS,
)

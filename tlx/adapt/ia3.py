"""IA³: one trained factor for each channel of a few activations.

Shape suffixes: I inputs, O outputs of a layer.
"""

from collections.abc import Callable
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

FIELDS = {
    "outputs": Field("", "regular expression over paths of layers whose outputs are scaled; empty for the model's own"),
    "inputs": Field("", "regular expression over paths of layers whose inputs are scaled; empty for the model's own"),
}
ROLES = {"outputs": "scaled_outputs", "inputs": "scaled_inputs"}


def interceptor(settings: Settings, context: Pass) -> Interceptor:
    """Multiplies every channel by `1 + scale · (l - 1)`: keys and values, and what enters an MLP's second layer.

    Args:
      settings: `outputs`, `inputs`.
      context: its `scale` is a factor on what the factors differ from 1 by.

    Returns:
      An interceptor for `nn.intercept_methods`; l is `ia3_out` [O] or `ia3_in` [I] in the `adapters` collection
      under the path of the dense or convolutional layer whose outputs or inputs it multiplies.

    Raises:
      ConfigError: a pattern matches no dense or convolutional layer, or is empty on a model without that role.

    Source: Liu et al. (2022), section 3.3: l_k, l_v and l_ff, all 1 at the start. A convolution has one factor for
      each channel, which the paper does not treat. The two extra losses of its training recipe are left out.
    """
    patterns = _patterns(settings, Anatomy(context.model))

    def multiply(
        layer: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: nn.module.InterceptorContext,
    ) -> Any:
        module = call.module
        if call.method_name != "__call__" or not isinstance(module, nn.Dense | nn.Conv):
            return layer(*args, **kwargs)
        path = "/".join(module.path)

        def scaled(x: jax.Array, name: str) -> jax.Array:
            l_C = module.variable("adapters", name, jnp.ones, x.shape[-1:], jnp.float32).value
            factor_C = (1.0 + context.scale * (l_C - 1.0)).astype(x.dtype)
            return x * jnp.broadcast_to(factor_C, x.shape)

        if tree.matches(patterns["inputs"], path):
            args = (scaled(args[0], "ia3_in"), *args[1:])
        y = layer(*args, **kwargs)
        return scaled(y, "ia3_out") if tree.matches(patterns["outputs"], path) else y

    return multiply


def _patterns(settings: Settings, anatomy: Anatomy) -> dict[str, str]:
    kernels = [path for path in anatomy.leaves if path.startswith("params/") and path.endswith("/kernel")]
    layers = [path.removeprefix("params/").removesuffix("/kernel") for path in kernels]
    patterns = {field: anatomy.role(role, settings[field], field) for field, role in ROLES.items()}
    for field, pattern in patterns.items():
        if not any(tree.matches(pattern, layer) for layer in layers):
            raise ConfigError(field, f"{pattern!r} matches no dense or convolutional layer of {anatomy.model.name!r}")
    return patterns


def merge(settings: Settings, leaves: dict[str, Any], sides: dict[str, Any]) -> dict[str, Any]:
    """The plain leaves: `diag(l_in) W diag(l_out)` and `b · l_out`.

    Args:
      settings: not needed.
      leaves: parameters by path, kernels [..., I, O] and biases [O], float32; scanned blocks add an axis in front.
      sides: `ia3_in` [I] and `ia3_out` [O] by path.

    Returns:
      All leaves, those of the scaled layers replaced.
    """
    merged = dict(leaves)
    for path, l_C in sides.items():
        layer, _, name = path.rpartition("/")
        kernel, bias = f"{layer}/kernel", f"{layer}/bias"
        if name == "ia3_in":
            l_C1 = jnp.expand_dims(l_C, -1)
            merged[kernel] = merged[kernel] * _beside(l_C1, 2, merged[kernel].ndim)
        elif name == "ia3_out":
            merged[kernel] = merged[kernel] * _beside(l_C, 1, merged[kernel].ndim)
            if bias in merged:
                merged[bias] = merged[bias] * l_C
    return merged


def _beside(x: jax.Array, last: int, ndim: int) -> jax.Array:
    """As many axes as a kernel has, with ones between the axis of scanned blocks and the `last` ones."""
    axes = range(x.ndim - last, ndim - last)
    return jnp.expand_dims(x, tuple(axes))


IA3 = Method(
    name="ia3",
    paper="Liu et al., 2022",
    trains="a factor for each channel of keys, values and hidden activations, and the head",
    fields=FIELDS,
    # Their T-Few recipe: 3e-3, linear decay, 60 of 1000 steps of warm-up.
    defaults=Defaults((1e-3, 3e-3, 1e-2), schedule="linear", warmup=0.06),
    rules=lambda settings, anatomy: ADAPTERS,
    interceptor=interceptor,
    merge=merge,
)

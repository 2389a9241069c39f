"""SSF: every layer's output is scaled and shifted, channel by channel.

Shape suffixes: C output channels of a layer.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx import tree
from tlx.adapt.hooks import Pass
from tlx.adapt.method import ADAPTERS, Defaults, Interceptor, Method, Settings
from tlx.fields import Field
from tlx.models.norms import RMSNorm

FIELDS = {
    "target": Field(".*", "regular expression over paths of dense, convolutional and norm layers; never the head"),
    "std": Field(
        0.02, "standard deviation of the factors around 1 and of the shifts around 0 at the start", low=0.0, high=1.0
    ),
}


def interceptor(settings: Settings, context: Pass) -> Interceptor:
    """Replaces the output y of every target by `(1 + scale · (γ - 1)) y + scale · β`.

    Args:
      settings: `target`, `std`.
      context: its `scale` is a factor on the whole change.

    Returns:
      An interceptor for `nn.intercept_methods`; γ and β are `ssf_scale` and `ssf_shift` [C] in the `adapters`
      collection under the path of their layer.

    Source: Lian et al. (2022), equation 2 (y = γ ⊙ x + β) and the authors' initial values: γ from N(1, 0.02²), β from
      N(0, 0.02²). They adapt vision transformers, whose layers all have biases. A layer without one, such as a
      convolution before a batch norm, gets no β here: there would be nothing to merge it into, and such a norm has
      a β of its own.
    """
    head = context.model.stages[-1]
    std = settings["std"]

    def scale_and_shift(
        layer: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: nn.module.InterceptorContext,
    ) -> Any:
        module = call.module
        y = layer(*args, **kwargs)
        is_target = isinstance(module, nn.Dense | nn.Conv | nn.LayerNorm | nn.BatchNorm | nn.GroupNorm | RMSNorm)
        if not is_target or call.method_name != "__call__" or module.path[0] == head:
            return y
        if not tree.matches(settings["target"], "/".join(module.path)):
            return y

        def around(mean: float, name: str) -> jax.Array:
            def draw() -> jax.Array:
                return mean + std * jax.random.normal(module.make_rng("adapters"), y.shape[-1:], jnp.float32)

            return module.variable("adapters", name, draw).value

        factor_C = 1.0 + context.scale * (around(1.0, "ssf_scale") - 1.0)
        y = y * jnp.broadcast_to(factor_C.astype(y.dtype), y.shape)
        if not getattr(module, "use_bias", False):
            return y
        shift_C = context.scale * around(0.0, "ssf_shift")
        return y + jnp.broadcast_to(shift_C.astype(y.dtype), y.shape)

    return scale_and_shift


def merge(settings: Settings, leaves: dict[str, Any], sides: dict[str, Any]) -> dict[str, Any]:
    """The plain leaves: `W diag(γ)` or a norm's `scale · γ`, and `γ b + β`.

    Args:
      settings: not needed.
      leaves: parameters by path, float32; scanned blocks add an axis in front.
      sides: `ssf_scale` and `ssf_shift` [C] by path.

    Returns:
      All leaves, those of the targets replaced.

    Source: Lian et al. (2022), equation 3.
    """
    merged = dict(leaves)
    for layer in [path.removesuffix("/ssf_scale") for path in sides if path.endswith("/ssf_scale")]:
        factor_C = sides[f"{layer}/ssf_scale"]
        weight, bias = f"{layer}/kernel", f"{layer}/bias"
        weight = weight if weight in leaves else f"{layer}/scale"
        between = range(factor_C.ndim - 1, leaves[weight].ndim - 1)
        merged[weight] = leaves[weight] * jnp.expand_dims(factor_C, tuple(between))
        if bias in leaves:
            merged[bias] = leaves[bias] * factor_C + sides[f"{layer}/ssf_shift"]
    return merged


SSF = Method(
    name="ssf",
    paper="Lian et al., 2022",
    trains="a factor and a shift for each output channel of every layer, and the head",
    fields=FIELDS,
    defaults=Defaults((1e-3, 5e-3, 1e-2)),
    rules=lambda settings, anatomy: ADAPTERS,
    interceptor=interceptor,
    merge=merge,
    starts_elsewhere="factors and shifts are drawn with a standard deviation of 0.02",
)

"""Compacter: bottlenecks whose kernels are sums of Kronecker products with a factor that all layers share.

Shape suffixes: N products, A B sides of a shared factor (both N), P and Q rows and columns of the other one over N,
I inputs (A times P), O outputs (B times Q), C channels, H hidden width.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tlx import tree
from tlx.adapt.anatomy import Anatomy, Base
from tlx.adapt.bottleneck import NOT_AT_BASE, TARGET, ZERO, check_sublayer, leaf, plus, sublayers, with_norms
from tlx.adapt.hooks import Pass
from tlx.adapt.method import Defaults, Interceptor, Method, Settings
from tlx.errors import ConfigError
from tlx.fields import Field

FIELDS = {
    "n": Field(4, "Kronecker products that are added; it divides all widths", low=1, high=64),
    "reduction": Field(
        32, "channels of the sublayer over hidden width of the adapter, which is at least n", low=1, high=8192
    ),
    "std": Field(0.01, "standard deviation of the shared factors at the start", low=1e-7, high=1.0),
    "target": TARGET,
}


def phm(x: jax.Array, rule_NAB: jax.Array, s_NP: jax.Array, t_NQ: jax.Array) -> jax.Array:
    """`x Σᵢ Aᵢ ⊗ (sᵢ tᵢᵀ)` without the kernel ever being built.

    Args:
      x: [..., I].
      rule_NAB: the factors A.
      s_NP: columns of the other factors.
      t_NQ: rows of the other factors.

    Returns:
      [..., O].

    Source: Mahabadi et al. (2021), equations 3 and 5.
    """
    x = rearrange(x, "... (a p) -> ... a p", a=rule_NAB.shape[1])
    read = jnp.einsum("...ap,np->...na", x, s_NP)
    mixed = jnp.einsum("...na,nab->...nb", read, rule_NAB)
    return rearrange(jnp.einsum("...nb,nq->...bq", mixed, t_NQ), "... b q -> ... (b q)")


def grow(settings: Settings, base: Base, key: jax.Array) -> dict[str, Any]:
    """The factors A that all layers share, `adapters/compacter/rule` [N, A, B].

    They lie outside the stages, so no stage counts as frozen and none is cached.

    Args:
      settings: `n`, `std`.
      base: not needed.
      key: they are drawn from it, from a normal with standard deviation 0.01 in the authors' code.
    """
    n = settings["n"]
    rule_NAB = settings["std"] * jax.random.normal(key, (n, n, n), jnp.float32)
    return {"adapters": {"compacter": {"rule": rule_NAB}}}


def interceptor(settings: Settings, context: Pass) -> Interceptor:
    """Adds `scale · up(gelu(down(y)))` to the output y of attention and of MLP sublayers, both layers being `phm`.

    Args:
      settings: `n`, `reduction`, `target`.
      context: its `scale` is a factor on the whole adapter.

    Returns:
      An interceptor for `nn.intercept_methods`. In the `adapters` collection under the path of the sublayer lie, for
      `down` and for `up`, `compacter_down_s` [N, P], `compacter_down_t` [N, Q] and `compacter_down_bias` [O].

    Raises:
      ConfigError: n does not divide the channels or the hidden width, or a target is no sublayer.

    Source: Mahabadi et al. (2021), section 4; A is shared by both layers of all adapters. Initial values are of the
      authors' code: s and t uniform after Glorot with a gain of √2, biases 0.
    """
    pattern = sublayers(Anatomy(context.model), settings["target"])
    n = settings["n"]

    def adapt(
        layer: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: nn.module.InterceptorContext,
    ) -> Any:
        path = "/".join(call.module.path)
        y = layer(*args, **kwargs)
        if call.method_name != "__call__" or not path or not tree.matches(pattern, path):
            return y
        check_sublayer(path, y, y)
        channels = y.shape[-1]
        hidden = max(channels // settings["reduction"], n)
        if channels % n or hidden % n:
            message = (
                f"expected a divisor of the {channels} channels of {path!r} and of its hidden width {hidden}, got {n}"
            )
            raise ConfigError("n", message)
        rule_NAB = context.adapters["compacter"]["rule"].astype(y.dtype)
        h = nn.gelu(_dense(call.module, "compacter_down", y, rule_NAB, hidden), approximate=True)
        side = _dense(call.module, "compacter_up", h, rule_NAB, channels)
        return y + jnp.asarray(context.scale).astype(y.dtype) * side

    return adapt


def _dense(module: nn.Module, name: str, x: jax.Array, rule_NAB: jax.Array, outputs: int) -> jax.Array:
    n = rule_NAB.shape[0]
    get = partial(leaf, module, dtype=x.dtype)
    s_NP = get(f"{name}_s", _glorot, (n, x.shape[-1] // n))
    t_NQ = get(f"{name}_t", _glorot, (n, outputs // n))
    bias_O = get(f"{name}_bias", ZERO, (outputs,))
    return plus(phm(x, rule_NAB, s_NP, t_NQ), bias_O)


def _glorot(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Each row is the whole of a one-column matrix, so the fans are its length and 1."""
    bound = (2.0 * 6.0 / (shape[1] + 1)) ** 0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)


COMPACTER = Method(
    name="compacter",
    paper="Mahabadi et al., 2021",
    trains="bottlenecks of few parameters after attention and MLP, all norms, and the head",
    fields=FIELDS,
    defaults=Defaults((1e-3, 3e-3, 1e-2), schedule="linear"),
    rules=with_norms,
    grow=grow,
    interceptor=interceptor,
    starts_elsewhere=NOT_AT_BASE,
)

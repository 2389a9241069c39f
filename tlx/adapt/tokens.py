"""Sequences of tokens between stages, and vectors that join them.

What flows is [B, T, D], or a dict of "hidden" [B, T, D] and "mask" [B, T] where sequences are padded.
Shape suffixes: B examples, T tokens, P tokens that join, D width.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import repeat

from tlx.errors import ConfigError
from tlx.models.registry import Model

Flow = Any


def role(model: Model, name: str) -> str:
    """The pattern over module paths that a model has for a role.

    Raises:
      ConfigError: of the field `name`, as the model works on no tokens.
    """
    if name not in model.targets:
        raise ConfigError("name", f"the method needs a model that works on tokens, which {model.name!r} does not")
    return model.targets[name]


def whole(kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a block is told, so that it computes all tokens even where the model's head reads the first alone.

    Args:
      kwargs: as an interceptor gets them.
    """
    return {**kwargs, "queries": None} if "queries" in kwargs else kwargs


def check_room(model: Model, length: int, tokens: int) -> None:
    """Whether tokens that join leave enough positions for a sequence.

    Args:
      model: the architecture.
      length: number of tokens that join.
      tokens: length of the sequence without them.

    Raises:
      ConfigError: of the field `length`.
    """
    positions = dict(model.settings).get("positions")
    if positions is not None and length + tokens > positions:
        room = f"{positions} positions and {tokens} tokens"
        raise ConfigError("length", f"expected at most {positions - tokens} for {room}, got {length}")


def leaf(module: nn.Module, name: str, init: Callable[[jax.Array], Any]) -> Any:
    """An adapter beside a module, made on the pass that creates adapters.

    Args:
      module: bound; may be one that sets its leaves up early, where `Module.variable` is not allowed.
      name: of the leaf or of the leaves, if `init` gives nested dicts.
      init: from a key to their first values.

    Returns:
      The values.
    """
    if not module.has_variable("adapters", name):
        module.put_variable("adapters", name, init(module.make_rng("adapters")))
    return module.get_variable("adapters", name)


def uniform(bound: float, length: int, width: int) -> Callable[[jax.Array], jax.Array]:
    """Draws [P, D] evenly from -bound to bound, in float32."""
    return lambda key: jax.random.uniform(key, (length, width), jnp.float32, -bound, bound)


def hidden(flow: Flow) -> jax.Array:
    """The tokens [B, T, D] of what flows."""
    return flow["hidden"] if isinstance(flow, dict) else flow


def each(x_PD: jax.Array, like_BTD: jax.Array) -> jax.Array:
    """The same vectors for each example [B, P, D], in the dtype of its tokens."""
    return repeat(x_PD.astype(like_BTD.dtype), "p d -> b p d", b=like_BTD.shape[0])


def inserted(flow: Flow, x_BPD: jax.Array, at: int) -> Flow:
    """What flows with vectors put before token `at`; every token may attend to them, and their position is 0."""

    def put(old: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.concatenate([old[:, :at], new, old[:, at:]], axis=1)

    if not isinstance(flow, dict):
        return put(flow, x_BPD)
    joining = {"hidden": x_BPD, "mask": jnp.ones(x_BPD.shape[:2], flow["mask"].dtype)}
    if "position" in flow:
        joining["position"] = jnp.zeros(x_BPD.shape[:2], flow["position"].dtype)
    return {**flow, **{name: put(flow[name], new) for name, new in joining.items()}}


def without(flow: Flow, at: int, count: int) -> Flow:
    """What flows without `count` tokens from token `at` on."""
    return jax.tree.map(lambda x: jnp.concatenate([x[:, :at], x[:, at + count :]], axis=1), flow)


def mean(flow: Flow) -> jax.Array:
    """The mean over all positions between batch and channels, pads left out: [B, D]."""
    if not isinstance(flow, dict):
        return jnp.mean(flow, axis=tuple(range(1, flow.ndim - 1)))
    total_BD = jnp.einsum("btd,bt->bd", flow["hidden"], flow["mask"])
    # A sequence of nothing but pads has a mean of zero.
    return total_BD / jnp.maximum(jnp.sum(flow["mask"], axis=1, keepdims=True), 1.0)

"""The forward pass of a model with its methods' interceptors and stage wrappers around it."""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx import tree
from tlx.adapt.hooks import Pass
from tlx.adapt.method import Interceptor, Method
from tlx.errors import ConfigError
from tlx.models.registry import Model

COLLECTIONS = ("params", "adapters", "batch_stats", "cache")


def run(
    model: Model,
    parts: tuple[tuple[Method, dict[str, Any]], ...],
    variables: dict[str, Any],
    x: Any,
    first: int,
    last: int,
    *,
    scale: jax.Array | float,
    train: bool = False,
    rng: jax.Array | None = None,
    updating: frozenset[str] = frozenset(),
    axis: str | None = None,
    dropout: jax.Array | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Stages `first` to `last` of a model, adapted.

    Args:
      model, parts: the architecture; the methods and their settings.
      variables: all leaves; with a `cache` among them, be it empty, keys and values of attention are kept.
      x, first, last: what flows into stage `first`; the index after the last stage.
      scale, train, rng: factor on the adapters' effect; whether this is a training step; its key for dropout.
      updating: paths of the running statistics that are updated; the other norms use theirs as they are.
      axis, dropout: device axis of a batch under `pmap`, or None; rate of every dropout, None for the model's own.

    Returns:
      What flows out, and the updated statistics and cache.

    Raises:
      ConfigError: there is a cache, but a method has a network of its own that needs all tokens at once.
    """
    leaves = {key: variables[key] for key in COLLECTIONS if key in variables}
    context = Pass(model, scale, leaves.get("adapters", {}), train)
    mutable = _mutable(parts, variables, updating)
    wrappers, interceptors = _hooks(parts, context)
    if "batch_stats" in variables:
        interceptors.append(_batch_norm(updating, axis))
    if dropout is not None:
        interceptors.append(_dropout(dropout))
    settings_of: dict[str, Any] = {"train": train} | ({} if rng is None else {"rngs": {"dropout": rng}})
    changed: dict[str, Any] = {}

    def stages(x: Any, first: int, last: int) -> Any:
        nonlocal leaves
        with ExitStack() as stack:
            for interceptor in interceptors:
                stack.enter_context(nn.intercept_methods(interceptor))
            if not mutable:
                return model.module.apply(leaves, x, first, last, **settings_of)
            out, new = model.module.apply(leaves, x, first, last, mutable=mutable, **settings_of)
        found = tree.flatten(dict(new)).items()
        changed.update({path: leaf for path, leaf in found if path in updating or path.startswith("cache/")})
        leaves = {**leaves, **new}
        return out

    if not wrappers:
        return stages(x, first, last), tree.unflatten(changed)
    for k in range(first, last):
        x = _wrapped(wrappers, k, functools.partial(stages, first=k, last=k + 1))(x)
    return x, tree.unflatten(changed)


def lowered(variables: dict[str, Any], precision: str) -> dict[str, Any]:
    """Leaves as the stages compute with them; running statistics stay as they are.

    Args:
      variables: all leaves, float32.
      precision: `float32` or `bfloat16`.

    Source: Micikevicius et al. (2018), section 3.1, with bfloat16, whose range needs no scaling of the loss.
    """
    if precision == "float32":
        return variables
    low: dict[str, Any] = {
        name: cast(variables[name], precision) for name in ("params", "adapters") if name in variables
    }
    return {**variables, **low}


def cast(values: Any, dtype: str) -> Any:
    """The same tree, its floating-point leaves in another type.

    Args:
      values: an array or nested dicts of arrays.
      dtype: `float32` or `bfloat16`.
    """
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, values)


def _mutable(
    parts: tuple[tuple[Method, dict[str, Any]], ...], variables: dict[str, Any], updating: frozenset[str]
) -> list[str]:
    """The collections that the pass changes."""
    is_cached = "cache" in variables
    if is_cached and (names := [method.name for method, _ in parts if method.around or method.alone]):
        raise ConfigError("name", f"{names[0]!r} reads all tokens at once, which cannot be done with a cache")
    return [name for name, is_changed in (("batch_stats", updating), ("cache", is_cached)) if is_changed]


def _hooks(parts: tuple[tuple[Method, dict[str, Any]], ...], context: Pass) -> tuple[list[Any], list[Interceptor]]:
    """The methods' wrappers of stages and their interceptors.

    All are made before any is in force: making one may look at the model, which must then be the plain one.
    """
    wrappers = [method.around(settings, context) for method, settings in parts if method.around]
    return wrappers, [method.interceptor(settings, context) for method, settings in parts if method.interceptor]


def _wrapped(wrappers: list[Any], k: int, stage: Callable[[Any], Any]) -> Callable[[Any], Any]:
    for wrapper in wrappers:
        stage = functools.partial(wrapper, k, stage)
    return stage


def _batch_norm(updating: frozenset[str], axis: str | None) -> Interceptor:
    def use_running_average_where_frozen(layer: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, nn.BatchNorm) and context.method_name == "__call__":
            path = "/".join(("batch_stats", *context.module.path, "mean"))
            kwargs = {**kwargs, "use_running_average": kwargs["use_running_average"] or path not in updating}
            if axis is not None:
                # A model does not know how it is run, so its norms learn here that the batch is on several devices.
                object.__setattr__(context.module, "axis_name", axis)
        return layer(*args, **kwargs)

    return use_running_average_where_frozen


def _dropout(rate: jax.Array) -> Interceptor:
    def drop_at_a_traced_rate(layer: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        # What drops whole branches for some examples is stochastic depth, which has a rate of its own.
        if not isinstance(module, nn.Dropout) or module.broadcast_dims or context.method_name != "__call__":
            return layer(*args, **kwargs)
        x = args[0]
        if kwargs.get("deterministic", module.deterministic):
            return x
        kept = jax.random.bernoulli(module.make_rng(module.rng_collection), 1.0 - rate, x.shape)
        return jnp.where(kept, x / (1.0 - rate).astype(x.dtype), jnp.zeros_like(x))

    return drop_at_a_traced_rate


def added_by(interceptor: Interceptor, model: Model, variables: dict[str, Any], key: jax.Array) -> dict[str, Any]:
    """The adapters an interceptor creates on a forward pass over one example of zeros or pads.

    Args:
      interceptor: of a method.
      model: the architecture.
      variables: its leaves.
      key: adapters are drawn from it and from their module's path.

    Returns:
      The `adapters` collection, empty if nothing was added.
    """
    leaves = {name: variables[name] for name in COLLECTIONS if name in variables}
    with nn.intercept_methods(interceptor):
        _, added = model.module.apply(leaves, model.example(), mutable=["adapters"], rngs={"adapters": key})
    found: dict[str, Any] = dict(added).get("adapters", {})
    return found


def fresh_stats(stats: dict[str, Any]) -> dict[str, Any]:
    """Running statistics of a norm that has seen nothing: mean 0, variance 1."""
    fresh = {"mean": jnp.zeros_like, "var": jnp.ones_like}
    return tree.unflatten({path: fresh[path.rpartition("/")[2]](leaf) for path, leaf in tree.flatten(stats).items()})

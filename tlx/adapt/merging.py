"""Adapters folded into the model's own leaves, and taken out again."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from tlx import tree
from tlx.adapt import labelling
from tlx.adapt.adapted import Adapted
from tlx.adapt.method import Method, Settings
from tlx.errors import ConfigError


@dataclass(frozen=True)
class Merged:
    """A plain model that computes what the adapted one did.

    Args:
      variables: `params`, and `batch_stats` where there are any, in the leaves' own dtypes; no adapters.
      kept: the original of every leaf that changed, by path.
    """

    variables: dict[str, Any]
    kept: dict[str, jax.Array]


def merge(adapted: Adapted, variables: dict[str, Any]) -> Merged:
    """The plain model that computes what the adapted one does in evaluation mode.

    Args:
      adapted: the model and its methods.
      variables: parameters, adapters and statistics.

    Returns:
      Its variables, and what they were before. Sums and products are taken in float32 and rounded once, to the leaf's
      own dtype. Of composed methods the last is nearest to a layer, so it is merged first; rewritten leaves come
      before all of them.

    Raises:
      ConfigError: of the field `name`, where a method adds what no plain model has, such as prompts.
    """
    before = tree.flatten({key: leaf for key, leaf in variables.items() if key not in ("adapters", "reference")})
    for i, (method, settings) in enumerate(adapted.parts):
        with labelling.blamed_on_part(method.name if i else ""):
            _check(method, settings, adapted)
    leaves = {
        path.removeprefix("params/"): _widened(leaf) for path, leaf in before.items() if path.startswith("params/")
    }
    rewriting = [part for part in adapted.parts if part[0].rewrite]
    intercepting = [part for part in reversed(adapted.parts) if not part[0].rewrite]
    with jax.default_matmul_precision("highest"):
        for method, settings in (*rewriting, *intercepting):
            if method.merge:
                leaves = dict(method.merge(settings, leaves, _sides(method, settings, adapted, variables)))
    after = before | {f"params/{path}": leaf.astype(before[f"params/{path}"].dtype) for path, leaf in leaves.items()}
    changed = {path for path in before if not _same(before[path], after[path])}
    # Leaves that did not change keep their own array.
    plain = {path: after[path] if path in changed else leaf for path, leaf in before.items()}
    return Merged(tree.unflatten(plain), {path: before[path] for path in sorted(changed)})


def unmerge(merged: Merged) -> dict[str, Any]:
    """The base model's variables as they were before `merge`, to the last bit.

    Args:
      merged: from `merge`.

    Returns:
      `params`, and `batch_stats` where there are any.
    """
    return tree.unflatten({**tree.flatten(merged.variables), **merged.kept})


def gap(adapted: Adapted, variables: dict[str, Any], merged: Merged, x: Any) -> float:
    """How far the plain model is from the adapted one.

    Args:
      adapted: the model and its methods.
      variables: what was merged.
      merged: from `merge`.
      x: inputs of the first stage, [B, ...].

    Returns:
      The largest absolute difference between their logits.
    """
    logits_BC, _ = jax.jit(adapted.apply)(variables, x)
    plain_BC: Any = jax.jit(adapted.model.module.apply)(merged.variables, x)
    return float(jnp.max(jnp.abs(logits_BC - plain_BC)))


def _check(method: Method, settings: Settings, adapted: Adapted) -> None:
    adds = method.around or method.rewrite or _paths(method, settings, adapted)
    if adds and not method.merge:
        raise ConfigError("name", f"{method.name!r} cannot be merged: it adds what a plain model has no place for")
    if adds and method.interceptor and not adapted.model.kind.folds:
        raise ConfigError("name", f"{method.name!r} cannot be merged: {adapted.model.name!r} standardises its kernels")


def _paths(method: Method, settings: Settings, adapted: Adapted) -> list[str]:
    """Paths of a method's own adapters."""
    return labelling.adapter_paths(Adapted(adapted.model, method.name, tuple(settings.items())).abstract())


def _sides(method: Method, settings: Settings, adapted: Adapted, variables: dict[str, Any]) -> dict[str, jax.Array]:
    leaves = tree.flatten({"adapters": variables.get("adapters", {})})
    return {path.removeprefix("adapters/"): _widened(leaves[path]) for path in _paths(method, settings, adapted)}


def _widened(leaf: jax.Array) -> jax.Array:
    return leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def _same(one: Any, other: Any) -> bool:
    return one is other or bool(jnp.array_equal(one, other))

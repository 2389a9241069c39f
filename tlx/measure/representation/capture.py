"""Activations of a linen module's parts, batch by batch.

Shape suffixes: B examples of a batch, T tokens, D features.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, reduce

from tlx.errors import suggest

_KEPT = "intermediates"


def capture(
    module: nn.Module,
    variables: Mapping[str, Any],
    x: Any,
    names: Sequence[str],
    shape: Callable[[Any], jax.Array] | None = None,
    **settings: Any,
) -> dict[str, jax.Array]:
    """What some submodules return in a forward pass, one row an example.

    Args:
      module: any linen module; nothing of it is changed.
      variables: its collections.
      x: its input, [B, ...].
      names: paths of submodules, joined by "/", such as a model's stages.
      shape: makes rows of an output; `pooled` by default.
      settings: keyword arguments of the module's `__call__`.

    Returns:
      Name to [B, D]; of a submodule that is called more than once, the last output.

    Raises:
      ValueError: no submodule of that name is called.
    """
    wanted = frozenset(names)

    def is_wanted(part: nn.Module, method: str) -> bool:
        return method == "__call__" and "/".join(part.path) in wanted

    _, state = module.apply(dict(variables), x, capture_intermediates=is_wanted, mutable=[_KEPT], **settings)
    found = {}
    for name in names:
        node: Any = state.get(_KEPT, {})
        for part in name.split("/"):
            node = node.get(part, {}) if isinstance(node, Mapping) else {}
        if not isinstance(node, Mapping) or "__call__" not in node:
            raise ValueError(f"names: no submodule {name!r} is called{_instead(module, variables, x, name, settings)}")
        found[name] = (shape or pooled)(node["__call__"][-1])
    return found


def capture_batches(
    module: nn.Module,
    variables: Mapping[str, Any],
    batches: Iterable[Any],
    names: Sequence[str],
    shape: Callable[[Any], jax.Array] | None = None,
    **settings: Any,
) -> Iterator[dict[str, np.ndarray]]:
    """The same for batch after batch, by one compiled program for each size of batch.

    Args:
      module, variables, names, shape, settings: as for `capture`.
      batches: inputs.

    Yields:
      Name to [B, D], on the host.

    Raises:
      ValueError: no submodule of that name is called.
    """
    # Settings are Python values that decide what is computed, so they are no arguments of the program.
    run = jax.jit(functools.partial(capture, module, names=tuple(names), shape=shape, **settings))
    for x in batches:
        yield jax.tree.map(np.asarray, run(variables, x))


def pooled(out: Any) -> jax.Array:
    """The mean over all positions between examples and channels.

    Args:
      out: [B, ..., D]; or a dict of "hidden" [B, T, D] and "mask" [B, T], whose padding is left out.

    Returns:
      [B, D] in float32; zeros for a sequence of nothing but padding.

    Raises:
      ValueError: there is one number an example, or it is something else.
    """
    if isinstance(out, Mapping) and {"hidden", "mask"} <= out.keys():
        mask_BT = out["mask"].astype(jnp.float32)
        total_BD = jnp.einsum("btd,bt->bd", out["hidden"].astype(jnp.float32), mask_BT)
        return total_BD / jnp.maximum(reduce(mask_BT, "b t -> b 1", "sum"), 1.0)
    return reduce(_array(out).astype(jnp.float32), "b ... d -> b d", "mean")


def flattened(out: Any) -> jax.Array:
    """All numbers of an example in a row; for those that are too many for CKA of the whole there is `MinibatchCka`.

    Args:
      out: [B, ..., D]; or a dict of "hidden" [B, T, D] and "mask" [B, T], where padding becomes 0.

    Returns:
      [B, features] in float32.

    Raises:
      ValueError: as for `pooled`.
    """
    if isinstance(out, Mapping) and {"hidden", "mask"} <= out.keys():
        out = out["hidden"] * rearrange(out["mask"], "b t -> b t 1").astype(out["hidden"].dtype)
    return rearrange(_array(out).astype(jnp.float32), "b ... -> b (...)")


def _array(out: Any) -> jax.Array:
    if not hasattr(out, "ndim") or out.ndim < 2:
        raise ValueError("out: expected an array [examples, ..., features], or hidden states with their mask")
    array: jax.Array = out
    return array


def _instead(module: nn.Module, variables: Mapping[str, Any], x: Any, name: str, settings: dict[str, Any]) -> str:
    """The closest names, or all of them where there are few."""
    called: set[str] = set()

    def note(part: nn.Module, method: str) -> bool:
        if method == "__call__" and part.path:
            called.add("/".join(part.path))
        return False

    jax.eval_shape(lambda: module.apply(dict(variables), x, capture_intermediates=note, mutable=[_KEPT], **settings))
    return suggest(name, called)

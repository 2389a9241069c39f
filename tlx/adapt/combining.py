"""What every way of combining trees shares: their leaves must match, and are added up in float32.

Entries are combined one by one. The mean of two products is not the product of two means, so low-rank adapters are
merged into their kernels before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx import tree
from tlx.errors import RuleError, suggest


def numbered(name: str, trees: Sequence[Any]) -> dict[str, Any]:
    """The trees of a list by a name for messages: `name[0]`, `name[1]`, ...

    Raises:
      RuleError: the list is empty.
    """
    if not len(trees):
        raise RuleError(f"{name}: expected at least one tree, got none")
    return {f"{name}[{i}]": each for i, each in enumerate(trees)}


def matched(trees: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[jax.Array]]]:
    """The leaves of several trees side by side.

    Args:
      trees: nested dicts of arrays, by a name for messages; at least one.

    Returns:
      `(kept, floats)`: path to the one value of a leaf of integers or booleans, and path to the values of a float
      leaf in the order of the trees.

    Raises:
      RuleError: a leaf that not all trees have, a differing shape or dtype, a leaf that is neither integer nor a
        float of at most 32 bits, integers that differ, or no float leaf at all. The integers of traced trees are
        taken to be equal.
    """
    flat = {name: tree.flatten(each) for name, each in trees.items()}
    (first, leaves), *others = flat.items()
    is_float = {path: _is_float(path, leaf.dtype) for path, leaf in leaves.items()}
    if not any(is_float.values()):
        raise RuleError(f"{first} has no float parameter to combine")
    for name, other in others:
        _check_alike(first, leaves, name, other)
        for path, leaf in leaves.items():
            if not is_float[path] and not _same_values(leaf, other[path]):
                raise RuleError(f"{path!r} holds integers that differ between {first} and {name}")
    kept = {path: leaf for path, leaf in leaves.items() if not is_float[path]}
    floats = {path: [jnp.asarray(each[path]) for each in flat.values()] for path in leaves if is_float[path]}
    return kept, floats


def difference(start: jax.Array, tuned: jax.Array) -> jax.Array:
    """What leads from one leaf to the other, in float32."""
    return tuned.astype(jnp.float32) - start.astype(jnp.float32)


def moved(start: jax.Array, step: jax.Array) -> jax.Array:
    """The leaf plus a float32 step, in the leaf's dtype.

    Args:
      start: float leaf of any shape.
      step: float32, of the same shape.

    Returns:
      Their sum; entries of step zero keep their bits, also where they are -0 or too small for the sum.
    """
    return jnp.where(step == 0, start, (start.astype(jnp.float32) + step).astype(start.dtype))


def _is_float(path: str, dtype: Any) -> bool:
    if jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.bool_):
        return False
    if jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize <= 4:
        return True
    raise RuleError(f"{path!r} is {dtype}; expected integers or floats of at most 32 bits")


def _check_alike(first: str, leaves: Mapping[str, Any], name: str, other: Mapping[str, Any]) -> None:
    _check_present(name, other, leaves)
    _check_present(first, leaves, other)
    for path, leaf in leaves.items():
        if other[path].shape != leaf.shape:
            raise RuleError(f"{path!r} has shape {leaf.shape} in {first} and {other[path].shape} in {name}")
        if other[path].dtype != leaf.dtype:
            raise RuleError(f"{path!r} is {leaf.dtype} in {first} and {other[path].dtype} in {name}")


def _check_present(name: str, leaves: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for path in expected:
        if path not in leaves:
            raise RuleError(f"{name} has no parameter {path!r}{suggest(path, leaves.keys() - expected.keys())}")


def _same_values(one: Any, other: Any) -> bool:
    if isinstance(one, jax.core.Tracer) or isinstance(other, jax.core.Tracer):
        return True
    return np.array_equal(np.asarray(one), np.asarray(other))

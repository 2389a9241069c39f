"""Trees with named leaves: a leaf's name is its path, joined with "/"."""

import functools
import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from tlx.errors import RuleError

Tree = Any


def flatten(tree: Tree) -> dict[str, Any]:
    """The leaves of a tree by path, in the order in which JAX visits them.

    >>> flatten({"head": {"bias": 1, "kernel": 2}, "body": 3, "empty": {}})
    {'body': 3, 'head/bias': 1, 'head/kernel': 2}

    Args:
      tree: nested dicts; tuples, named tuples and other pytrees count by index or field name.

    Returns:
      Path to leaf. Empty subtrees have no leaf and leave no trace.

    Raises:
      ValueError: if a key contains "/", which would make two paths look alike.
    """
    leaves = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        names = [jax.tree_util.keystr((key,), simple=True) for key in keys]
        for name in names:
            if "/" in name:
                raise ValueError(f"the key {name!r} contains '/', which separates the parts of a path")
        leaves["/".join(names)] = leaf
    return leaves


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dict with these leaves; the inverse of `flatten` for nested dicts.

    >>> unflatten({"body": 3, "head/bias": 1, "head/kernel": 2})
    {'body': 3, 'head': {'bias': 1, 'kernel': 2}}

    Args:
      leaves: path to leaf.

    Raises:
      ValueError: if a path is both a leaf and the beginning of another path.
    """
    tree: dict[str, Any] = {}
    for path in leaves:
        *parents, name = path.split("/")
        node = tree
        for depth, parent in enumerate(parents, 1):
            if (above := "/".join(parents[:depth])) in leaves:
                raise ValueError(f"{above!r} is a leaf, so {path!r} cannot lie below it")
            node = node.setdefault(parent, {})
        node[name] = leaves[path]
    return tree


def count(tree: Tree) -> int:
    """How many numbers the tree holds.

    >>> count({"bias": np.zeros(3), "kernel": jax.ShapeDtypeStruct((2, 3), "float32")})
    9
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def nbytes(tree: Tree) -> int:
    """How many bytes the tree's numbers take, each leaf counted once however many devices hold it.

    >>> nbytes({"bias": np.zeros(3, "float32"), "kernel": jax.ShapeDtypeStruct((2, 3), "bfloat16")})
    24
    """
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def inventory(tree: Tree) -> dict[str, dict[str, Any]]:
    """What each leaf is: shape, dtype and the SHA-256 of its bytes, by path in sorted order.

    >>> inventory({"bias": np.zeros(3, "float32")})["bias"]["shape"]
    [3]
    """
    return {path: _describe(np.asarray(leaf)) for path, leaf in sorted(flatten(tree).items())}


def digest(tree: Tree) -> str:
    """The SHA-256 of everything in the tree: path, shape, dtype and bytes of every leaf.

    >>> digest({"a": np.int32(1)}) == digest({"a": np.int32(1)}) != digest({"a": np.uint32(1)})
    True
    """
    return digest_inventory(inventory(tree))


def digest_inventory(leaves: Mapping[str, Mapping[str, Any]]) -> str:
    """The digest of the tree that has this inventory, without the tree.

    >>> digest_inventory(inventory({"a": np.ones(2)})) == digest({"a": np.ones(2)})
    True
    """
    return hashlib.sha256(json.dumps(leaves, sort_keys=True).encode()).hexdigest()


def matches(pattern: str, path: str) -> bool:
    """Whether the whole path matches a regular expression.

    >>> matches(".*/kernel", "head/kernel"), matches("head", "head/kernel")
    (True, False)

    Raises:
      RuleError: if the pattern is not a regular expression.
    """
    return _compiled(pattern).fullmatch(path) is not None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise RuleError(f"the rule {pattern!r} is not a regular expression: {error}") from None


def _describe(leaf: np.ndarray) -> dict[str, Any]:
    content = hashlib.sha256(leaf.tobytes()).hexdigest()
    return {"shape": list(leaf.shape), "dtype": leaf.dtype.name, "sha256": content}

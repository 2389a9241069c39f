"""Which layer a leaf of a tree belongs to."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlx import tree

# Path to layer, or None for leaves that do not count.
LayerOf = Callable[[str], str | None]


def trunk_layer(path: str) -> str | None:
    """The module right below the collection; None for heads and for collections that are not weights.

    >>> trunk_layer("params/block_0/mlp/up/kernel"), trunk_layer("params/head/bias"), trunk_layer("batch_stats/a/mean")
    ('block_0', None, None)
    """
    collection, _, rest = path.partition("/")
    layer, _, leaf = rest.partition("/")
    return layer if collection == "params" and leaf and layer != "head" else None


def by_layer(leaves: Any, layer_of: LayerOf = trunk_layer) -> dict[str, dict[str, NDArray[np.float64]]]:
    """The leaves of a tree by layer and path, in float64.

    Args:
      leaves: nested dicts of arrays.
      layer_of: says which layer a leaf's path belongs to, or None to leave it out.

    Returns:
      Layers in the order in which the tree has them.
    """
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    for path, leaf in tree.flatten(leaves).items():
        if (layer := layer_of(path)) is not None:
            found.setdefault(layer, {})[path] = np.asarray(leaf, np.float64)
    return found


def check_alike(one: Any, other: Any, names: tuple[str, str]) -> None:
    """Whether two trees, each from `by_layer`, have the same leaves.

    Args:
      one: the first.
      other: the second.
      names: what to call them.

    Raises:
      ValueError: naming the first leaf that only one has, or whose shapes differ.
    """
    shapes = [{path: leaf.shape for layer in each.values() for path, leaf in layer.items()} for each in (one, other)]
    for path in sorted(shapes[0].keys() | shapes[1].keys()):
        for shape_of, name in zip(shapes, names, strict=True):
            if path not in shape_of:
                raise ValueError(f"{name}: has no leaf {path!r}")
        mine, theirs = (list(shape_of[path]) for shape_of in shapes)
        if mine != theirs:
            raise ValueError(f"{names[1]}: {path!r} has the shape {theirs}, not {mine}")

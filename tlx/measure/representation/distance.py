"""How far the weights of each layer have moved."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlx.measure.representation.layers import LayerOf, by_layer, check_alike, trunk_layer


@dataclass(frozen=True)
class Drift:
    """What a layer's weights moved by.

    Args:
      l2: ‖θ - θ₀‖ over all leaves of the layer.
      relative: the same as a share of ‖θ₀‖; NaN where that is 0.
    """

    l2: float
    relative: float


def weight_distance(before: Any, after: Any, layer_of: LayerOf = trunk_layer) -> dict[str, Drift]:
    """How far each layer is from where it was.

    Args:
      before: nested dict of arrays, θ₀.
      after: the same leaves, θ.
      layer_of: path to layer, None for what does not count: by default heads and running statistics.

    Returns:
      Layer to distance.

    Raises:
      ValueError: if the trees differ in a leaf that counts.

    Source: Neyshabur, Sedghi and Zhang 2020, "What is being transferred in transfer learning?".

    >>> start = {"params": {"body": {"w": np.array([3.0, 4.0])}, "head": {"w": np.zeros(2)}}}
    >>> weight_distance(start, {"params": {"body": {"w": np.array([3.0, 5.0])}, "head": {"w": np.ones(2)}}})
    {'body': Drift(l2=1.0, relative=0.2)}
    """
    old, new = by_layer(before, layer_of), by_layer(after, layer_of)
    check_alike(old, new, ("before", "after"))
    found = {}
    for layer, leaves in old.items():
        moved = _length([new[layer][path] - leaf for path, leaf in leaves.items()])
        length = _length([*leaves.values()])
        found[layer] = Drift(moved, moved / length if length else math.nan)
    return found


def update_cosine(base: Any, one: Any, other: Any, layer_of: LayerOf = trunk_layer) -> dict[str, float]:
    """Whether two runs that began alike moved the same way: the cosine of their updates, layer by layer.

    Args:
      base: nested dict of arrays: where both began.
      one: the same leaves after one run.
      other: after the other.
      layer_of: as for `weight_distance`.

    Returns:
      Layer to cosine, -1 to 1; NaN where a run did not move the layer.

    Raises:
      ValueError: if the trees differ in a leaf that counts.

    >>> start, along, across = ({"params": {"body": {"w": np.array(w)}}} for w in ([0.0, 0.0], [2.0, 0.0], [0.0, 1.0]))
    >>> update_cosine(start, along, along), update_cosine(start, along, across)
    ({'body': 1.0}, {'body': 0.0})
    """
    start, first, second = (by_layer(each, layer_of) for each in (base, one, other))
    check_alike(start, first, ("base", "one"))
    check_alike(start, second, ("base", "other"))
    found = {}
    for layer, leaves in start.items():
        steps = [[moved[layer][path] - leaf for path, leaf in leaves.items()] for moved in (first, second)]
        lengths = _length(steps[0]) * _length(steps[1])
        product = sum(float(np.vdot(a, b)) for a, b in zip(*steps, strict=True))
        found[layer] = product / lengths if lengths else math.nan
    return found


def _length(leaves: list[Any]) -> float:
    return math.sqrt(sum(float(np.vdot(leaf, leaf)) for leaf in leaves))

"""Relative gradient norms: which layers a target wants to move most."""

import math
from typing import Any

import numpy as np

from tlx.measure.representation.layers import LayerOf, by_layer, check_alike, trunk_layer


def gradient_profile(weights: Any, gradients: Any, layer_of: LayerOf = trunk_layer) -> dict[str, float]:
    """The norm of each layer's gradient as a share of that of its weights, `‖g‖ / ‖θ‖`.

    Args:
      weights: nested dict of arrays, θ.
      gradients: the same leaves, g: of one batch, or the mean over several.
      layer_of: path to layer, None for what does not count: by default heads and running statistics.

    Returns:
      Layer to share; NaN where the weights are 0.

    Raises:
      ValueError: if the trees differ in a leaf that counts.

    Source: Lee et al. 2023, "Surgical fine-tuning improves adaptation to distribution shifts", Auto-RGN; there of
      single tensors, here of layers.

    >>> gradient_profile({"params": {"body": {"w": np.array([3.0, 4.0])}}}, {"params": {"body": {"w": np.ones(2)}}})
    {'body': 0.282842712474619}
    """
    theta, slope = by_layer(weights, layer_of), by_layer(gradients, layer_of)
    check_alike(theta, slope, ("weights", "gradients"))
    found = {}
    for layer, leaves in theta.items():
        length = _length(leaves)
        found[layer] = _length(slope[layer]) / length if length else math.nan
    return found


def _length(leaves: dict[str, Any]) -> float:
    return math.sqrt(sum(float(np.vdot(leaf, leaf)) for leaf in leaves.values()))

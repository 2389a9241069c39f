"""Which modules a network cannot do without what it learned."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlx import tree
from tlx.measure.representation.barrier import Evaluate
from tlx.measure.representation.layers import LayerOf, by_layer, check_alike, trunk_layer

# Shares α of the way from start to end, and deviations σ, that μ is searched over.
ALPHAS = tuple(i / 10 for i in range(11))
SIGMAS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)


@dataclass(frozen=True)
class Rewound:
    """A network with one module put back.

    Args:
      accuracy: with the module put back.
      loss: likewise.
      accuracy_drop: accuracy of the whole network less that.
      loss_rise: loss less that of the whole network.
    """

    accuracy: float
    loss: float
    accuracy_drop: float
    loss_rise: float


def rewinding(
    evaluate: Evaluate,
    trained: Any,
    reference: Any,
    modules: Iterable[str] | None = None,
    layer_of: LayerOf = trunk_layer,
) -> dict[str, Rewound]:
    """What is lost when one module at a time is put back to other weights.

    Args:
      evaluate: leaves to accuracy and loss.
      trained: nested dict of arrays.
      reference: the same leaves, to put back: those before training to rewind, fresh ones to re-randomise.
      modules: which; None for all that `layer_of` names.
      layer_of: path to module, None for what is never put back: by default heads and running statistics.

    Returns:
      Module to what is left; a module that training did not move has lost nothing.

    Raises:
      ValueError: if the trees differ in a leaf that counts, or there is no such module.

    Source: Zhang, Bengio and Singer 2019, "Are all layers created equal?", section 3.
    """
    leaves = tree.flatten(trained)
    back = _checked(trained, reference, modules, layer_of)
    accuracy, loss = evaluate(trained)
    found = {}
    for module, old in back.items():
        worse, more = evaluate(tree.unflatten({**leaves, **old}))
        found[module] = Rewound(worse, more, accuracy - worse, more - loss)
    return found


def criticality(
    evaluate: Evaluate,
    trained: Any,
    start: Any,
    epsilon: float,
    rng: np.random.Generator,
    *,
    modules: Iterable[str] | None = None,
    layer_of: LayerOf = trunk_layer,
    alphas: Sequence[float] = ALPHAS,
    sigmas: Sequence[float] = SIGMAS,
    draws: int = 3,
) -> dict[str, float]:
    """How narrow and how far the valley is that leads a module back to its start.

    Args:
      evaluate: leaves to accuracy and loss; called up to `alphas · sigmas · draws` times a module.
      trained: nested dict of arrays, θF.
      start: the same leaves before training, θ0.
      epsilon: the loss that is still good enough.
      rng: draws the noise.
      modules: which; None for all that `layer_of` names.
      layer_of: path to module, None for what does not count.
      alphas: shares of the way from start to end, 0 to 1.
      sigmas: standard deviations of the noise, above 0 and up to 1.
      draws: of the noise, over which the loss is averaged.

    Returns:
      Module to `μ = min α² ‖θF - θ0‖² / σ²` over those α and σ where the mean loss with the module at
      `θ0 + α(θF - θ0) + σu`, u standard normal, is at most ε. 0 for a module that can be rewound; infinity where no
      point is good enough.

    Raises:
      ValueError: if the trees differ in a leaf that counts, or there is no such module.

    Source: Chatterji, Neyshabur and Sedghi 2020, "The intriguing role of module criticality in the generalization of
      deep networks", definition 1; on a grid, where the paper samples.
    """
    leaves = tree.flatten(trained)
    ends = by_layer(trained, layer_of)
    found = {}
    for module, old in _checked(trained, start, modules, layer_of).items():
        step = {path: ends[module][path] - old[path] for path in old}
        square = sum(float(np.vdot(moved, moved)) for moved in step.values())
        best = math.inf
        for value, alpha, sigma in sorted((a**2 * square / s**2, a, s) for a in alphas for s in sigmas):
            losses = []
            for _ in range(draws):
                noisy = {p: old[p] + alpha * step[p] + sigma * rng.standard_normal(old[p].shape) for p in old}
                own = {path: leaf.astype(np.asarray(leaves[path]).dtype) for path, leaf in noisy.items()}
                losses.append(evaluate(tree.unflatten({**leaves, **own}))[1])
            if np.mean(losses) <= epsilon:  # the first of all in order is the least
                best = value
                break
        found[module] = best
    return found


def _checked(trained: Any, reference: Any, modules: Iterable[str] | None, layer_of: LayerOf) -> dict[str, Any]:
    """The leaves to put back, by module, as the reference has them."""
    ours, theirs = by_layer(trained, layer_of), by_layer(reference, layer_of)
    check_alike(ours, theirs, ("trained", "reference"))
    names = list(theirs) if modules is None else list(modules)
    if missing := [name for name in names if name not in theirs]:
        raise ValueError(f"modules: there is no {missing[0]!r}; there are {', '.join(theirs)}")
    leaves = tree.flatten(reference)
    return {name: {path: np.asarray(leaves[path]) for path in theirs[name]} for name in names}

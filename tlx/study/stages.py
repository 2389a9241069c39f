"""What each stage of an adapted model makes of examples: one vector an example, batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from tlx.adapt.adapted import Adapted
from tlx.cut import batches, below
from tlx.measure.representation.capture import pooled
from tlx.study.context import Context


@dataclass(frozen=True)
class Passed:
    """A batch that went through a model.

    Args:
      features: [examples, channels] of every stage before the head, the mean over positions.
      logits_BC: what the head made of them.
    """

    features: tuple[np.ndarray, ...]
    logits_BC: np.ndarray


def measured_stages(adapted: Adapted) -> tuple[str, ...]:
    """The stages whose features are compared: all but the head, whose outputs belong to a target."""
    return adapted.model.stages[:-1]


def pass_through(
    adapted: Adapted, sides: Sequence[dict[str, Any]], x_N: Any, context: Context
) -> Iterator[tuple[Passed, ...]]:
    """The same examples through the same adapted model with several sets of leaves.

    Args:
      adapted: the model and its methods.
      sides: its leaves, `params`, `adapters` and `batch_stats`, for each pass.
      x_N: images as bytes, or token ids, [examples, ...].
      context: of the study.

    Yields:
      For each batch what every side made of it. Of a network that a method runs beside the model only what it hands to
      the model shows.
    """
    # Methods that only say what trains share one program.
    adapted = below(adapted, len(adapted.model.stages))
    place, ops = context.placement.evaluation, context.study.pipeline().evaluation
    placed = [place.shared(leaves) for leaves in sides]

    def run(leaves: Any, x: Any) -> Any:
        flow, features = ops.ready(x), []
        for k in range(len(adapted.model.stages) - 1):
            flow = adapted.apply(leaves, flow, first=k, last=k + 1)[0]
            features.append(_features(flow))
        return features, adapted.apply(leaves, flow, first=len(adapted.model.stages) - 1)[0]

    def call(chunk: Any) -> tuple[Any, float]:
        found = []
        for leaves in placed:
            args = (leaves, place.batch(chunk))
            program = context.programs.get((adapted, ops, "stages"), lambda *a: jax.jit(run).lower(*a).compile(), *args)
            found.append(jax.tree.map(np.asarray, program.call(*args)))
        return found, 0.0

    for outputs, _ in batches(call, x_N, context.study.execution.eval_batch):
        yield tuple(Passed(tuple(features), logits_BC) for features, logits_BC in outputs)


def _features(flow: Any) -> jax.Array:
    """Of what flows, the model's own part."""
    return pooled(flow["base"] if isinstance(flow, dict) and "base" in flow else flow)

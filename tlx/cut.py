"""The frozen stages below the cut, run once per example and kept."""

from typing import Any

import jax
import numpy as np

from tlx.adapt.adapted import Adapted
from tlx.data.ops.pipeline import NO_OPS, Pipeline
from tlx.loop import Programs
from tlx.sharding import Placement


def activations(
    adapted: Adapted,
    variables: Any,
    x_N: np.ndarray,
    depth: int,
    *,
    placement: Placement,
    programs: Programs,
    batch: int,
    ops: Pipeline = NO_OPS,
) -> tuple[Any, float]:
    """What enters stage `depth`, for every example.

    Args:
      adapted: the model and its method; everything below `depth` is frozen.
      variables: parameters, adapters and statistics.
      x_N: inputs of the model, [examples, ...]; images as bytes, or token ids.
      depth: index of the first stage that is not run.
      placement: the devices.
      programs: shared with every run.
      batch: examples per call.
      ops: what is done to every batch before.

    Returns:
      Activations [examples, ...], an array or nested dicts of arrays, and the FLOPs one example cost.
    """

    def below(variables: Any, x_B: Any) -> Any:
        return adapted.apply(variables, ops.ready(x_B), last=depth)[0]

    placed = placement.evaluation.shared(variables)

    def call(chunk: np.ndarray) -> tuple[Any, float]:
        args = (placed, placement.evaluation.batch(chunk))
        program = programs.get((adapted, ops, "below", depth), lambda *a: jax.jit(below).lower(*a).compile(), *args)
        return jax.tree.map(np.asarray, program.call(*args)), program.flops / batch

    return in_batches(call, x_N, batch)


def in_batches(call: Any, x_N: Any, batch: int) -> tuple[Any, float]:
    """A function of fixed batch size over any number of examples; the last batch is filled up with zeros.

    Args:
      call: [batch, ...] to outputs [batch, ...] and a cost per example.
      x_N: inputs, [examples, ...], an array or nested dicts of arrays.
      batch: examples per call.

    Returns:
      Outputs [examples, ...] and the cost per example.
    """
    parts, cost, size = [], 0.0, len(jax.tree.leaves(x_N)[0])
    for start in range(0, size, batch):
        here = min(batch, size - start)
        out, cost = call(jax.tree.map(lambda x, start=start: _filled(x[start : start + batch], batch), x_N))
        parts.append(jax.tree.map(lambda leaf, here=here: leaf[:here], out))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts), cost


def _filled(x_B: np.ndarray, batch: int) -> np.ndarray:
    fill = np.zeros((batch - len(x_B), *x_B.shape[1:]), x_B.dtype)
    return np.concatenate([x_B, fill]) if len(fill) else x_B

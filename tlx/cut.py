"""The frozen stages below the cut, run once per example and kept."""

from typing import Any

import jax
import numpy as np

from tlx.adapt.adapted import Adapted
from tlx.data.preprocess import normalise
from tlx.loop import Programs
from tlx.sharding import Placement


def activations(
    adapted: Adapted,
    variables: Any,
    image_NHWC: np.ndarray,
    depth: int,
    *,
    placement: Placement,
    programs: Programs,
    batch: int,
) -> tuple[np.ndarray, float]:
    """What enters stage `depth`, for every image.

    Args:
      adapted: the model and its method; everything below `depth` is frozen.
      variables: parameters, adapters and statistics.
      image_NHWC: bytes, [examples, rows, columns, channels].
      depth: index of the first stage that is not run.
      placement: the devices.
      programs: shared with every run.
      batch: examples per call.

    Returns:
      Activations [examples, ...] and the FLOPs one example cost.
    """

    def below(variables: Any, image_BHWC: jax.Array) -> jax.Array:
        return adapted.apply(variables, normalise(image_BHWC), last=depth)[0]

    placed = placement.evaluation.shared(variables)

    def call(chunk: np.ndarray) -> tuple[np.ndarray, float]:
        args = (placed, placement.evaluation.batch(chunk))
        program = programs.get((adapted, "below", depth), lambda *a: jax.jit(below).lower(*a).compile(), *args)
        return np.asarray(program.call(*args)), program.flops / batch

    return in_batches(call, image_NHWC, batch)


def in_batches(call: Any, x_N: np.ndarray, batch: int) -> tuple[np.ndarray, float]:
    """A function of fixed batch size over any number of examples; the last batch is filled up with zeros.

    Args:
      call: [batch, ...] to outputs [batch, ...] and a cost per example.
      x_N: inputs, [examples, ...].
      batch: examples per call.

    Returns:
      Outputs [examples, ...] and the cost per example.
    """
    parts, cost = [], 0.0
    for start in range(0, len(x_N), batch):
        part = x_N[start : start + batch]
        fill = np.zeros((batch - len(part), *x_N.shape[1:]), x_N.dtype)
        out, cost = call(np.concatenate([part, fill]) if len(fill) else part)
        parts.append(out[: len(part)])
    return np.concatenate(parts), cost

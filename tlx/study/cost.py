"""What a task costs, from shapes and from the compiler, before anything is trained."""

import functools
import itertools
import math
import threading
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from tlx import tree
from tlx.sharding import flops_of
from tlx.state import make_hyper
from tlx.step import Task, init_state, train_step


@dataclass(frozen=True)
class Size:
    """What a task holds.

    Args:
      trainable: parameters and adapters that move.
      total: all parameters and adapters.
      trainable_bytes: of those that move.
      frozen_bytes: of those that do not.
      optimizer_bytes: of the optimizer's state.
    """

    trainable: int
    total: int
    trainable_bytes: int
    frozen_bytes: int
    optimizer_bytes: int


def size_of(task: Task) -> Size:
    """Counts and bytes of a task's tree, in the last of its phases.

    Args:
      task: what would be run.

    Returns:
      Its size.
    """
    task = task.at(task.steps)
    trainable, _, frozen = task.adapted.split(task.adapted.abstract(), task.phase)
    state = jax.eval_shape(task.transformation().init, trainable)
    return Size(
        trainable=tree.count(trainable),
        total=tree.count({key: task.adapted.abstract().get(key, {}) for key in ("params", "adapters")}),
        trainable_bytes=tree.nbytes(trainable),
        frozen_bytes=tree.nbytes(frozen),
        optimizer_bytes=tree.nbytes(state),
    )


@dataclass(frozen=True)
class StepCost:
    """What the compiler says of one train step.

    Args:
      flops: floating-point operations.
      nbytes: memory that its arguments, results and what lies between them take at once.
    """

    flops: float
    nbytes: float


def step_flops(task: Task, batch_size: int) -> float:
    """Floating-point operations of one train step, as the compiler counts them; the mean over all steps.

    Args:
      task: what would be run; its inputs enter at the cut.
      batch_size: examples.

    Returns:
      Operations of the forward pass, the gradients of the trainable part and the update.
    """
    return sum(steps * cost.flops for steps, cost in _phases(task, batch_size)) / task.steps


def step_bytes(task: Task, batch_size: int) -> float:
    """Memory that one train step takes at once, in bytes: in the largest of its phases.

    Args:
      task: what would be run; its inputs enter at the cut.
      batch_size: examples.

    Returns:
      As the compiler plans it; NaN where it does not say.
    """
    return max(cost.nbytes for _, cost in _phases(task, batch_size))


def _phases(task: Task, batch_size: int) -> list[tuple[int, StepCost]]:
    """Number of steps and cost of a step of each phase."""
    edges = [*task.bounds, task.steps]
    with _lock:
        return [
            (stop - start, _step_cost(replace(task, phase=phase), batch_size))
            for phase, (start, stop) in enumerate(itertools.pairwise(edges))
            if stop > start
        ]


_lock = threading.Lock()


@functools.cache
def _step_cost(task: Task, batch_size: int) -> StepCost:
    trainable, stats, frozen = task.adapted.split(task.adapted.abstract(), task.phase)
    example = jax.eval_shape(lambda: task.adapted.model.example(batch_size))
    entry = jax.eval_shape(lambda v, x: task.adapted.apply(v, x, last=task.first)[0], task.adapted.abstract(), example)
    state = jax.eval_shape(lambda leaves, stats: init_state(task, leaves, stats, make_hyper(0.0)), trainable, stats)
    labels = (batch_size, *task.adapted.anatomy.outputs[-1].shape[1:-1])
    batch = {"input": entry, "label": jax.ShapeDtypeStruct(labels, jnp.int32)}
    compiled = jax.jit(functools.partial(train_step, task)).lower(state, frozen, batch).compile()
    memory = compiled.memory_analysis()
    parts = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    nbytes = float(sum(getattr(memory, part) for part in parts)) if memory is not None else math.nan
    return StepCost(flops_of(compiled), nbytes)

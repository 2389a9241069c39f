"""What a task costs, from shapes and from the compiler, before anything is trained."""

import functools
import itertools
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


def step_flops(task: Task, batch_size: int) -> float:
    """Floating-point operations of one train step, as the compiler counts them; the mean over all steps.

    Args:
      task: what would be run; its inputs enter at the cut.
      batch_size: examples.

    Returns:
      Operations of the forward pass, the gradients of the trainable part and the update.
    """
    edges = [*task.bounds, task.steps]
    with _lock:
        each = [
            (stop - start) * _step_flops(replace(task, phase=phase), batch_size)
            for phase, (start, stop) in enumerate(itertools.pairwise(edges))
            if stop > start
        ]
    return sum(each) / task.steps


_lock = threading.Lock()


@functools.cache
def _step_flops(task: Task, batch_size: int) -> float:
    trainable, stats, frozen = task.adapted.split(task.adapted.abstract(), task.phase)
    example = jax.eval_shape(lambda: task.adapted.model.example(batch_size))
    entry = jax.eval_shape(lambda v, x: task.adapted.apply(v, x, last=task.first)[0], task.adapted.abstract(), example)
    state = jax.eval_shape(lambda leaves, stats: init_state(task, leaves, stats, make_hyper(0.0)), trainable, stats)
    labels = (batch_size, *task.adapted.anatomy.outputs[-1].shape[1:-1])
    batch = {"input": entry, "label": jax.ShapeDtypeStruct(labels, jnp.int32)}
    return flops_of(jax.jit(functools.partial(train_step, task)).lower(state, frozen, batch).compile())

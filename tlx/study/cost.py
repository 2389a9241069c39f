"""What a task costs, from shapes and from the compiler, before anything is trained."""

import functools
import threading
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from tlx import tree
from tlx.optim import make_optimizer
from tlx.partition import partition, trainable_labels
from tlx.sharding import flops_of
from tlx.state import make_hyper
from tlx.step import Task, init_state, train_step


@dataclass(frozen=True)
class Size:
    """What a task holds.

    Args:
      trainable: parameters that move.
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
    """Counts and bytes of a task's tree.

    Args:
      task: what would be run.

    Returns:
      Its size.
    """
    trainable, frozen, _ = _parts(task)
    transformation = make_optimizer(task.optimizer, trainable_labels(task.adapted.labels()))
    state = jax.eval_shape(transformation.init, trainable)
    return Size(
        trainable=tree.count(trainable),
        total=tree.count(trainable) + tree.count(frozen),
        trainable_bytes=tree.nbytes(trainable),
        frozen_bytes=tree.nbytes(frozen),
        optimizer_bytes=tree.nbytes(state),
    )


def step_flops(task: Task, batch_size: int) -> float:
    """Floating-point operations of one train step, as the compiler counts them.

    Args:
      task: what would be run; its inputs enter at the cut.
      batch_size: examples.

    Returns:
      Operations of the forward pass, the gradients of the trainable part and the update.
    """
    with _lock:
        return _step_flops(task, batch_size)


_lock = threading.Lock()


@functools.cache
def _step_flops(task: Task, batch_size: int) -> float:
    trainable, frozen, stats = _parts(task)
    image = jax.ShapeDtypeStruct((batch_size, *task.adapted.model.image_HWC), jnp.float32)
    variables = {**task.adapted.abstract()}
    entry = jax.eval_shape(lambda v, x: task.adapted.apply(v, x, last=task.first)[0], variables, image)
    state = jax.eval_shape(lambda leaves, stats: init_state(task, leaves, stats, make_hyper(0.0)), trainable, stats)
    batch = {"input": entry, "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32)}
    return flops_of(jax.jit(functools.partial(train_step, task)).lower(state, frozen, batch).compile())


def _parts(task: Task) -> tuple[Any, Any, Any]:
    shapes = task.adapted.abstract()
    stats = {key: value for key, value in shapes.items() if key == "batch_stats"}
    labelled = {key: value for key, value in shapes.items() if key not in stats}
    return *partition(labelled, task.adapted.labels()), stats

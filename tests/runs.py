"""Short runs over random examples, for the tests of what runs them."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from tiny import CLASSES, adapt, tiny_model

from tlx import loop, tree
from tlx.data.order import index_table
from tlx.loop import Feed, Programs, Resident, Streamed
from tlx.optim import Optimizer
from tlx.sharding import Jit, Placement
from tlx.state import Hyper, TrainState, make_hyper
from tlx.step import Task, init_state

EXAMPLES, BATCH = 40, 8

# Warm-up and decay: a run that loses count of its steps shows it at once.
MOVING = Optimizer(warmup=0.2, schedule="cosine")

_rng = np.random.default_rng(7)
IMAGE_NHWC = _rng.integers(0, 256, (EXAMPLES, *tiny_model().input_shape)).astype(np.uint8)
LABEL_N = _rng.integers(0, CLASSES, EXAMPLES).astype(np.int32)


class Stop(Exception):
    """Raised from a boundary."""


def task_of(method: str, steps: int, optimizer: Optimizer = MOVING, depth: int = 2, **changes: Any) -> Task:
    """A task of the tiny ViT; `changes` replace the method's settings."""
    return Task(adapt(method, tiny_model(depth=depth), **changes), optimizer, steps)


def variables(task: Task, seed: int = 0) -> dict[str, Any]:
    """Random leaves, adapters included; drawn without compiling anything."""
    rng = np.random.default_rng(seed)
    leaves = {}
    for path, leaf in tree.flatten(task.adapted.abstract()).items():
        mean = 1.0 if path.endswith("/scale") else 0.0
        leaves[path] = rng.normal(mean, 0.2, leaf.shape).astype(np.float32)
    return tree.unflatten(leaves)


def begin(task: Task, hyper: Hyper | None = None, seed: int = 0) -> tuple[TrainState, dict[str, Any]]:
    """A state before its first step, and the frozen leaves beside it."""
    trainable, stats, frozen = task.adapted.split(variables(task, seed), task.phase)
    return init_state(task, trainable, stats, hyper or make_hyper(1e-2)), frozen


def table(seed: int = 0, n: int = EXAMPLES) -> Callable[[int, int], np.ndarray]:
    """Batches over the first `n` examples."""
    return lambda start, stop: index_table(n, BATCH, seed, start, stop)


def resident(seed: int = 0, n: int = EXAMPLES, input_N: np.ndarray = IMAGE_NHWC) -> Resident:
    """All examples at once, indexed in the program."""
    return Resident({"input": input_N, "label": LABEL_N}, table(seed, n))


def streamed(seed: int = 0) -> Streamed:
    """The same batches, handed over one by one."""

    def batches(start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        for index_B in table(seed)(start, stop):
            yield {"input": IMAGE_NHWC[index_B], "label": LABEL_N[index_B]}

    return Streamed(batches)


def train(
    task: Task,
    state: TrainState,
    frozen: Any,
    feed: Feed,
    *,
    programs: Programs,
    placement: Placement | None = None,
    chunk: int = 5,
    losses: np.ndarray | None = None,
    boundary: Callable[[TrainState, np.ndarray], None] = lambda state, losses: None,
) -> tuple[TrainState, np.ndarray]:
    """`loop.run`, on one device and from the first loss on unless told otherwise."""
    return loop.run(
        task,
        state,
        frozen,
        feed,
        placement=placement or Jit(),
        programs=programs,
        chunk=chunk,
        losses=np.zeros(0, np.float32) if losses is None else losses,
        boundary=boundary,
    )


def host(nested: Any) -> Any:
    """A copy of all leaves in memory, whatever becomes of those on the devices."""
    return jax.tree.map(lambda leaf: np.array(leaf), nested)


def largest_gap(one: Any, other: Any) -> float:
    """The largest absolute difference between the leaves of two trees."""
    gaps = jax.tree.map(lambda a, b: float(np.max(np.abs(np.asarray(a) - np.asarray(b)))), one, other)
    return max(jax.tree.leaves(gaps))

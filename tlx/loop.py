"""One run: call the compiled step over its batches, in chunks, with a chance to save after each."""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from tlx.data.preprocess import normalised
from tlx.models.conv import looped
from tlx.phases import enter
from tlx.sharding import Placement, Program, flops_of
from tlx.state import TrainState
from tlx.step import Task, train_step

Boundary = Callable[[TrainState, np.ndarray], None]


class Feed(Protocol):
    """Where a run's batches come from; a batch is a pure function of the step."""

    @property
    def data(self) -> dict[str, Any]:
        """Examples every step may index, or `{}`."""

    def items(self, start: int, stop: int) -> Any:
        """What steps `start` to `stop - 1` need: indices into `data`, or whole batches; [steps, batch, ...]."""


@dataclass(frozen=True)
class Resident:
    """Examples that live on the device and are indexed in the program.

    Args:
      data: `input` [N, ...], an array or nested dicts of arrays, and `label` [N].
      table: `(start, stop)` to example indices [steps, batch].
    """

    data: dict[str, Any]
    table: Callable[[int, int], np.ndarray]

    def items(self, start: int, stop: int) -> np.ndarray:
        """Indices [steps, batch]."""
        return self.table(start, stop)


@dataclass(frozen=True)
class Streamed:
    """Examples read as they are needed, in the order a resident feed would index them.

    Args:
      batches: `(start, stop)` to an iterator over batches `input` [B, ...], `label` [B].
    """

    batches: Callable[[int, int], Any]

    @property
    def data(self) -> dict[str, Any]:
        """Nothing is resident."""
        return {}

    def items(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Whole batches, stacked: `input` [steps, B, ...], `label` [steps, B]."""
        batches = list(self.batches(start, stop))
        return {
            "input": np.stack([batch["input"] for batch in batches]),
            "label": np.stack([batch["label"] for batch in batches]),
        }


def fetch(data: dict[str, Any], item: Any) -> dict[str, jax.Array]:
    """The examples of one step, as they are stored.

    Args:
      data: resident examples, or `{}`.
      item: indices [B] into them, or the batch itself.

    Returns:
      `input` and `label`.
    """
    batch = jax.tree.map(lambda values: jnp.take(values, item, axis=0), data) if data else dict(item)
    # How a batch was fed must not show in how the step after it is compiled, or its last bits would differ.
    fetched: dict[str, jax.Array] = jax.lax.optimization_barrier(batch)
    return fetched


def prepared(task: Task, state: TrainState, batch: dict[str, Any], axis: str | None = None) -> dict[str, Any]:
    """The batch of one step, ready for the model: a function of the run's seed and the step, however it was fed.

    Args:
      task: names the ops.
      state: names the seed and the step.
      batch: from `fetch`.
      axis: device axis under `pmap`, or None.

    Returns:
      `input`, normalised where it is still bytes, and `label`.
    """
    if task.ops.ops:
        first = jax.lax.axis_index(axis) * len(batch["label"]) if axis else 0
        batch = task.ops(batch, state.hyper.seed, state.step, first)
    return {**batch, "input": normalised(batch["input"])}


def advance(
    task: Task, state: TrainState, frozen: Any, data: Any, items: Any, axis: str | None = None
) -> tuple[TrainState, jax.Array]:
    """Several train steps in one program.

    Args:
      task: what is run.
      state: before the first step.
      frozen: leaves that do not move.
      data: resident examples, or `{}`.
      items: per-step inputs, [steps, ...].
      axis: device axis under `pmap`, or None.

    Returns:
      The state after the last step and the loss of each, [steps].
    """

    def one(state: TrainState, item: Any) -> tuple[TrainState, jax.Array]:
        return train_step(task, state, frozen, prepared(task, state, fetch(data, item), axis), axis)

    with looped(len(jax.tree.leaves(items)[0]) > 1):
        return jax.lax.scan(one, state, items)


class Programs:
    """Compiled programs by what they depend on: each is compiled once, by whoever needs it first."""

    def __init__(self) -> None:
        self._programs: dict[tuple[Hashable, ...], Program] = {}
        self._locks: dict[Hashable, threading.Lock] = {}
        self._guard = threading.Lock()

    def get(self, name: Hashable, compile_it: Callable[..., Any], *args: Any) -> Program:
        """The program for a name and the shapes of its arguments.

        Args:
          name: hashable; what the function depends on besides its arguments.
          compile_it: arguments to a compiled callable.
          *args: placed arrays.

        Returns:
          The program, compiled now if nobody has yet.
        """
        shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(args))
        key = (name, jax.tree.structure(args), shapes)
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._programs:
                began = time.perf_counter()
                compiled = compile_it(*args)
                self._programs[key] = Program(compiled, flops_of(compiled), time.perf_counter() - began)
            return self._programs[key]

    @property
    def count(self) -> int:
        """Programs compiled so far."""
        return len(self._programs)

    def names(self) -> list[Hashable]:
        """What they are called; one name for every set of shapes it was compiled for."""
        return [name for name, _, _ in self._programs]

    @property
    def compile_s(self) -> float:
        """Seconds spent compiling so far."""
        return sum(program.compile_s for program in self._programs.values())


def call_end(start: int, chunk: int, every: int) -> int:
    """Where a call of a program ends, if nothing else ends it before.

    Args:
      start: its first step.
      chunk: how many it makes at most.
      every: multiples of it are not gone past, 0 for no such limit.
    """
    return min(start + chunk, start - start % every + every) if every else start + chunk


def run(
    task: Task,
    state: TrainState,
    frozen: Any,
    feed: Feed,
    *,
    placement: Placement,
    programs: Programs,
    chunk: int,
    losses: np.ndarray,
    boundary: Boundary,
    until: int | None = None,
    every: int = 0,
) -> tuple[TrainState, np.ndarray]:
    """One run from where its state stands to its last step, through all of its method's phases.

    Args:
      task: what is run.
      state, frozen: fresh or from a boundary, in the phase of the last step done; leaves that do not move in it.
      feed, placement, programs: the batches; the devices; what is compiled for every run.
      chunk: steps per call of the program.
      losses: of the steps already done, [step].
      boundary: called with the state and all losses so far after each chunk; may save, may raise.
      until, every: the step to stop at, None for the last; multiples that no call goes past, 0 for none.

    Returns:
      The state then and the loss of every step. A diverged run ends at the chunk it diverged in.
    """

    def one_run(state: Any, frozen: Any, data: Any, items: Any, axis: str | None = None) -> Any:
        return advance(task, state, frozen, data, items, axis)

    if bool(state.diverged):
        return state, losses
    start, end = int(state.step), task.steps if until is None else until
    task = task.at(max(start - 1, 0))
    data, placed = placement.shared(feed.data), placement.shared(frozen)
    state = placement.state(state)

    def read(start: int) -> tuple[int, Any]:
        stop = min([call_end(start, chunk, every), end, *(bound for bound in task.bounds if bound > start)])
        return stop, placement.items(feed.items(start, stop))

    ahead = read(start) if start < end else None
    while ahead:
        if (now := task.at(start)) != task:
            task = now
            state, frozen = enter(task, placement.fetch(state), frozen)
            state, placed = placement.state(state), placement.shared(frozen)
        stop, items = ahead
        args = (state, placed, data, items)
        program = programs.get(task, lambda *a: placement.compile(one_run, *a), *args)
        state, loss = program.call(*args)
        # Read and sent while the devices are at work; only then is anything waited for.
        ahead = read(stop) if stop < end else None
        fetched = placement.fetch(state)
        losses = np.concatenate([losses, np.asarray(loss).reshape(-1, stop - start)[0]])
        boundary(fetched, losses)
        start, ahead = stop, None if bool(fetched.diverged) else ahead
    return placement.fetch(state), losses

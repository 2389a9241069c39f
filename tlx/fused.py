"""Many runs in one program: `vmap` over everything that changes no shape, frozen leaves shared."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx.loop import Boundary, Programs, advance, call_end
from tlx.models.conv import looped
from tlx.sharding import Placement
from tlx.state import TrainState
from tlx.step import Task


def stack(states: Sequence[TrainState]) -> TrainState:
    """The states of several runs as one, with a leading member axis."""
    stacked: TrainState = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return stacked


def member(state: TrainState, k: int) -> TrainState:
    """The state of run `k` out of a stacked one."""
    one: TrainState = jax.tree.map(lambda leaf: leaf[k], state)
    return one


def members(state: TrainState, chosen: Sequence[int]) -> TrainState:
    """Some runs out of a stacked state, stacked again."""
    some: TrainState = jax.tree.map(lambda leaf: leaf[np.asarray(chosen)], state)
    return some


def run(
    task: Task,
    state: TrainState,
    frozen: Any,
    data: dict[str, Any],
    table: Callable[[int, int], np.ndarray],
    *,
    placement: Placement,
    programs: Programs,
    chunk: int,
    losses: np.ndarray,
    boundary: Boundary,
    until: int | None = None,
    every: int = 0,
) -> tuple[TrainState, np.ndarray]:
    """Several runs of one task at once.

    Args:
      task: what every member runs.
      state: stacked states, [members, ...]; members differ in leaves, hyper-parameters and batches.
      frozen: leaves that do not move, shared by all members and not copied for them.
      data: resident examples, shared: `input` [N, ...] and `label` [N].
      table: `(start, stop)` to example indices [members, steps, batch].
      placement: the devices; members are spread over them.
      programs: shared with every other run.
      chunk: steps per call of the program.
      losses: of the steps already done, [members, step].
      boundary: called with the stacked state and losses after each chunk.
      until: the step to stop at, None for the last.
      every: no call goes past a multiple of it, 0 for no such limit.

    Returns:
      The stacked state and losses [members, step]. A member that diverges keeps its last good
      leaves and touches no neighbour.
    """

    def all_runs(state: Any, frozen: Any, data: Any, items: Any) -> Any:
        one = lambda state, items: advance(task, state, frozen, data, items)  # noqa: E731
        with looped():
            return jax.vmap(one)(state, items)

    start, end = int(state.step[0]), task.steps if until is None else until
    state = placement.state(state, members=True)
    frozen, data = placement.shared(frozen), placement.shared(data)
    while start < end:
        stop = min(call_end(start, chunk, every), end)
        items = placement.items(table(start, stop), members=True)
        args = (state, frozen, data, items)
        program = programs.get((task, "fused"), lambda *a: placement.compile(all_runs, *a), *args)
        state, loss = program.call(*args)
        losses = np.concatenate([losses, np.asarray(loss)], axis=1)
        boundary(state, losses)
        start = stop
    return state, losses

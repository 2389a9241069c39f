"""A unit's runs all at once, in one program."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx import fused
from tlx.checkpoint import Checkpoints
from tlx.state import TrainState, from_tree, to_tree
from tlx.study.context import Context, Stopped
from tlx.study.examples import batch_table
from tlx.study.plan import Unit
from tlx.study.saving import Gate
from tlx.study.starts import Start
from tlx.study.trials import Trained, fresh_state, trials_of


def run_at_once(unit: Unit, starts: dict[int, Start], checkpoints: Checkpoints, context: Context) -> dict[str, Trained]:
    """Run every trial of a unit.

    Args:
      unit: strategy `fused`.
      starts: from `starts_of`.
      checkpoints: the unit's own; all runs are in the newest.
      context: of the study.

    Returns:
      Trial key to finished run.

    Raises:
      Stopped: the study was asked to stop; the state is saved.
    """
    trials = trials_of(unit)
    state = fused.stack([fresh_state(unit, trial, starts[trial.cell.seed], context) for trial in trials])
    losses, spent = np.zeros((len(trials), 0), np.float32), 0.0
    if restored := checkpoints.restore():
        state, losses = from_tree(state, restored.tree["state"]), restored.tree["losses"]
        spent = float(restored.tree["seconds"])
    began = time.perf_counter() - spent
    data, table = _pool(unit, starts, context)
    state, losses = fused.run(
        unit.task,
        state,
        next(iter(starts.values())).frozen,
        data,
        table,
        placement=context.placement,
        programs=context.programs,
        chunk=unit.chunk,
        losses=losses,
        boundary=_boundary(unit, int(state.step[0]), began, checkpoints, context),
    )
    seconds = (time.perf_counter() - began) / len(trials)
    state = jax.device_get(state)
    members = [fused.member(state, k) for k in range(len(trials))]
    return {
        trial.key: Trained(one.evaluated, one.stats, loss, bool(one.diverged), seconds)
        for trial, one, loss in zip(trials, members, losses, strict=True)
    }


def _pool(
    unit: Unit, starts: dict[int, Start], context: Context
) -> tuple[dict[str, Any], Callable[[int, int], np.ndarray]]:
    """All members' examples as one, and who sees which of them when.

    A seed whose activations are its own has its own stretch of the pool; seeds that share a frozen
    backbone share its activations.
    """
    label_N = context.targets[unit.first.target.name].train.label_N
    pools = list({id(start.inputs): start.inputs["train"] for start in starts.values()}.items())
    offset = {key: i * len(label_N) for i, (key, _) in enumerate(pools)}
    data = {
        "input": jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(pool for _, pool in pools)),
        "label": jnp.tile(jnp.asarray(label_N), len(pools)),
    }

    def table(start: int, stop: int) -> np.ndarray:
        rows = []
        for trial in trials_of(unit):
            begin = offset[id(starts[trial.cell.seed].inputs)]
            rows.append(batch_table(trial.cell, context, start, stop) + begin)
        return np.stack(rows)

    return data, table


def _boundary(
    unit: Unit, seen: int, began: float, checkpoints: Checkpoints, context: Context
) -> Callable[[TrainState, np.ndarray], None]:
    """What happens after every chunk: show, save if it is time, stop if asked to."""
    gate = Gate(context.study.execution.every_seconds, context.save_lock)
    context.progress.start(unit.name, unit.runs * unit.task.steps, unit.runs * seen)

    def boundary(state: TrainState, losses: np.ndarray) -> None:
        nonlocal seen
        step = int(state.step[0])
        context.progress.advance(unit.name, unit.runs * (step - seen))
        seen = step
        stop = context.stop.is_set()
        if stop or gate.due():
            seconds = np.float32(time.perf_counter() - began)
            content: dict[str, Any] = {"state": to_tree(state), "losses": losses, "seconds": seconds}
            gate.save(lambda: checkpoints.save(step, content, {}))
        if stop:
            raise Stopped("stopped; run the same command to go on")

    return boundary

"""A unit's runs one after another, through one program."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx import loop
from tlx.checkpoint import Checkpoints
from tlx.loop import Resident
from tlx.state import TrainState, from_tree, to_tree
from tlx.study.context import Context, Stopped
from tlx.study.examples import batch_table
from tlx.study.plan import Unit
from tlx.study.saving import Gate
from tlx.study.starts import Start
from tlx.study.trials import Trained, Trial, finished, fresh_state, saved, state_after, trials_of


def run_in_turn(unit: Unit, starts: dict[int, Start], checkpoints: Checkpoints, context: Context) -> dict[str, Trained]:
    """Run every trial of a unit.

    Args:
      unit: strategy `loop`.
      starts: from `starts_of`.
      checkpoints: the unit's own; finished runs and the current one are in the newest.
      context: of the study.

    Returns:
      Trial key to finished run.

    Raises:
      Stopped: the study was asked to stop; the state is saved.
    """
    turn = _Turn(unit, checkpoints, context)
    label_N = jnp.asarray(context.targets[unit.first.target.name].train.label_N)
    # Seeds that see the same inputs share one copy on the device.
    inputs = {id(start.inputs): jax.tree.map(jnp.asarray, start.inputs["train"]) for start in starts.values()}
    context.progress.start(unit.name, unit.runs * unit.task.steps, len(turn.done) * unit.task.steps)
    for trial in trials_of(unit):
        if trial.key not in turn.done:
            start = starts[trial.cell.seed]
            turn.run(trial, start, {"input": inputs[id(start.inputs)], "label": label_N})
    return turn.done


class _Turn:
    """The runs that are done, and the one that is under way."""

    def __init__(self, unit: Unit, checkpoints: Checkpoints, context: Context) -> None:
        self.unit, self.checkpoints, self.context = unit, checkpoints, context
        self.gate = Gate(context.study.execution.every_seconds, context.save_lock)
        restored = checkpoints.restore()
        content = restored.tree if restored else {}
        self.done = {key: finished(run) for key, run in content.get("done", {}).items()}
        self.interrupted = content.get("now", {})
        self.trial: Trial | None = None
        self.step = 0
        self.began = 0.0

    def run(self, trial: Trial, start: Start, data: dict[str, Any]) -> None:
        """One trial, from where it was interrupted if it was."""
        state, frozen = fresh_state(self.unit, trial, start, self.context), start.frozen
        losses, spent = np.zeros(0, np.float32), 0.0
        if now := self.interrupted.get(trial.key):
            state, frozen = state_after(self.unit, trial, start, int(now["state"]["step"]), self.context)
            state, losses, spent = from_tree(state, now["state"]), now["losses"], float(now["seconds"])
        self.trial, self.step, self.began = trial, 0, time.perf_counter() - spent
        self._advance(int(state.step))
        state, losses = loop.run(
            self.unit.task,
            state,
            frozen,
            Resident(data, functools.partial(batch_table, trial.cell, self.context)),
            placement=self.context.placement,
            programs=self.context.programs,
            chunk=self.unit.chunk,
            losses=losses,
            boundary=self.boundary,
        )
        self._advance(self.unit.task.steps)
        leaves, stats = jax.device_get((state.evaluated, state.stats))
        seconds = time.perf_counter() - self.began
        self.done[trial.key] = Trained(leaves, stats, losses, bool(state.diverged), seconds)

    def boundary(self, state: TrainState, losses: np.ndarray) -> None:
        """After every chunk: show, save if it is time, stop if asked to."""
        self._advance(int(state.step))
        assert self.trial is not None
        self.context.metrics.note(self.unit.task, self.trial, losses, time.perf_counter() - self.began)
        stop = self.context.stop.is_set()
        if stop or self.gate.due():
            self.gate.save(lambda: self._save(state, losses))
        if stop:
            raise Stopped("stopped; run the same command to go on")

    def _advance(self, step: int) -> None:
        self.context.progress.advance(self.unit.name, step - self.step)
        self.step = step

    def _save(self, state: TrainState, losses: np.ndarray) -> None:
        assert self.trial is not None
        self.context.metrics.flush()
        seconds = np.float32(time.perf_counter() - self.began)
        now = {self.trial.key: {"state": to_tree(state), "losses": losses, "seconds": seconds}}
        done = {key: saved(run) for key, run in self.done.items()}
        self.checkpoints.save(len(done) * self.unit.task.steps + self.step, {"done": done, "now": now}, {})

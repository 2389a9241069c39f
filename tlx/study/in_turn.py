"""A unit's runs one after another, through one program."""

import functools
import time
from collections.abc import Sequence
from dataclasses import replace
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
from tlx.study.looks import Looks
from tlx.study.plan import Unit
from tlx.study.saving import Gate
from tlx.study.starts import Start
from tlx.study.trials import Trained, Trial, fresh_state, state_after, trained


class InTurn:
    """The runs that have ended, and those that are under way.

    Args:
      unit: strategy `loop`.
      starts: from `starts_of`.
      checkpoints: the unit's own; all runs are in the newest.
      context: of the study.
    """

    def __init__(self, unit: Unit, starts: dict[int, Start], checkpoints: Checkpoints, context: Context) -> None:
        self.unit, self.starts, self.checkpoints, self.context = unit, starts, checkpoints, context
        self._gate = Gate(context.study.execution.every_seconds, context.save_lock)
        self._label_N = jnp.asarray(context.targets[unit.first.target.name].train.label_N)
        # Seeds that see the same inputs share one copy on the device.
        self._inputs = {id(start.inputs): jax.tree.map(jnp.asarray, start.inputs["train"]) for start in starts.values()}
        restored = checkpoints.restore()
        content = restored.tree if restored else {}
        self.done = {key: trained(run) for key, run in content.get("done", {}).items()}
        # As saved: the state in nested dicts, losses, seconds, and the step the run has come to.
        self._under_way: dict[str, dict[str, Any]] = content.get("now", {})
        self.looks = Looks(unit, starts, context, content.get("looks", {}))
        self._trial: Trial | None = None
        self._step = 0
        self._began = 0.0
        context.progress.start(unit.name, unit.steps, self._behind())

    def reach(self, trials: Sequence[Trial], step: int) -> None:
        """Train each trial as far as a step, those that are not there yet.

        Raises:
          Stopped: the study was asked to stop; the state is saved.
        """
        for trial in trials:
            # What was saved after its last step has yet to be counted among the ended.
            short = step == self.unit.task.steps or _at(self._under_way.get(trial.key)) < step
            if trial.key not in self.done and short:
                self._run(trial, step)

    def so_far(self, trial: Trial) -> Trained:
        """What a trial has learned."""
        if trial.key in self.done:
            return self.done[trial.key]
        now = self._under_way[trial.key]
        state = now["state"]
        leaves, stats = state.get("ema") or state["trainable"], state.get("stats", {})
        diverged, seconds = bool(state["diverged"]), float(now["seconds"])
        return Trained(leaves, stats, now["losses"], diverged, seconds, scale=trial.point.scale)

    def stop(self, trials: Sequence[Trial], step: int) -> None:
        """End trials at the step they have come to."""
        for trial in trials:
            self.done[trial.key] = replace(self.so_far(trial), stopped=step)
            del self._under_way[trial.key]

    def _run(self, trial: Trial, until: int) -> None:
        """One trial, from where it was left if it was begun."""
        start = self.starts[trial.cell.seed]
        state, frozen = fresh_state(self.unit, trial, start), start.frozen
        losses, spent = np.zeros(0, np.float32), 0.0
        now = self._under_way.pop(trial.key, None)
        if now:
            state, frozen = state_after(self.unit, trial, start, int(now["state"]["step"]))
            state, losses, spent = from_tree(state, now["state"]), now["losses"], float(now["seconds"])
        self._trial, self._step, self._began = trial, _at(now), time.perf_counter() - spent
        data = {"input": self._inputs[id(start.inputs)], "label": self._label_N}
        state, losses = loop.run(
            self.unit.task,
            state,
            frozen,
            Resident(data, functools.partial(batch_table, trial.cell, self.context)),
            placement=self.context.placement,
            programs=self.context.programs,
            chunk=self.unit.chunk,
            losses=losses,
            boundary=self._boundary,
            every=self.unit.every,
            until=min(until, trial.steps(self.unit.task)),
        )
        self._advance(until)
        if until < self.unit.task.steps:
            self._under_way[trial.key] = self._left(jax.device_get(state), losses)
            return
        leaves, stats = jax.device_get((state.evaluated, state.stats))
        seconds = time.perf_counter() - self._began
        self.done[trial.key] = Trained(leaves, stats, losses, bool(state.diverged), seconds, scale=trial.point.scale)

    def _boundary(self, state: TrainState, losses: np.ndarray) -> None:
        """After every chunk: show, save if it is time, stop if asked to."""
        self._advance(int(state.step))
        assert self._trial is not None
        self.context.metrics.note(self.unit.task, self._trial, losses, time.perf_counter() - self._began)
        diverged, scale = bool(state.diverged), self._trial.point.scale
        self.looks.look(self._trial, Trained(state.evaluated, state.stats, losses, diverged, 0.0, scale=scale))
        stop = self.context.stop.is_set()
        if stop or self._gate.due():
            self._gate.save(lambda: self._save(state, losses))
        if stop:
            raise Stopped("stopped; run the same command to go on")

    def _advance(self, step: int) -> None:
        self.context.progress.advance(self.unit.name, step - self._step)
        self._step = step

    def _left(self, state: TrainState, losses: np.ndarray) -> dict[str, Any]:
        seconds = np.float32(time.perf_counter() - self._began)
        # A run that diverged takes no more steps, and still counts as having come this far.
        return {"state": to_tree(state), "losses": losses, "seconds": seconds, "at": np.int32(self._step)}

    def _save(self, state: TrainState, losses: np.ndarray) -> None:
        assert self._trial is not None
        self.context.metrics.flush()
        now = {**self._under_way, self._trial.key: self._left(state, losses)}
        done = {key: run.as_tree() for key, run in self.done.items()}
        self.checkpoints.save(
            self._behind() + self._step, {"done": done, "now": now, "looks": self.looks.as_tree()}, {}
        )

    def _behind(self) -> int:
        """Steps of all runs but the current one."""
        ended = sum(self.unit.task.steps if run.stopped is None else run.stopped for run in self.done.values())
        return ended + sum(map(_at, self._under_way.values()))


def _at(now: dict[str, Any] | None) -> int:
    """The step that a saved run has come to."""
    return int(now.get("at", now["state"]["step"])) if now else 0

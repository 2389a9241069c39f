"""A unit's runs all at once, in one program, or a group at a time where memory is short."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx import atomic, fused
from tlx.checkpoint import Checkpoints
from tlx.state import TrainState
from tlx.study.context import Context, Stopped
from tlx.study.examples import batch_table
from tlx.study.failing import is_out_of_memory
from tlx.study.groups import members_at_once
from tlx.study.looks import Looks
from tlx.study.plan import Unit
from tlx.study.saving import Gate
from tlx.study.starts import Start
from tlx.study.together import Group, Saved, steps_of
from tlx.study.trials import Trained, Trial, fresh_state, trained


class AtOnce:
    """The runs that have ended, and the groups of those that are under way.

    Args:
      unit: strategy `fused`.
      starts: from `starts_of`.
      checkpoints: the unit's own; all runs are in the newest.
      context: of the study.
    """

    def __init__(self, unit: Unit, starts: dict[int, Start], checkpoints: Checkpoints, context: Context) -> None:
        self.unit, self.starts, self.checkpoints, self.context = unit, starts, checkpoints, context
        self._gate = Gate(context.study.execution.every_seconds, context.save_lock)
        restored = checkpoints.restore()
        content = restored.tree if restored else {}
        self.done = {key: trained(run) for key, run in content.get("done", {}).items()}
        # Who runs together decides the last bits, so what was begun is gone on with in the same groups.
        self._size = int(restored.meta["members"]) if restored else members_at_once(unit, context)
        keys = restored.meta["groups"] if restored else []
        self._saved: list[Saved] = [(tuple(some), content["now"][str(i)]) for i, some in enumerate(keys)]
        self._groups: list[Group] = []
        self.looks = Looks(unit, starts, context, content.get("looks", {}))
        self._began = 0.0
        self._data, self._offset = _pool(unit, starts, context)
        context.progress.start(unit.name, unit.steps, self._ended() + steps_of(self._saved))

    def reach(self, trials: Sequence[Trial], step: int) -> None:
        """Train all trials as far as a step, those that are not there yet.

        Raises:
          Stopped: the study was asked to stop; the state is saved.
        """
        while short := self._short(trials, step):
            try:
                self._run(self._group_of(short[0]) or self._enter(short), step)
            except Exception as error:
                if self._size == 1 or not is_out_of_memory(error):
                    raise
                self._halve(short[0])
                self.context.progress.line(f"{self.unit.name}: out of memory, going on with {self._size} runs at once")

    def so_far(self, trial: Trial) -> Trained:
        """What a trial has learned."""
        group = self._group_of(trial)
        return group.so_far(trial, self.unit.task) if group else self.done[trial.key]

    def stop(self, trials: Sequence[Trial], step: int) -> None:
        """End trials at the step they have come to; the others go on as smaller groups."""
        ended = {trial.key: replace(self.so_far(trial), stopped=step) for trial in trials}
        self.done |= ended
        self._groups = [group for group in self._groups if any(trial.key not in ended for trial in group.trials)]
        for group in self._groups:
            group.drop(ended)

    def _short(self, trials: Sequence[Trial], step: int) -> list[Trial]:
        """Those that are not at a step yet; at the last one, those not yet among the ended."""
        there = set(self.done)
        if step < self.unit.task.steps:
            there |= {trial.key for group in self._groups if group.step >= step for trial in group.trials}
        return [trial for trial in trials if trial.key not in there]

    def _group_of(self, trial: Trial) -> Group | None:
        return next((group for group in self._groups if trial in group.trials), None)

    def _enter(self, short: list[Trial]) -> Group:
        """The group that was saved with the first of some trials, or a new one."""
        saved = next((one for one in self._saved if short[0].key in one[0]), None)
        if saved:
            trials = [trial for trial in short if trial.key in saved[0]]
        else:
            begun = {key for keys, _ in self._saved for key in keys}
            begun |= {trial.key for group in self._groups for trial in group.trials}
            trials = [trial for trial in short if trial.key not in begun][: self._size]
        fresh = [fresh_state(self.unit, trial, self.starts[trial.cell.seed]) for trial in trials]
        group = Group(trials, fused.stack(fresh))
        if saved:
            group.restore(saved[1])
            self._saved.remove(saved)
        self._groups.append(group)
        return group

    def _run(self, group: Group, until: int) -> None:
        """Train a group as far as a step; at the last one its runs have ended."""
        self._began = time.perf_counter() - group.seconds

        def table(start: int, stop: int) -> np.ndarray:
            """Which examples of the pool each member sees, [members, steps, batch]."""
            rows = []
            for trial in group.trials:
                begin = self._offset[id(self.starts[trial.cell.seed].inputs)]
                rows.append(batch_table(trial.cell, self.context, start, stop) + begin)
            return np.stack(rows)

        state, losses = fused.run(
            self.unit.task,
            group.state,
            next(iter(self.starts.values())).frozen,
            self._data,
            table,
            placement=self.context.placement,
            programs=self.context.programs,
            chunk=self.unit.chunk,
            losses=group.losses,
            boundary=lambda state, losses: self._boundary(group, state, losses),
            until=until,
            every=self.unit.every,
        )
        seconds = time.perf_counter() - self._began
        group.move(jax.device_get(state), losses, seconds)
        if until == self.unit.task.steps:
            self.done |= {trial.key: group.so_far(trial, self.unit.task) for trial in group.trials}
            self._groups.remove(group)

    def _halve(self, trial: Trial) -> None:
        """Half as many runs at once from now on; those that were under way with a trial begin again."""
        groups = [group for group in self._groups if trial in group.trials]
        saved = [one for one in self._saved if trial.key in one[0]]
        lost = sum(len(group.trials) * group.step for group in groups) + steps_of(saved)
        self.context.progress.advance(self.unit.name, -lost)
        self._groups = [group for group in self._groups if group not in groups]
        self._saved = [one for one in self._saved if trial.key not in one[0]]
        self._size = -(-self._size // 2)
        if self.checkpoints.folder.exists():  # its steps count runs of larger groups
            atomic.remove_folder(self.checkpoints.folder)

    def _boundary(self, group: Group, state: TrainState, losses: np.ndarray) -> None:
        """After every chunk: show, save if it is time, stop if asked to."""
        before = group.step
        group.move(state, losses, time.perf_counter() - self._began)
        self.context.progress.advance(self.unit.name, len(group.trials) * (group.step - before))
        for trial, loss_S in zip(group.trials, losses, strict=True):
            self.context.metrics.note(self.unit.task, trial, loss_S[: trial.steps(self.unit.task)], group.seconds)
            self.looks.look(trial, group.so_far(trial, self.unit.task))
        stop = self.context.stop.is_set()
        if stop or self._gate.due():
            self._gate.save(self._save)
        if stop:
            raise Stopped("stopped; run the same command to go on")

    def _save(self) -> None:
        self.context.metrics.flush()
        groups = [*self._saved, *(group.saved() for group in self._groups)]
        content = {
            "done": {key: run.as_tree() for key, run in self.done.items()},
            "now": {str(i): now for i, (_, now) in enumerate(groups)},
            "looks": self.looks.as_tree(),
        }
        meta = {"members": self._size, "groups": [list(keys) for keys, _ in groups]}
        self.checkpoints.save(self._ended() + steps_of(groups), content, meta)

    def _ended(self) -> int:
        """Steps of the runs that have ended."""
        return sum(self.unit.task.steps if run.stopped is None else run.stopped for run in self.done.values())


def _pool(unit: Unit, starts: dict[int, Start], context: Context) -> tuple[dict[str, Any], dict[int, int]]:
    """All members' examples as one, and where in it each seed's begin.

    A seed whose activations are its own has its own stretch of the pool; seeds that share a frozen
    backbone share its activations.
    """
    label_N = context.targets[unit.first.target.name].train.label_N
    pools = list({id(start.inputs): start.inputs["train"] for start in starts.values()}.items())
    data = {
        "input": jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(pool for _, pool in pools)),
        "label": jnp.tile(jnp.asarray(label_N), len(pools)),
    }
    return data, {key: i * len(label_N) for i, (key, _) in enumerate(pools)}

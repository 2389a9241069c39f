"""A unit's runs all at once, in one program, or a group at a time where memory is short."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx import atomic, fused
from tlx.checkpoint import Checkpoints
from tlx.state import TrainState, from_tree, to_tree
from tlx.study.context import Context, Stopped
from tlx.study.examples import batch_table
from tlx.study.failing import is_out_of_memory
from tlx.study.groups import members_at_once
from tlx.study.plan import Unit
from tlx.study.saving import Gate
from tlx.study.starts import Start
from tlx.study.trials import Trained, Trial, finished, fresh_state, saved, trials_of


def run_at_once(unit: Unit, starts: dict[int, Start], checkpoints: Checkpoints, context: Context) -> dict[str, Trained]:
    """Run every trial of a unit.

    Args:
      unit: strategy `fused`.
      starts: from `starts_of`.
      checkpoints: the unit's own; finished groups and the current one are in the newest.
      context: of the study.

    Returns:
      Trial key to finished run.

    Raises:
      Stopped: the study was asked to stop; the state is saved.
    """
    groups = _Groups(unit, starts, checkpoints, context)
    context.progress.start(unit.name, unit.runs * unit.task.steps, groups.steps_done)
    while groups.left:
        try:
            groups.run_next()
        except Exception as error:
            if groups.size == 1 or not is_out_of_memory(error):
                raise
            groups.halve()
            context.progress.line(f"{unit.name}: out of memory, going on with {groups.size} runs at once")
    return groups.done


class _Groups:
    """The runs that are done, and those that are under way together."""

    def __init__(self, unit: Unit, starts: dict[int, Start], checkpoints: Checkpoints, context: Context) -> None:
        self.unit, self.starts, self.checkpoints, self.context = unit, starts, checkpoints, context
        self.gate = Gate(context.study.execution.every_seconds, context.save_lock)
        restored = checkpoints.restore()
        content = restored.tree if restored else {}
        self.done = {key: finished(run) for key, run in content.get("done", {}).items()}
        self.interrupted = content.get("now")
        # Who runs together decides the last bits, so what was begun is gone on with in the same groups.
        self.size = int(restored.meta["members"]) if restored else members_at_once(unit, context)
        self.step = int(self.interrupted["state"]["step"][0]) if self.interrupted else 0
        self.began = 0.0

    @property
    def left(self) -> list[Trial]:
        """The runs that are not done."""
        return [trial for trial in trials_of(self.unit) if trial.key not in self.done]

    @property
    def steps_done(self) -> int:
        """Train steps of all runs so far."""
        return len(self.done) * self.unit.task.steps + min(self.size, len(self.left)) * self.step

    def run_next(self) -> None:
        """The next group, from where it was interrupted if it was."""
        unit, context = self.unit, self.context
        self.trials = self.left[: self.size]
        fresh = [fresh_state(unit, trial, self.starts[trial.cell.seed], context) for trial in self.trials]
        state, losses, spent = fused.stack(fresh), np.zeros((len(fresh), 0), np.float32), 0.0
        if now := self.interrupted:
            state, losses, spent = from_tree(state, now["state"]), now["losses"], float(now["seconds"])
        self.began = time.perf_counter() - spent
        data, table = _pool(self.trials, self.starts, context)
        state, losses = fused.run(
            unit.task,
            state,
            next(iter(self.starts.values())).frozen,
            data,
            table,
            placement=context.placement,
            programs=context.programs,
            chunk=unit.chunk,
            losses=losses,
            boundary=self.boundary,
        )
        seconds = (time.perf_counter() - self.began) / len(self.trials)
        state = jax.device_get(state)
        for k, (trial, loss) in enumerate(zip(self.trials, losses, strict=True)):
            one = fused.member(state, k)
            self.done[trial.key] = Trained(one.evaluated, one.stats, loss, bool(one.diverged), seconds)
        self.interrupted, self.step = None, 0

    def halve(self) -> None:
        """Half as many runs at once from now on; those under way begin again."""
        self.context.progress.advance(self.unit.name, -min(self.size, len(self.left)) * self.step)
        self.size, self.step, self.interrupted = -(-self.size // 2), 0, None
        if self.checkpoints.folder.exists():  # its steps count runs of larger groups
            atomic.remove_folder(self.checkpoints.folder)

    def boundary(self, state: TrainState, losses: np.ndarray) -> None:
        """After every chunk: show, save if it is time, stop if asked to."""
        step = int(state.step[0])
        self.context.progress.advance(self.unit.name, len(self.trials) * (step - self.step))
        self.step = step
        for trial, loss_S in zip(self.trials, losses, strict=True):
            self.context.metrics.note(self.unit.task, trial, loss_S, time.perf_counter() - self.began)
        stop = self.context.stop.is_set()
        if stop or self.gate.due():
            self.gate.save(lambda: self._save(state, losses))
        if stop:
            raise Stopped("stopped; run the same command to go on")

    def _save(self, state: TrainState, losses: np.ndarray) -> None:
        self.context.metrics.flush()
        seconds = np.float32(time.perf_counter() - self.began)
        now = {"state": to_tree(state), "losses": losses, "seconds": seconds}
        content = {"done": {key: saved(run) for key, run in self.done.items()}, "now": now}
        self.checkpoints.save(len(self.done) * self.unit.task.steps + self.step, content, {"members": self.size})


def _pool(
    trials: list[Trial], starts: dict[int, Start], context: Context
) -> tuple[dict[str, Any], Callable[[int, int], np.ndarray]]:
    """All members' examples as one, and who sees which of them when.

    A seed whose activations are its own has its own stretch of the pool; seeds that share a frozen
    backbone share its activations.
    """
    label_N = context.targets[trials[0].cell.target.name].train.label_N
    pools = list({id(start.inputs): start.inputs["train"] for start in starts.values()}.items())
    offset = {key: i * len(label_N) for i, (key, _) in enumerate(pools)}
    data = {
        "input": jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(pool for _, pool in pools)),
        "label": jnp.tile(jnp.asarray(label_N), len(pools)),
    }

    def table(start: int, stop: int) -> np.ndarray:
        rows = []
        for trial in trials:
            begin = offset[id(starts[trial.cell.seed].inputs)]
            rows.append(batch_table(trial.cell, context, start, stop) + begin)
        return np.stack(rows)

    return data, table

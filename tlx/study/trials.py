"""The training runs of one unit: every cell at every point of its search."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tlx import tree
from tlx.partition import combine
from tlx.phases import like
from tlx.seeds import derive
from tlx.state import Hyper, TrainState, make_hyper
from tlx.step import Task, init_state
from tlx.study.cells import Cell
from tlx.study.plan import Unit
from tlx.study.search import Point, first_points
from tlx.study.starts import Start


@dataclass(frozen=True)
class Trial:
    """One training run.

    Args:
      cell: what it is a try at.
      point: its hyper-parameters.
    """

    cell: Cell
    point: Point

    @property
    def key(self) -> str:
        """Unique within its unit."""
        drawn = "".join(f"-{getattr(self.point, name):.12g}" for name in self.cell.entry.ranges)
        return f"{self.cell.id}-{self.point.learning_rate:.12g}{drawn}"

    def steps(self, task: Task) -> int:
        """How many train steps it makes of a task's."""
        if not task.shortened:
            return task.steps
        # In the precision of the program, which decides the same.
        return max(int(np.round(np.float32(self.point.length) * np.float32(task.steps))), 1)


@dataclass(frozen=True)
class Trained:
    """A training run that has ended, or what one has learned so far.

    Args:
      trainable: the leaves that moved, or their running mean where one was kept.
      stats: running statistics.
      losses: of every step, in nats.
      diverged: whether it was stopped by a non-finite loss.
      seconds: it took, on this machine.
      flops: it took, of what was solved; None of what was trained, as the compiler counts those of a step.
      stopped: the step at which it was stopped for being among the worst, None if it was not.
      scale: factor on the adapters' effect that it was trained with.
    """

    trainable: dict[str, Any]
    stats: dict[str, Any]
    losses: np.ndarray
    diverged: bool
    seconds: float
    flops: float | None = None
    stopped: int | None = None
    scale: float = 1.0

    def as_tree(self) -> dict[str, Any]:
        """Nested dicts of arrays, for a checkpoint; of runs that take steps."""
        return {
            "trainable": self.trainable,
            "stats": self.stats,
            "losses": self.losses,
            "diverged": np.bool_(self.diverged),
            "seconds": np.float32(self.seconds),
            "scale": np.float32(self.scale),
            **({} if self.stopped is None else {"stopped": np.int32(self.stopped)}),
        }

    def beside(self, start: Start) -> dict[str, Any]:
        """The leaves that did not move, out of those the run began with."""
        moved = {**tree.flatten(self.trainable), **tree.flatten(self.stats)}
        whole = tree.flatten(combine(start.trainable, start.stats, start.frozen))
        return tree.unflatten({path: leaf for path, leaf in whole.items() if path not in moved})


def trained(saved: dict[str, Any]) -> Trained:
    """What `Trained.as_tree` took apart."""
    return Trained(
        trainable=saved["trainable"],
        stats=saved.get("stats", {}),
        losses=saved["losses"],
        diverged=bool(saved["diverged"]),
        seconds=float(saved["seconds"]),
        stopped=int(saved["stopped"]) if "stopped" in saved else None,
        scale=float(saved["scale"]),
    )


def trials_of(unit: Unit) -> list[Trial]:
    """The runs a unit begins with, in the order they are made."""
    return [Trial(cell, point) for cell in unit.cells for point in first_points(unit.search, cell.entry)]


def fresh_state(unit: Unit, trial: Trial, start: Start) -> TrainState:
    """A trial's state before its first step."""
    return init_state(unit.task.at(0), start.trainable, start.stats, _hyper(trial))


def state_after(unit: Unit, trial: Trial, start: Start, step: int) -> tuple[TrainState, dict[str, Any]]:
    """A state shaped as a trial's is after some steps, and the leaves that do not move then."""
    whole = combine(start.trainable, start.stats, start.frozen)
    return like(unit.task, whole, _hyper(trial), step)


def _hyper(trial: Trial) -> Hyper:
    point = trial.point
    return make_hyper(
        point.learning_rate,
        point.weight_decay,
        point.label_smoothing,
        adapter_scale=point.scale,
        dropout=point.dropout or 0.0,
        length=point.length,
        seed=derive(trial.cell.seed, "dropout"),
    )

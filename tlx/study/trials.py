"""The training runs of one unit: every cell at every learning rate."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tlx import tree
from tlx.partition import combine
from tlx.phases import like
from tlx.seeds import derive
from tlx.state import Hyper, TrainState, make_hyper
from tlx.step import init_state
from tlx.study.cells import Cell
from tlx.study.context import Context
from tlx.study.plan import Unit
from tlx.study.starts import Start


@dataclass(frozen=True)
class Trial:
    """One training run.

    Args:
      cell: what it is a try at.
      learning_rate: peak of its schedule.
    """

    cell: Cell
    learning_rate: float

    @property
    def key(self) -> str:
        """Unique within its unit."""
        return f"{self.cell.id}-{self.learning_rate:g}"


@dataclass(frozen=True)
class Trained:
    """A finished training run.

    Args:
      trainable: the leaves that moved, or their running mean where one was kept.
      stats: running statistics.
      losses: of every step, in nats.
      diverged: whether it was stopped by a non-finite loss.
      seconds: it took, on this machine.
      flops: it took, of what was solved; None of what was trained, as the compiler counts those of a step.
    """

    trainable: dict[str, Any]
    stats: dict[str, Any]
    losses: np.ndarray
    diverged: bool
    seconds: float
    flops: float | None = None

    def beside(self, start: Start) -> dict[str, Any]:
        """The leaves that did not move, out of those the run began with."""
        moved = {**tree.flatten(self.trainable), **tree.flatten(self.stats)}
        whole = tree.flatten(combine(start.trainable, start.stats, start.frozen))
        return tree.unflatten({path: leaf for path, leaf in whole.items() if path not in moved})


def trials_of(unit: Unit) -> list[Trial]:
    """The unit's runs, in the order they are made."""
    return [Trial(cell, rate) for cell in unit.cells for rate in cell.entry.learning_rates]


def fresh_state(unit: Unit, trial: Trial, start: Start, context: Context) -> TrainState:
    """A trial's state before its first step."""
    return init_state(unit.task.at(0), start.trainable, start.stats, _hyper(unit, trial, context))


def state_after(
    unit: Unit, trial: Trial, start: Start, step: int, context: Context
) -> tuple[TrainState, dict[str, Any]]:
    """A state shaped as a trial's is after some steps, and the leaves that do not move then."""
    whole = combine(start.trainable, start.stats, start.frozen)
    return like(unit.task, whole, _hyper(unit, trial, context), step)


def saved(run: Trained) -> dict[str, Any]:
    """A finished run as a checkpoint holds it."""
    return {
        "trainable": run.trainable,
        "stats": run.stats,
        "losses": run.losses,
        "diverged": np.bool_(run.diverged),
        "seconds": np.float32(run.seconds),
    }


def finished(saved: dict[str, Any]) -> Trained:
    """A finished run from a checkpoint."""
    return Trained(
        trainable=saved["trainable"],
        stats=saved.get("stats", {}),
        losses=saved["losses"],
        diverged=bool(saved["diverged"]),
        seconds=float(saved["seconds"]),
    )


def _hyper(unit: Unit, trial: Trial, context: Context) -> Hyper:
    return make_hyper(
        trial.learning_rate,
        unit.first.entry.weight_decay,
        context.study.recipe.label_smoothing,
        seed=derive(trial.cell.seed, "dropout"),
    )

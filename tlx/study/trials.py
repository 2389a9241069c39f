"""The training runs of one unit: every cell at every learning rate."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tlx.data.order import index_table, subset
from tlx.seeds import derive
from tlx.state import TrainState, make_hyper
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
      trainable: the leaves that moved.
      stats: running statistics.
      losses: of every step, in nats.
      diverged: whether it was stopped by a non-finite loss.
      seconds: it took, on this machine.
    """

    trainable: dict[str, Any]
    stats: dict[str, Any]
    losses: np.ndarray
    diverged: bool
    seconds: float


def trials_of(unit: Unit) -> list[Trial]:
    """The unit's runs, in the order they are made."""
    return [Trial(cell, rate) for cell in unit.cells for rate in cell.entry.learning_rates]


def batch_table(cell: Cell, context: Context, start: int, stop: int) -> np.ndarray:
    """Which training examples a cell sees: the same in every arm and at every learning rate.

    Args:
      cell: its budget and seed decide.
      context: holds the examples.
      start: first step.
      stop: step after the last.

    Returns:
      Positions in the train split, [steps, batch].
    """
    chosen = subset_of(cell, context)
    order = derive(cell.seed, "order")
    table: np.ndarray = chosen[index_table(len(chosen), context.study.recipe.batch_size, order, start, stop)]
    return table


def subset_of(cell: Cell, context: Context) -> np.ndarray:
    """The labelled examples a cell may use, as positions in the train split."""
    label_N = context.targets[cell.target.name].train.label_N
    return subset(label_N, cell.budget, derive(cell.seed, "subset"))


def fresh_state(unit: Unit, trial: Trial, start: Start, context: Context) -> TrainState:
    """A trial's state before its first step."""
    recipe = context.study.recipe
    hyper = make_hyper(trial.learning_rate, recipe.weight_decay, recipe.label_smoothing)
    return init_state(unit.task, start.trainable, start.stats, hyper)

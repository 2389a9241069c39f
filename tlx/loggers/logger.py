"""What a logger is: it is handed the metrics of every trial, and may fail without harm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

# Columns of a stream, and what they are called by those who look at curves.
_CURVES = {
    "train_loss": "train/loss",
    "lr": "train/lr",
    "seconds": "train/seconds",
    "val_score": "val/score",
    "val_loss": "val/loss",
}


@dataclass(frozen=True)
class Run:
    """One trial of one cell.

    Args:
      id: unique, and the same when an interrupted study goes on.
      study: name of the study.
      name: for people: entry, source and target, budget, seed and cell, learning rate, with "/" in between.
      settings: the cell's place in the grid and the trial's learning rate, as plain values.
    """

    id: str
    study: str
    name: str
    settings: Mapping[str, Any]


class Logger(Protocol):
    """Receives rows of streams, from one thread at a time; what it raises is shown once, and it is not asked again."""

    def log(self, run: Run, rows: Sequence[Mapping[str, Any]]) -> None:
        """Further rows of a run, in the order of the steps."""

    def end(self, run: Run) -> None:
        """No more rows of this run will come."""


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The curves that a row has a point of.

    Args:
      row: of a stream; None stands for what was not finite.

    Returns:
      Name of the curve to value, NaN where there is none.
    """
    return {
        curve: float("nan") if row[column] is None else float(row[column])
        for column, curve in _CURVES.items()
        if column in row
    }

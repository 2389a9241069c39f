"""What a record says of the trials of a cell."""

from collections.abc import Sequence
from typing import Any

from tlx.study.plan import Unit
from tlx.study.search import edge
from tlx.study.select import BY, Validation


def tried(unit: Unit, results: Sequence[Validation]) -> list[dict[str, Any]]:
    """One row for each trial of a cell.

    Args:
      unit: the cell's.
      results: of the cell's trials.
    """
    return [
        {
            **_point(unit, result),
            "status": _status(result),
            "val_score": result.score,
            "val_loss": result.loss,
            **({} if result.stopped is None else {"step": result.stopped}),
        }
        for result in results
    ]


def selected(unit: Unit, results: Sequence[Validation], chosen: Validation) -> dict[str, Any]:
    """The trial that was chosen, by what, and whether its rate is at the edge of those that were tried.

    Args:
      unit: the cell's; a plain grid leaves the edge to be seen from the trials, and drawn points have none.
      results: of the cell's trials.
      chosen: one of them.
    """
    row = {**_point(unit, chosen), "by": BY}
    if not unit.search.identity():
        return row
    rates = [result.point.learning_rate for result in results]
    return {**row, "edge": None if unit.search.trials else edge(rates, chosen.point.learning_rate)}


def _point(unit: Unit, result: Validation) -> dict[str, float]:
    """The hyper-parameters: a rate, or the penalty of what was solved for, and what else was drawn."""
    name = "l2" if unit.strategy == "solved" else "lr"
    drawn = {each: getattr(result.point, each) for each in unit.first.entry.ranges}
    return {name: result.point.learning_rate, **drawn}


def _status(result: Validation) -> str:
    """A trial that diverged has no score, whether or not it was stopped for that."""
    if result.score is None:
        return "diverged"
    return "ok" if result.stopped is None else "stopped"

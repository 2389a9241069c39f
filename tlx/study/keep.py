"""Keeping what a cell trained."""

from typing import Any

from tlx import artifact, tree
from tlx.study.cells import Cell
from tlx.study.context import Context
from tlx.study.plan import Unit
from tlx.study.starts import initial_variables
from tlx.study.trials import Trained


def keep(unit: Unit, cell: Cell, run: Trained, lineage: dict[str, Any] | None, context: Context) -> None:
    """Save what a cell trained, with its config, lineage and the digest of its base.

    Args:
      unit: names the model and the method.
      cell: names the folder.
      run: the leaves that are scored.
      lineage: where the base came from, or None for one that was never trained.
      context: of the study.
    """
    # From the beginning once more: a start does not hold the leaves below the cut.
    variables, _ = initial_variables(unit, cell.seed, context)
    leaves = {**tree.flatten(variables), **tree.flatten(run.trainable), **tree.flatten(run.stats)}
    folder = context.folders.work / "artifacts" / cell.id
    artifact.save(folder, unit.task.adapted, tree.unflatten(leaves), lineage)

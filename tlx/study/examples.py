"""Which training examples a cell sees, and in which order: the same in every arm and at every learning rate."""

import numpy as np

from tlx.data.order import index_table, subset
from tlx.seeds import derive
from tlx.study.cells import Cell
from tlx.study.context import Context


def batch_table(cell: Cell, context: Context, start: int, stop: int) -> np.ndarray:
    """Which training examples make up each step.

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

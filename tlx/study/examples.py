"""Which training examples a cell sees, and in which order: the same in every arm and at every learning rate."""

import numpy as np

from tlx.data.order import index_table, subset
from tlx.data.pipeline import Arrays
from tlx.data.protocol import subset_per_class
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
    train, seed = context.targets[cell.target.name].train, derive(cell.seed, "subset")
    if context.study.per_class:
        return subset_per_class(train.label_N, cell.budget, train.num_classes, seed)
    return subset(strata(train), cell.budget, seed)


def strata(arrays: Arrays) -> np.ndarray:
    """What each example counts as where all kinds are to have their share: its class, or nothing where it has a score.

    Args:
      arrays: a split.

    Returns:
      Integers [N].
    """
    return arrays.label_N if arrays.num_classes else np.zeros(len(arrays), np.int32)

"""A unit's heads solved for together, on the activations at the cut."""

import time

import numpy as np

from tlx.adapt.hooks import Fixed
from tlx.checkpoint import Checkpoints
from tlx.linear.logistic import TOLERANCE
from tlx.linear.solution import Solution
from tlx.study.cells import Cell
from tlx.study.context import Context, Stopped
from tlx.study.examples import subset_of
from tlx.study.plan import Unit
from tlx.study.starts import Start
from tlx.study.trials import Trained, Trial


def run_solved(unit: Unit, starts: dict[int, Start], checkpoints: Checkpoints, context: Context) -> dict[str, Trained]:
    """The best head of every trial of a unit; those of one cell are one computation.

    Args:
      unit: strategy `solved`.
      starts: from `starts_of`.
      checkpoints: not used: there are no steps, and what was interrupted is solved again to the same bits.
      context: of the study.

    Returns:
      Trial key to finished run, whose only loss is the objective at the optimum, its penalty included.

    Raises:
      Stopped: the study was asked to stop.
    """
    del checkpoints
    rates, done = unit.first.entry.learning_rates, {}
    context.progress.start(unit.name, unit.runs)
    for cell in unit.cells:
        if context.stop.is_set():
            raise Stopped("stopped; run the same command to go on")
        began = time.perf_counter()
        found = _heads(unit, cell, starts[cell.seed], context)
        seconds = (time.perf_counter() - began) / len(rates)
        if (worst := float(found.gradient_L.max())) > TOLERANCE:
            context.progress.line(f"{unit.name}: a head's gradient is {worst:.1g} where its solver gave up")
        for i, rate in enumerate(rates):
            head = {"kernel": found.kernel_LDC[i].astype(np.float32), "bias": found.bias_LC[i].astype(np.float32)}
            diverged = not all(np.isfinite(leaf).all() for leaf in head.values())
            loss_S, flops = found.loss_L[i : i + 1].astype(np.float32), float(found.flops_L[i])
            done[Trial(cell, rate).key] = Trained({"params": {"head": head}}, {}, loss_S, diverged, seconds, flops)
        context.progress.advance(unit.name, len(rates))
    return done


def _heads(unit: Unit, cell: Cell, start: Start, context: Context) -> Solution:
    """A cell's heads, one for each penalty."""
    (method, settings), *_ = unit.task.adapted.parts
    assert method.solve is not None  # that is why the plan chose this, and no other method stands beside it
    mine_N = subset_of(cell, context)
    # Only these rows are read where the activations are on the disk.
    x_ND = np.asarray(start.inputs["train"][mine_N], np.float64)
    label_N = context.targets[cell.target.name].train.label_N[mine_N]
    classes, penalties = unit.task.adapted.model.num_classes, cell.entry.learning_rates
    if not np.isfinite(x_ND).all():
        nothing_L = np.full(len(penalties), np.nan)
        kernel_LDC = np.full((len(penalties), x_ND.shape[1], classes), np.nan)
        return Solution(kernel_LDC, kernel_LDC[:, 0], nothing_L, nothing_L, np.zeros(len(penalties)))
    return method.solve(settings, Fixed(x_ND, label_N, classes, context.study.recipe.label_smoothing, penalties))

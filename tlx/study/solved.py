"""A unit's heads solved for together, on the activations at the cut."""

import time
from collections.abc import Sequence

import numpy as np

from tlx.adapt.hooks import Fixed
from tlx.checkpoint import Checkpoints
from tlx.linear.logistic import TOLERANCE
from tlx.linear.solution import Solution
from tlx.study.context import Context, Stopped
from tlx.study.examples import subset_of
from tlx.study.looks import Looks
from tlx.study.plan import Unit
from tlx.study.starts import Start
from tlx.study.trials import Trained, Trial


class Solved:
    """The best head of every trial of a unit; those that a cell begins with are one computation.

    Args:
      unit: strategy `solved`.
      starts: from `starts_of`.
      checkpoints: not used: there are no steps, and what was interrupted is solved again to the same bits.
      context: of the study.
    """

    def __init__(self, unit: Unit, starts: dict[int, Start], checkpoints: Checkpoints, context: Context) -> None:
        del checkpoints
        self.unit, self.starts, self.context = unit, starts, context
        self.done: dict[str, Trained] = {}
        self.looks = Looks(unit, starts, context, {})
        context.progress.start(unit.name, unit.runs)

    def reach(self, trials: Sequence[Trial], step: int) -> None:
        """Solve for the heads of trials; their only loss is the objective at the optimum, its penalty included.

        Raises:
          Stopped: the study was asked to stop.
        """
        del step
        for cell in dict.fromkeys(trial.cell.id for trial in trials):
            if self.context.stop.is_set():
                raise Stopped("stopped; run the same command to go on")
            self._solve([trial for trial in trials if trial.cell.id == cell])

    def so_far(self, trial: Trial) -> Trained:
        """The best head there is."""
        return self.done[trial.key]

    def stop(self, trials: Sequence[Trial], step: int) -> None:
        """Never asked for: a head that is solved for has no steps, and the config refuses to stop it at one."""
        raise NotImplementedError(f"{self.unit.name}: stopped at step {step}")

    def _solve(self, trials: list[Trial]) -> None:
        """The heads of some trials of a cell."""
        began = time.perf_counter()
        found = _heads(self.unit, trials, self.starts[trials[0].cell.seed], self.context)
        seconds = (time.perf_counter() - began) / len(trials)
        if (worst := float(found.gradient_L.max())) > TOLERANCE:
            self.context.progress.line(f"{self.unit.name}: a head's gradient is {worst:.1g} where its solver gave up")
        for i, trial in enumerate(trials):
            head = {"kernel": found.kernel_LDC[i].astype(np.float32), "bias": found.bias_LC[i].astype(np.float32)}
            diverged = not all(np.isfinite(leaf).all() for leaf in head.values())
            loss_S, flops = found.loss_L[i : i + 1].astype(np.float32), float(found.flops_L[i])
            self.done[trial.key] = Trained({"params": {"head": head}}, {}, loss_S, diverged, seconds, flops)
        self.context.progress.advance(self.unit.name, len(trials))


def _heads(unit: Unit, trials: list[Trial], start: Start, context: Context) -> Solution:
    """Heads of a cell, one for each trial's penalty."""
    (method, settings), *_ = unit.task.adapted.parts
    assert method.solve is not None  # that is why the plan chose this, and no other method stands beside it
    cell, penalties = trials[0].cell, tuple(trial.point.learning_rate for trial in trials)
    mine_N = subset_of(cell, context)
    # Only these rows are read where the activations are on the disk.
    x_ND = np.asarray(start.inputs["train"][mine_N], np.float64)
    label_N = context.targets[cell.target.name].train.label_N[mine_N]
    classes = unit.task.adapted.model.num_classes
    if not np.isfinite(x_ND).all():
        nothing_L = np.full(len(penalties), np.nan)
        kernel_LDC = np.full((len(penalties), x_ND.shape[1], classes), np.nan)
        return Solution(kernel_LDC, kernel_LDC[:, 0], nothing_L, nothing_L, np.zeros(len(penalties)))
    return method.solve(settings, Fixed(x_ND, label_N, classes, trials[0].point.label_smoothing, penalties))

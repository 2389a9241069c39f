"""Units whose trials take no time: what they would cost is counted, and what they score is told."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from runs import task_of

from tlx.optim import Optimizer
from tlx.study.cells import Cell
from tlx.study.plan import Unit
from tlx.study.select import Validation
from tlx.study.spec import Entry, Search, Target
from tlx.study.trials import Trained, Trial

Judge = Callable[[Trial, Trained], Validation]
STEPS = 18
RATES = (0.1, 0.2, 0.4, 0.8)


class Counting:
    """Trains nothing, and counts the steps it would take; what it has learned is how far it has come."""

    def __init__(self) -> None:
        self.done: dict[str, Trained] = {}
        self.at: dict[str, int] = {}
        self.steps = 0

    def reach(self, trials: Sequence[Trial], step: int) -> None:
        """Counts."""
        for trial in trials:
            if trial.key not in self.done:
                self.steps += max(step - self.at.get(trial.key, 0), 0)
                self.at[trial.key] = max(step, self.at.get(trial.key, 0))
                if step == STEPS:
                    self.done[trial.key] = self.so_far(trial)

    def so_far(self, trial: Trial) -> Trained:
        """Nothing but as many losses as there were steps."""
        return Trained({}, {}, np.zeros(self.at[trial.key]), False, 0.0)

    def stop(self, trials: Sequence[Trial], step: int) -> None:
        """Marks them."""
        assert {self.at[trial.key] for trial in trials} <= {step}
        self.done |= {trial.key: dataclasses.replace(self.so_far(trial), stopped=step) for trial in trials}


def unit_of(search: Search, budgets: Sequence[int] = (20,), seeds: Sequence[int] = (0, 1)) -> Unit:
    entry = Entry("full", "scratch", "full", (), (), "auto", Optimizer(), 0.0, RATES)
    target = Target("digits", "digits", "train", "validation", "test")
    cells = tuple(Cell(f"{b}-{s}", None, target, entry, b, s, {}) for b in budgets for s in seeds)
    return Unit("unit", cells, task_of("full", STEPS), "loop", "", 2, search)


def judge(score: Mapping[tuple[int, int, float, int], float]) -> Judge:
    """Scores by budget, seed, rate and step; 0 where none is given. Higher rates have higher losses."""

    def one(trial: Trial, run: Trained) -> Validation:
        rate, step = trial.point.learning_rate, len(run.losses)
        value = score.get((trial.cell.budget, trial.cell.seed, rate, step), 0.0)
        return Validation(trial.cell.seed, trial.point, value, rate, run.stopped)

    return one

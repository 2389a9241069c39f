"""A unit's trials, heat by heat: who is in the next one follows from the validation results so far."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from tlx.study.combine import predictions
from tlx.study.context import Context
from tlx.study.looks import Looks
from tlx.study.plan import Unit
from tlx.study.sampler import suggested
from tlx.study.search import further
from tlx.study.select import Validation, ranked, validate
from tlx.study.spec import OPTUNA
from tlx.study.starts import Start
from tlx.study.trials import Trained, Trial, trials_of


class Runner(Protocol):
    """Trains trials, and remembers across interruptions how far each has come."""

    done: dict[str, Trained]
    """Runs that have ended, by trial key: at their last step, or stopped before it."""
    looks: Looks
    """What trials scored on the way."""

    def reach(self, trials: Sequence[Trial], step: int) -> None:
        """Train each trial as far as a step; those that are there, or have ended, are left alone."""

    def so_far(self, trial: Trial) -> Trained:
        """What a trial has learned at the step it has come to."""

    def stop(self, trials: Sequence[Trial], step: int) -> None:
        """End trials at the step they have come to."""


class Judge:
    """Scores trials on the validation split, each once for each step at which it is looked at.

    Args:
      unit: names the task.
      starts: from `starts_of`.
      context: of the study.
    """

    def __init__(self, unit: Unit, starts: dict[int, Start], context: Context) -> None:
        self._unit, self._starts, self._context = unit, starts, context
        self._known: dict[tuple[str, int], Validation] = {}

    def __call__(self, trial: Trial, run: Trained) -> Validation:
        """The trial's validation result with what it has learned."""
        name = (trial.key, len(run.losses))
        if name not in self._known:
            start = self._starts[trial.cell.seed]
            label_N = self._context.targets[trial.cell.target.name].validation.label_N
            logits_NC = predictions(self._unit, run, start, start.inputs["validation"], self._context)
            self._known[name] = validate(trial.cell.seed, trial.point, run.diverged, logits_NC, label_N)
        return replace(self._known[name], stopped=run.stopped)


def run_heats(unit: Unit, runner: Runner, judge: Callable[[Trial, Trained], Validation]) -> list[Trial]:
    """Run all trials of a unit, however far others had come with it.

    Args:
      unit: names the cells, and how their trials are chosen.
      runner: trains.
      judge: scores.

    Returns:
      Every trial that was made, all of them in `runner.done`: those the unit began with, then those that followed.

    Raises:
      Stopped: the study was asked to stop.
    """
    trials: list[Trial] = []
    for heat in unit.heats:
        if heat.start:
            now = _surviving(trials, heat.points, heat.start, runner, judge)
        else:
            now = [] if trials else trials_of(unit)
            now = now or _following(unit, trials, runner, judge)
            trials = [*trials, *now]
        runner.reach(now, heat.stop)
    return trials


def _following(
    unit: Unit, trials: list[Trial], runner: Runner, judge: Callable[[Trial, Trained], Validation]
) -> list[Trial]:
    """One more trial of each cell; cells that differ in the seed alone get the same."""
    found: dict[int, list[Validation]] = {cell.budget: [] for cell in unit.cells}
    for trial in trials:
        found[trial.cell.budget].append(judge(trial, runner.done[trial.key]))
    if unit.search.kind == OPTUNA:
        by_budget = {budget: suggested(unit.search, unit.first.entry, found[budget]) for budget in found}
    else:
        by_budget = {budget: further(ranked(found[budget])) for budget in found}
    return [Trial(cell, by_budget[cell.budget]) for cell in unit.cells]


def _surviving(
    trials: list[Trial], points: int, step: int, runner: Runner, judge: Callable[[Trial, Trained], Validation]
) -> list[Trial]:
    """The trials that go on from a rung; the others are stopped, unless they were before an interruption."""
    alive = [trial for trial in trials if trial.key not in runner.done or runner.done[trial.key].stopped is None]
    for group in _by_budget(alive).values():
        # As many points are left after a rung as are known beforehand, so if there are no more, all was decided.
        if len({trial.point for trial in group}) > points:
            best = ranked([judge(trial, runner.so_far(trial)) for trial in group])[:points]
            runner.stop([trial for trial in group if trial.point not in best], step)
    return [trial for trial in alive if trial.key not in runner.done or runner.done[trial.key].stopped is None]


def _by_budget(trials: Sequence[Trial]) -> dict[int, list[Trial]]:
    groups: dict[int, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.cell.budget, []).append(trial)
    return groups

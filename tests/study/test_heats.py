import dataclasses
from collections.abc import Sequence

import pytest
from counting import RATES, STEPS, Counting, Judge, judge, unit_of

from tlx.study.heats import run_heats
from tlx.study.search import Point
from tlx.study.select import Validation
from tlx.study.spec import Search
from tlx.study.trials import Trained, Trial

HALVING = Search("halving", rungs=2, eta=2)


def stops(runner: Counting, trials: Sequence[Trial]) -> dict[tuple[int, float], set[int | None]]:
    found: dict[tuple[int, float], set[int | None]] = {}
    for trial in trials:
        key = (trial.cell.budget, trial.point.learning_rate)
        found.setdefault(key, set()).add(runner.done[trial.key].stopped)
    return found


def test_halving_keeps_the_best_by_the_mean_over_seeds_and_stops_the_others() -> None:
    # At step 4 one seed loves 0.1, but 0.4 and 0.8 are better on average; at step 9 it is 0.8.
    score = {
        (20, 0, 0.1, 4): 0.9,
        (20, 0, 0.4, 4): 0.5,
        (20, 1, 0.4, 4): 0.6,
        (20, 0, 0.8, 4): 0.6,
        (20, 1, 0.8, 4): 0.6,
    }
    score |= {(20, 0, 0.8, 9): 0.7, (20, 1, 0.8, 9): 0.7, (20, 0, 0.4, 9): 0.9}
    runner = Counting()
    trials = run_heats(unit_of(HALVING), runner, judge(score))
    assert stops(runner, trials) == {(20, 0.1): {4}, (20, 0.2): {4}, (20, 0.4): {9}, (20, 0.8): {None}}
    assert runner.steps == 2 * (4 * 4 + 2 * 5 + 1 * 9) == unit_of(HALVING).steps
    assert unit_of(Search()).steps == 2 * 4 * 18


def test_ties_at_a_rung_go_to_the_lower_loss() -> None:
    runner = Counting()
    trials = run_heats(unit_of(HALVING), runner, judge({}))
    assert stops(runner, trials) == {(20, 0.1): {None}, (20, 0.2): {9}, (20, 0.4): {4}, (20, 0.8): {4}}


def test_each_budget_is_judged_by_itself() -> None:
    runner = Counting()
    trials = run_heats(
        unit_of(HALVING, (20, 40)), runner, judge({(40, s, 0.8, t): 1.0 for s in (0, 1) for t in (4, 9)})
    )
    assert stops(runner, trials) == {
        **{(20, 0.1): {None}, (20, 0.2): {9}, (20, 0.4): {4}, (20, 0.8): {4}},
        **{(40, 0.1): {9}, (40, 0.2): {4}, (40, 0.4): {4}, (40, 0.8): {None}},
    }


def test_what_was_decided_before_an_interruption_is_not_decided_again() -> None:
    unit, runner = unit_of(HALVING), Counting()
    with pytest.raises(KeyboardInterrupt):
        run_heats(unit, runner, interrupted(judge({}), after=9))
    before = dict(runner.done)
    assert {run.stopped for run in before.values()} == {4}
    trials = run_heats(unit, runner, judge({(20, s, 0.2, 9): 1.0 for s in (0, 1)}))
    assert stops(runner, trials) == {(20, 0.1): {9}, (20, 0.2): {None}, (20, 0.4): {4}, (20, 0.8): {4}}
    assert runner.steps == unit.steps and before.items() <= runner.done.items()


def interrupted(real: Judge, after: int) -> Judge:
    def one(trial: Trial, run: Trained) -> Validation:
        if len(run.losses) >= after:
            raise KeyboardInterrupt
        return real(trial, run)

    return one


def test_a_grid_is_extended_past_its_edge_by_as_many_trials_in_every_cell() -> None:
    score = {(20, s, rate, STEPS): rate for s in (0, 1) for rate in (*RATES, 1.6)}
    score |= {(40, s, 0.2, STEPS): 1.0 for s in (0, 1)}
    unit, runner = unit_of(Search(extend=2), (20, 40)), Counting()
    trials = run_heats(unit, runner, judge(score))
    tried = {
        budget: [trial.point.learning_rate for trial in trials if (trial.cell.budget, trial.cell.seed) == (budget, 1)]
        for budget in (20, 40)
    }
    # Past the best twice; and between the best and the lower of its neighbours, which has the lower loss.
    assert tried == {20: [*RATES, 1.6, 3.2], 40: [*RATES, 0.141421, 0.168179]}
    assert unit.runs == len(trials) == len(runner.done) == 4 * 6
    assert runner.steps == unit.steps == 4 * 6 * STEPS


def test_trials_that_were_made_before_an_interruption_lead_to_the_same_ones() -> None:
    score = {(20, s, rate, STEPS): rate for s in (0, 1) for rate in (*RATES, 1.6)}
    whole, runner = Counting(), Counting()
    trials = run_heats(unit_of(Search(extend=2)), whole, judge(score))
    runner.done = {trial.key: whole.done[trial.key] for trial in trials[:9]}
    assert run_heats(unit_of(Search(extend=2)), runner, judge(score)) == trials
    assert runner.steps == 3 * STEPS


def test_keys_of_trials_tell_them_apart() -> None:
    cell = unit_of(Search()).first
    assert Trial(cell, Point(0.1, 0.01)).key == "20-0-0.1"
    wide = dataclasses.replace(cell.entry, weight_decays=(0.01, 0.1), dropouts=(0.0, 0.5))
    drawing = dataclasses.replace(cell, entry=wide)
    points = [Point(rate, decay, dropout=drop) for rate in (0.1, 0.2) for decay in (0.01, 0.02) for drop in (0.0, 0.5)]
    keys = [Trial(drawing, point).key for point in points]
    assert keys[:2] == ["20-0-0.1-0.01-0", "20-0-0.1-0.01-0.5"] and len(set(keys)) == 8

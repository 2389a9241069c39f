import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.measure.bound import UNKNOWN, Bound
from tlx.measure.speed import (
    break_even_tasks,
    compute_to_target,
    speed_up,
    speed_ups,
    target_score,
    time_to_target,
    times_to_target,
)

STEPS = [10, 20, 30, 40, 50, 60]


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        ([0.9] * 6, Bound(10.0)),
        ([0.1, 0.9, 0.9, 0.9, 0.1, 0.1], Bound(20.0)),
        ([0.1, 0.8, 0.8, 0.8, 0.8, 0.8], Bound(20.0)),
        ([0.9, 0.9, 0.1, 0.9, 0.9, 0.9], Bound(40.0)),
        ([0.1, 0.1, 0.1, 0.1, 0.9, 0.9], Bound(60.0, ">")),
        ([0.9, 0.9, math.nan, 0.9, 0.9, 0.1], Bound(60.0, ">")),
        ([0.1] * 6, Bound(60.0, ">")),
        ([math.nan] * 6, Bound(60.0, ">")),
    ],
)
def test_three_in_a_row_reach_a_target(scores: list[float], found: Bound) -> None:
    assert time_to_target(STEPS, scores, 0.8) == found


def test_one_in_a_row_is_the_first() -> None:
    assert time_to_target(STEPS, [0.1, 0.9, 0.1, 0.1, 0.1, 0.9], 0.8, in_a_row=1) == Bound(20.0)
    assert time_to_target([5], [0.9], 0.8, in_a_row=1) == Bound(5.0)
    assert time_to_target([5], [0.9], 0.8) == Bound(5.0, ">")


@pytest.mark.parametrize(
    ("steps", "scores", "in_a_row", "message"),
    [
        ([], [], 3, "time_E: expected rising times"),
        ([10, 10], [0.1, 0.2], 3, "time_E: expected rising times"),
        ([10, 20], [0.1], 3, "and a score for each"),
        ([10, 20], [0.1, 0.2], 0, "in_a_row: expected an integer ≥ 1, got 0"),
    ],
)
def test_what_is_no_curve_has_no_time(steps: list[int], scores: list[float], in_a_row: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        time_to_target(steps, scores, 0.5, in_a_row)


@settings(max_examples=50, deadline=None)
@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=12), low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_higher_target_is_never_reached_sooner(scores: list[float], low: float, high: float) -> None:
    steps = np.arange(1, len(scores) + 1)
    sooner, later = (time_to_target(steps, scores, target) for target in sorted((low, high)))
    assert sooner.value <= later.value and sooner.most <= later.most
    rescaled = time_to_target(10 * steps, scores, low)
    assert rescaled == time_to_target(steps, scores, low).times(10)


def test_the_target_is_a_share_of_the_last_score() -> None:
    assert target_score([0.9, 0.8]) == pytest.approx(0.792)
    assert target_score([0.5], share=0.5) == 0.25
    assert target_score([-0.5]) == -0.5
    for bad in ([], [0.5, math.nan]):
        with pytest.raises(ValueError, match="scratch_E: expected scores, the last of them finite"):
            target_score(bad)


def test_speed_up_keeps_the_censoring() -> None:
    assert speed_up(Bound(300.0), Bound(100.0)) == Bound(3.0)
    assert speed_up(Bound(100.0), Bound(100.0)) == Bound(1.0)
    assert speed_up(Bound(800.0, ">"), Bound(100.0)) == Bound(8.0, ">")
    assert speed_up(Bound(100.0), Bound(800.0, ">")) == Bound(0.125, "<")
    assert speed_up(Bound(800.0, ">"), Bound(800.0, ">")) == UNKNOWN
    assert speed_up(Bound(300.0), Bound(0.0)) == Bound(math.inf)


def test_compute_with_and_without_pretraining() -> None:
    assert compute_to_target(Bound(100.0), 2e6) == Bound(2e8)
    assert compute_to_target(Bound(100.0), 2e6, 3e8) == Bound(5e8)
    assert compute_to_target(Bound(100.0, ">"), 2e6, 3e8) == Bound(5e8, ">")
    with pytest.raises(ValueError, match="factor: expected a positive number, got 0"):
        compute_to_target(Bound(100.0), 0)


@pytest.mark.parametrize(
    ("scratch", "transfer", "tasks"),
    [
        (Bound(300.0), Bound(100.0), Bound(5.0)),
        (Bound(301.0), Bound(100.0), Bound(5.0)),
        (Bound(299.0), Bound(100.0), Bound(6.0)),
        (Bound(5000.0), Bound(100.0), Bound(1.0)),
        (Bound(100.0), Bound(100.0), Bound(math.inf)),
        (Bound(100.0), Bound(300.0), Bound(math.inf)),
        (Bound(300.0, ">"), Bound(100.0), Bound(6.0, "<")),
        (Bound(50.0, ">"), Bound(100.0), UNKNOWN),
        (Bound(300.0), Bound(100.0, ">"), Bound(4.0, ">")),
        (Bound(300.0), Bound(300.0, ">"), Bound(math.inf)),
        (Bound(300.0, ">"), Bound(300.0, ">"), UNKNOWN),
        (UNKNOWN, Bound(1.0), UNKNOWN),
    ],
)
def test_tasks_until_pretraining_has_paid(scratch: Bound, transfer: Bound, tasks: Bound) -> None:
    assert break_even_tasks(1000.0, scratch, transfer) == tasks


def test_pretraining_that_cost_nothing_has_paid_at_once() -> None:
    assert break_even_tasks(0.0, Bound(300.0), Bound(100.0)) == Bound(0.0)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="pretraining_flops: expected a number ≥ 0"):
            break_even_tasks(bad, Bound(300.0), Bound(100.0))


@settings(max_examples=50, deadline=None)
@given(
    pre=st.floats(1, 1e6), scratch=st.floats(1, 1e4), saved=st.floats(1, 1e4), unit=st.sampled_from([2.0**9, 2.0**-9])
)
def test_break_even_pays_and_one_task_less_does_not(pre: float, scratch: float, saved: float, unit: float) -> None:
    found = break_even_tasks(pre, Bound(scratch + saved), Bound(scratch))
    saving = scratch + saved - scratch
    assert found.value * saving >= pre * (1 - 1e-9) and (found.value - 1) * saving < pre * (1 + 1e-9)
    again = break_even_tasks(pre * unit, Bound((scratch + saved) * unit), Bound(scratch * unit))
    assert again == found


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(1, 8))
def test_many_curves_at_once_are_the_same_as_each(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    steps, (theirs, ours) = np.arange(1, size + 1), rng.random((2, 6, size))
    target_R = rng.random(6) / 2
    both = [times_to_target(steps, scores, target_R) for scores in (theirs, ours)]
    factors = speed_ups(*both)
    for r in range(6):
        alone = [time_to_target(steps, scores[r], target_R[r]) for scores in (theirs, ours)]
        assert [times[r] for times in both] == alone
        assert factors[r] == speed_up(*alone)

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tlx.measure.improvement import (
    bootstrap_improvement_interval,
    improvement_interval,
    pairs_needed,
    probability_of_improvement,
    verdict,
    win_share,
)
from tlx.measure.stats import Interval

RUNS = st.lists(st.integers(0, 5).map(float), min_size=4, max_size=6)


@given(RUNS, RUNS)
@settings(max_examples=30, deadline=None)
def test_it_is_mann_and_whitneys_u_over_all_pairs(x: list[float], y: list[float]) -> None:
    expected = stats.mannwhitneyu(x, y, method="asymptotic").statistic / (len(x) * len(y)) if {*x} | {*y} else 0.5
    assert probability_of_improvement([x], [y]) == pytest.approx(expected)
    assert probability_of_improvement([x], [y]) + probability_of_improvement([y], [x]) == pytest.approx(1)


@given(RUNS, RUNS)
@settings(max_examples=30, deadline=None)
def test_intervals_hold_the_point_and_mirror_one_another(x: list[float], y: list[float]) -> None:
    found, mirrored = improvement_interval([x], [y]), improvement_interval([y], [x])
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found.low < found.high
    assert (1 - mirrored.high, 1 - mirrored.low) == (pytest.approx(found.low), pytest.approx(found.high))


def test_tasks_weigh_the_same() -> None:
    assert probability_of_improvement([[1.0] * 9, [0.0]], [[0.0], [1.0]]) == 0.5


def test_identical_arrays_are_a_tie() -> None:
    assert probability_of_improvement([[0.5, 0.7]], [[0.5, 0.7]]) == 0.5
    assert probability_of_improvement([[0.8 - 0.7]], [[0.9 - 0.8]]) == 0.5


def test_newcombes_interval_by_hand() -> None:
    # 4 against 4, all won: (1 - p)² = 1.96² p (1 - p) (1 + 3 ((1 - p) / (2 - p) + p / (1 + p))) / 16
    found = improvement_interval([[6.0, 7.0, 8.0, 9.0]], [[1.0, 2.0, 3.0, 4.0]])
    p = found.low
    variance = p * (1 - p) * (1 + 3 * ((1 - p) / (2 - p) + p / (1 + p))) / 16
    assert 1 - p == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-5)
    assert (found.low, found.high, found.kind) == (pytest.approx(0.5822, abs=1e-4), 1.0, "score")
    lost = improvement_interval([[1.0, 2.0, 3.0, 4.0]], [[6.0, 7.0, 8.0, 9.0]])
    assert (lost.mean, lost.low, lost.high) == (0.0, 0.0, pytest.approx(1 - p))


def test_more_tasks_say_more() -> None:
    one = improvement_interval([[6.0, 7.0, 8.0, 9.0]], [[1.0, 2.0, 3.0, 8.5]])
    four = improvement_interval([[6.0, 7.0, 8.0, 9.0]] * 4, [[1.0, 2.0, 3.0, 8.5]] * 4)
    assert four.mean == one.mean and four.high - four.low < one.high - one.low
    assert (one.n, four.n) == (1, 4)


def test_three_runs_take_two_tasks() -> None:
    x, y = [7.0, 8.0, 9.0], [1.0, 2.0, 3.0]
    assert improvement_interval([x], [y]).kind == "none"
    assert improvement_interval([x, x], [y, y]).kind == "score"


@pytest.mark.parametrize("runs", [1, 2])
def test_too_few_runs_have_no_interval(runs: int) -> None:
    x, y = [[1.0] * 5, [1.0] * runs], [[0.0] * 5] * 2
    for found in (improvement_interval(x, y), bootstrap_improvement_interval(x, y, np.random.default_rng(0))):
        assert (found.mean, found.kind, found.n) == (1.0, "none", 2) and math.isnan(found.low)


def test_the_bootstrap_is_that_of_a_plain_loop() -> None:
    make = np.random.default_rng(4)
    x, y = make.normal(0.5, 1, (3, 6)), make.normal(0, 1, (3, 5))
    rng, shares = np.random.default_rng(8), []
    for _ in range(1000):
        drawn = [(a[rng.integers(0, 6, 6)], b[rng.integers(0, 5, 5)]) for a, b in zip(x, y, strict=True)]
        shares.append(np.mean([(a[:, None] > b).mean() for a, b in drawn]))
    found = bootstrap_improvement_interval(list(x), list(y), np.random.default_rng(0))
    np.testing.assert_allclose([found.low, found.high], np.quantile(shares, [0.025, 0.975]), atol=0.03)
    assert bootstrap_improvement_interval(list(x), list(y), np.random.default_rng(0)) == found


def test_the_bootstrap_has_no_width_where_one_side_always_wins() -> None:
    found = bootstrap_improvement_interval([[7.0, 8.0, 9.0]], [[1.0, 2.0, 3.0]], np.random.default_rng(0))
    assert found == Interval(1.0, 1.0, 1.0, 1, "percentile")


@pytest.mark.parametrize(("won", "n"), [(0, 4), (3, 4), (5, 5), (20, 29)])
def test_win_share_is_wilsons(won: int, n: int) -> None:
    found = win_share(np.arange(n) < won, np.full(n, 0.5))
    wilson = stats.binomtest(won, n).proportion_ci(method="wilson")
    assert (found.mean, found.n) == (won / n, n)
    assert (found.low, found.high) == (pytest.approx(wilson.low, abs=1e-12), pytest.approx(wilson.high, abs=1e-12))


def test_win_share_counts_ties_half() -> None:
    assert win_share([1.0, 0.8 - 0.7, 0.0], [0.0, 0.9 - 0.8, 1.0]).mean == 0.5
    assert win_share([1.0, 1.0], [0.0, 0.0]).kind == "none"
    with pytest.raises(ValueError, match="y: expected 1 values"):
        win_share([1.0], [1.0, 2.0])


def test_a_verdict_needs_both_ends() -> None:
    assert verdict(Interval(0.8, 0.5, 0.9, 9, "score")) == "not significant"
    assert verdict(Interval(0.6, 0.51, 0.75, 99, "score")) == "significant, not meaningful"
    assert verdict(Interval(0.7, 0.51, 0.76, 29, "score")) == "significant and meaningful"
    assert verdict(Interval(0.6, 0.51, 0.75, 99, "score"), gamma=0.7) == "significant and meaningful"
    assert verdict(Interval(1.0, math.nan, math.nan, 2, "none")) == "not significant"


def test_bouthilliers_sample_size() -> None:
    # ((1.6449 + 1.6449) / (2.4495 · 0.25))² = 28.9
    assert pairs_needed() == 29
    assert pairs_needed(gamma=0.65) == 81
    assert pairs_needed(beta=0.2) == 17
    for gamma in (0.5, 1.01):
        with pytest.raises(ValueError, match="gamma: expected more than 0.5"):
            pairs_needed(gamma)


def test_tasks_that_do_not_match_are_refused() -> None:
    for x, y in (([[1.0]], []), ([], []), ([[1.0]], [[1.0], [2.0]])):
        with pytest.raises(ValueError, match="y_TR: expected the tasks of x_TR"):
            probability_of_improvement(x, y)
    with pytest.raises(ValueError, match=r"x_TR\[0\]: expected at least 1 finite"):
        improvement_interval([[math.nan]], [[1.0]])

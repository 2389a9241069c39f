import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.measure.expected_best import expected_best_with_replacement, expected_best_without_replacement

SCORES = [0.7, 0.2, 0.5, 0.5, 0.9]
SOME = st.lists(st.floats(-1, 1), min_size=1, max_size=7)


@pytest.mark.parametrize("budget", [1, 2, 3, 4])
def test_both_are_means_over_all_draws(budget: int) -> None:
    with_ = np.mean([max(drawn) for drawn in itertools.product(SCORES, repeat=budget)])
    without = np.mean([max(drawn) for drawn in itertools.combinations(SCORES, budget)])
    assert expected_best_with_replacement(SCORES, budget) == pytest.approx(with_)
    assert expected_best_without_replacement(SCORES, budget) == pytest.approx(without)


@given(SOME)
@settings(max_examples=30, deadline=None)
def test_from_the_mean_to_the_best(scores: list[float]) -> None:
    budgets = np.arange(1, len(scores) + 1)
    with_ = expected_best_with_replacement(scores, budgets)
    without = expected_best_without_replacement(scores, budgets)
    assert with_[0] == pytest.approx(np.mean(scores)) and without[0] == pytest.approx(np.mean(scores))
    assert without[-1] == pytest.approx(max(scores))
    assert np.all(np.diff(with_) >= -1e-9) and np.all(np.diff(without) >= -1e-9)
    assert np.all(with_ <= without + 1e-9)


@pytest.mark.parametrize("best", [expected_best_with_replacement, expected_best_without_replacement])
def test_one_trial_equal_trials_and_shapes(best: object) -> None:
    assert callable(best)
    assert best([0.3], 1) == pytest.approx(0.3)
    np.testing.assert_allclose(best([0.4] * 5, [[1, 2], [3, 5]]), 0.4)


def test_many_trials_do_not_overflow() -> None:
    scores = np.linspace(0, 1, 5000)
    assert expected_best_without_replacement(scores, 2500) == pytest.approx(2500 / 2501 * 5001 / 5000, abs=1e-3)
    assert expected_best_with_replacement(scores, 2500) == pytest.approx(1, abs=1e-3)


def test_budgets_that_cannot_be_are_refused() -> None:
    for best in (expected_best_with_replacement, expected_best_without_replacement):
        for bad in (0, -1, 1.5):
            with pytest.raises(ValueError, match="budgets: expected whole numbers from 1"):
                best(SCORES, bad)
        for wrong in ([], [math.nan]):
            with pytest.raises(ValueError, match="scores: expected at least 1 finite values"):
                best(wrong, 1)
    assert expected_best_with_replacement(SCORES, 6) < 0.9
    with pytest.raises(ValueError, match="budgets: expected at most 5, the number of trials, got 6"):
        expected_best_without_replacement(SCORES, 6)

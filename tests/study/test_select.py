import numpy as np
import pytest

from tlx.study.select import Validation, select, validate


def results(table: dict[float, list[tuple[float | None, float | None]]]) -> list[Validation]:
    return [
        Validation(seed, rate, accuracy, loss)
        for rate, column in table.items()
        for seed, (accuracy, loss) in enumerate(column)
    ]


def test_the_mean_over_seeds_decides_not_the_best_seed() -> None:
    assert select(results({0.1: [(1.0, 0.1), (0.1, 2.0)], 0.2: [(0.6, 1.0), (0.6, 1.0)]})) == 0.2


def test_ties_go_to_the_lower_loss_then_to_the_lower_rate() -> None:
    assert select(results({0.1: [(0.5, 1.0)], 0.2: [(0.5, 0.9)]})) == 0.2
    assert select(results({0.2: [(0.5, 1.0)], 0.1: [(0.5, 1.0)]})) == 0.1


def test_a_diverged_trial_counts_as_nothing_right() -> None:
    assert select(results({0.1: [(0.4, 1.0), (0.4, 1.0)], 9.0: [(0.7, 1.0), (None, None)]})) == 0.1
    assert select(results({0.2: [(None, None)], 0.1: [(None, None)]})) == 0.1


def test_validate_scores_or_says_diverged() -> None:
    logits_NC = np.array([[2.0, 0.0], [0.0, 0.0]], np.float32)
    result = validate(3, 0.1, False, logits_NC, np.array([0, 1]))
    assert result.score == 0.5
    assert result.loss == pytest.approx((np.log1p(np.exp(-2.0)) + np.log(2.0)) / 2)
    assert validate(3, 0.1, True, logits_NC, np.array([0, 1])) == Validation(3, 0.1, None, None)

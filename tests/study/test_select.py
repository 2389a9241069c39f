import dataclasses

import numpy as np
import pytest

from tlx.study.search import Point
from tlx.study.select import Validation, ranked, select, validate

POINT = Point(0.1, 0.01)


def results(table: dict[float, list[tuple[float | None, float | None]]]) -> list[Validation]:
    return [
        Validation(seed, Point(rate, 0.0), accuracy, loss)
        for rate, column in table.items()
        for seed, (accuracy, loss) in enumerate(column)
    ]


def chosen(found: list[Validation]) -> float:
    return select(found).learning_rate


def test_the_mean_over_seeds_decides_not_the_best_seed() -> None:
    assert chosen(results({0.1: [(1.0, 0.1), (0.1, 2.0)], 0.2: [(0.6, 1.0), (0.6, 1.0)]})) == 0.2


def test_ties_go_to_the_lower_loss_then_to_the_lower_rate() -> None:
    assert chosen(results({0.1: [(0.5, 1.0)], 0.2: [(0.5, 0.9)]})) == 0.2
    assert chosen(results({0.2: [(0.5, 1.0)], 0.1: [(0.5, 1.0)]})) == 0.1


def test_a_diverged_trial_counts_as_nothing_right() -> None:
    assert chosen(results({0.1: [(0.4, 1.0), (0.4, 1.0)], 9.0: [(0.7, 1.0), (None, None)]})) == 0.1
    assert chosen(results({0.2: [(None, None)], 0.1: [(None, None)]})) == 0.1


def test_validate_scores_or_says_diverged() -> None:
    logits_NC = np.array([[2.0, 0.0], [0.0, 0.0]], np.float32)
    result = validate(3, POINT, False, logits_NC, np.array([0, 1]))
    assert result.score == 0.5
    assert result.loss == pytest.approx((np.log1p(np.exp(-2.0)) + np.log(2.0)) / 2)
    assert validate(3, POINT, True, logits_NC, np.array([0, 1])) == Validation(3, POINT, None, None)


def test_a_trial_that_was_stopped_is_never_chosen_however_well_it_stood() -> None:
    found = results({0.1: [(0.5, 1.0)], 0.2: [(0.9, 0.1)]})
    found[1] = dataclasses.replace(found[1], stopped=4)
    assert chosen(found) == 0.1
    assert [point.learning_rate for point in ranked(found)] == [0.2, 0.1]


def test_equal_rates_are_told_apart_by_their_decay() -> None:
    low, high = (Validation(0, Point(0.1, decay), 0.5, 1.0) for decay in (0.01, 0.1))
    assert select([high, low]) == low.point
    assert select([low, dataclasses.replace(high, score=0.6)]) == high.point

import math

import numpy as np
import pytest

from tlx.measure.gain import absolute_gain, error_reduction, logit_gain, relative_gain


def test_absolute_gain_is_the_difference() -> None:
    np.testing.assert_allclose(absolute_gain([0.8, 0.3], [0.5, 0.4]), [0.3, -0.1])
    assert absolute_gain(1, 0) == 1.0


def test_relative_gain_is_undefined_for_a_scratch_score_of_zero_or_less() -> None:
    found = relative_gain([0.6, 0.2, 0.5, 0.5], [0.4, 0.4, 0.0, -0.1])
    np.testing.assert_allclose(found, [0.5, -0.5, math.nan, math.nan])


def test_error_reduction_is_undefined_where_scratch_makes_no_error() -> None:
    found = error_reduction([0.9, 1.0, 0.2, 1.0, 0.9], [0.8, 0.8, 0.6, 1.0, 1.0])
    np.testing.assert_allclose(found, [0.5, 1.0, -1.0, math.nan, math.nan])


def test_missing_scores_stay_missing() -> None:
    for gain in (absolute_gain, relative_gain, error_reduction):
        assert np.isnan(gain([math.nan, 0.5], [0.5, math.nan])).all()


def test_logit_gain_adds_a_half_to_both_counts() -> None:
    # log(320.5 / 80.5) - log(200.5 / 200.5), by hand
    assert logit_gain(320, 200, 400, 400) == pytest.approx(1.381625, abs=1e-6)
    assert logit_gain(200, 320, 400, 400) == pytest.approx(-1.381625, abs=1e-6)


def test_logit_gain_is_finite_at_all_and_none_correct() -> None:
    # log(10.5 / 0.5) - log(0.5 / 10.5) = 2 log 21
    assert logit_gain(10, 0, 10, 10) == pytest.approx(2 * math.log(21))


def test_logit_gain_takes_arrays_and_different_test_sizes() -> None:
    found = logit_gain([1, 3], [0, 0], [2, 4], [2, 4])
    np.testing.assert_allclose(found, [math.log(5), math.log(3.5 / 1.5) + math.log(9)])
    assert logit_gain(5, 50, 10, 100) == pytest.approx(0.0)


def test_logit_gain_of_no_examples_is_undefined() -> None:
    assert np.isnan(logit_gain(0, 5, 0, 10))


@pytest.mark.parametrize("correct", [-1, 11])
def test_impossible_counts_are_refused(correct: int) -> None:
    with pytest.raises(ValueError, match="correct: expected counts between 0 and the number"):
        logit_gain(correct, 5, 10, 10)

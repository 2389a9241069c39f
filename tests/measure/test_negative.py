import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tlx.measure.negative import negative_transfer
from tlx.measure.paired_tests import t_test_p

HARM, HELP, MAYBE = [-0.1, -0.11, -0.12], [0.2, 0.21, 0.19], [-0.1, 0.05, -0.02]


def test_raw_and_significant() -> None:
    found = negative_transfer([HARM, HELP, MAYBE, [-0.3], []])
    assert (found.gains, found.negative, found.tested, found.significant) == (4, 3, 3, 1)
    assert found.raw_rate == 0.75 and found.significant_rate == pytest.approx(1 / 3)
    assert found.flags == (True, False, False, False, False)


def test_a_surely_positive_gain_is_never_counted() -> None:
    assert negative_transfer([HELP] * 5).significant == 0


def test_many_tests_ask_for_more() -> None:
    """By hand: p of 0.03 alone is significant, among nine others of 0.5 and more it is 0.3."""
    t = stats.t.isf(0.015, 4)
    unit = np.array([-2, -1, 0, 1, 2]) / math.sqrt(0.5)
    weak = unit - t  # the standard error of `unit` is 1
    assert t_test_p(weak) == pytest.approx(0.03)
    assert negative_transfer([weak]).significant == 1
    crowd = negative_transfer([weak, *[unit + 0.01 * k for k in range(9)]])
    assert (crowd.tested, crowd.significant) == (10, 0)
    assert negative_transfer([weak, *[unit] * 9], q=0.31).significant == 1


def test_false_discoveries_are_held_down() -> None:
    rng = np.random.default_rng(0)
    false = [negative_transfer(rng.normal(0, 1, (10, 5))).significant > 0 for _ in range(100)]
    assert np.mean(false) <= 0.06  # of either sign 0.05, of this one half of that


def test_gains_must_be_finite() -> None:
    for bad in ([[math.nan, 0.1, 0.2]], [[[0.1, 0.2, 0.3]]]):
        with pytest.raises(ValueError, match="x: expected at least 2 finite values in one dimension"):
            negative_transfer(bad)


def test_nothing_has_no_rate() -> None:
    for found in (negative_transfer([]), negative_transfer([[]])):
        assert math.isnan(found.raw_rate) and math.isnan(found.significant_rate) and found.gains == 0


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(4)), factor=st.floats(0.01, 100))
def test_order_and_unit_do_not_matter(order: list[int], factor: float) -> None:
    gains = [HARM, HELP, MAYBE, [-0.2, -0.21, -0.22, -0.2]]
    first = negative_transfer(gains)
    again = negative_transfer([factor * np.array(gains[i]) for i in order])
    assert again.significant == first.significant == 2
    assert again.flags == tuple(first.flags[i] for i in order)

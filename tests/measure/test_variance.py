import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tlx.measure.variance import deviation_interval, nested_components, variance_components

PURPOSES = ("subset", "init", "order")


def test_effects_that_add_up_leave_nothing_to_interactions() -> None:
    subset, init, order = np.array([0.0, 1.0, 5.0]), np.array([0.0, 2.0]), np.array([1.0, 1.0, 2.0, 4.0])
    scores = subset[:, None, None] + init[:, None] + order
    found = variance_components(scores, PURPOSES)
    assert [one.factors for one in found] == [
        ("subset",),
        ("init",),
        ("order",),
        ("subset", "init"),
        ("subset", "order"),
        ("init", "order"),
        ("rest",),
    ]
    expected = [subset.var(ddof=1), init.var(ddof=1), order.var(ddof=1), 0, 0, 0, 0]
    np.testing.assert_allclose([one.variance for one in found], expected, atol=1e-12)
    np.testing.assert_allclose([one.share for one in found], np.array(expected) / sum(expected), atol=1e-12)


def test_two_factors_by_hand() -> None:
    # mean squares 2.25 (rows), 6.25 (columns), 0.25 (rest); components (2.25 - 0.25) / 2, (6.25 - 0.25) / 2, 0.25
    rows, columns, rest = variance_components([[1.0, 3.0], [2.0, 5.0]], ("a", "b"))
    assert (rows.variance, columns.variance, rest.variance) == (1.0, 3.0, 0.25)
    assert rest.factors == ("rest",) and columns.share == pytest.approx(3 / 4.25)


def test_one_factor_is_the_variance() -> None:
    (only,) = variance_components([1.0, 2.0, 4.0], ("seed",))
    assert only.variance == pytest.approx(np.var([1, 2, 4], ddof=1)) and only.share == 1.0


def test_repetitions_make_it_the_classical_table() -> None:
    # Rows against what is within them: F of a one-way analysis is (rest + 4 · rows) / rest, all else pooled.
    scores = np.random.default_rng(0).normal(size=(5, 4)) + np.arange(5)[:, None]
    rows, columns, rest = variance_components(scores, ("subset", "repetition"))
    within = (4 - 1) / (5 * 3) * (5 * columns.variance + rest.variance) + 12 / 15 * rest.variance
    assert stats.f_oneway(*scores).statistic == pytest.approx((rest.variance + 4 * rows.variance) / within)


def test_three_factors_are_estimated_without_bias() -> None:
    rng, truth = np.random.default_rng(7), [4.0, 1.0, 0.25, 0.5, 0.0, 0.0, 1.0]
    shapes = [(4, 1, 1), (1, 3, 1), (1, 1, 3), (4, 3, 1), (4, 1, 3), (1, 3, 3), (4, 3, 3)]
    found = []
    for _ in range(400):
        scores = sum(math.sqrt(v) * rng.normal(size=shape) for v, shape in zip(truth, shapes, strict=True))
        found.append([one.variance for one in variance_components(scores, PURPOSES)])
    error = np.std(found, axis=0) / math.sqrt(400)
    assert np.all(np.abs(np.mean(found, axis=0) - truth) < 4 * error)


@given(st.permutations(range(3)), st.floats(0.1, 10), st.floats(-5, 5))
@settings(max_examples=20, deadline=None)
def test_shares_do_not_depend_on_unit_or_order(order: list[int], scale: float, shift: float) -> None:
    scores = np.random.default_rng(1).normal(size=(3, 4, 2))
    plain = {frozenset(one.factors): one.share for one in variance_components(scores, PURPOSES)}
    moved = variance_components(scale * scores.transpose(order)[::-1] + shift, [PURPOSES[axis] for axis in order])
    for one in moved:
        assert one.share == pytest.approx(plain[frozenset(one.factors)], abs=1e-9)


def test_what_is_below_zero_has_no_share() -> None:
    rows, columns, rest = variance_components([[1.0, 0.0], [0.0, 1.0]], ("a", "b"))
    assert (rows.variance, rows.share, columns.share, rest.share) == (-0.5, 0.0, 0.0, 1.0)
    assert all(math.isnan(one.share) for one in variance_components(np.ones((2, 2)), ("a", "b")))


@pytest.mark.parametrize("bad", [[1.0], [[1.0, 2.0]], [[1.0, math.nan], [1.0, 2.0]], [], 1.0])
def test_what_is_not_crossed_is_refused(bad: object) -> None:
    with pytest.raises(
        ValueError, match="scores: expected finite values with an axis of 2 or more for each of 2 factors"
    ):
        variance_components(bad, ("a", "b"))


def test_nested_by_hand() -> None:
    # means 2 and 6: mean square between 16, within 2, 2 runs each
    assert nested_components([[1.0, 3.0], [5.0, 7.0]]) == (7.0, 2.0)
    # unequal sizes: n0 = (6 - 14 / 6) / 2 = 11 / 6; between = 1·4² + 2·1² + 3·2² = 30 over 2; within 2.5 / 3
    between, within = nested_components([[0.0], [4.5, 5.5], [5.0, 6.0, 7.0]])
    assert within == pytest.approx(2.5 / 3)
    grand = 28 / 6
    expected = (1 * grand**2 + 2 * (5 - grand) ** 2 + 3 * (6 - grand) ** 2) / 2
    assert between == pytest.approx((expected - 2.5 / 3) / (11 / 6))


def test_nested_agrees_with_a_one_way_analysis() -> None:
    groups = np.random.default_rng(2).normal(size=(4, 5)) + np.arange(4)[:, None]
    between, within = nested_components(list(groups))
    assert (within + 5 * between) / within == pytest.approx(stats.f_oneway(*groups).statistic)


@pytest.mark.parametrize("bad", [[], [[1.0, 2.0]], [[1.0], [2.0]]])
def test_groups_that_leave_nothing_within_are_refused(bad: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="groups: expected two or more, one of them with two runs"):
        nested_components(bad)


def test_interval_of_a_deviation() -> None:
    # chi-squared with 4 degrees of freedom: 0.4844 and 11.1433; s² = 2.5
    low, high = deviation_interval([1, 2, 3, 4, 5])
    assert (low, high) == (
        pytest.approx(math.sqrt(10 / 11.1433), rel=1e-4),
        pytest.approx(math.sqrt(10 / 0.4844), rel=1e-4),
    )
    assert deviation_interval([0.5, 0.5]) == (0.0, 0.0)
    with pytest.raises(ValueError, match="x: expected at least 2 finite"):
        deviation_interval([1.0])

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.measure.bound import UNKNOWN, Bound, BoundInterval, Bounds, Weights, difference, quotient, seed_interval
from tlx.measure.stats import t_interval

numbers = st.floats(0.5, 1000)
bounds = st.builds(Bound, numbers, st.sampled_from(["=", "<", ">"]))


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (Bound(0.0), "0"),
        (Bound(-0.0), "0"),
        (Bound(0.123456), "0.123"),
        (Bound(99.96), "100"),
        (Bound(1234.5), "1,234"),
        (Bound(-1234.6), "-1,235"),
        (Bound(160.0, ">"), "> 160"),
        (Bound(-20.0, "<"), "< -20"),
        (Bound(math.inf), "∞"),
        (Bound(-math.inf), "-∞"),
        (UNKNOWN, "–"),
    ],
)
def test_a_bound_in_words(bound: Bound, text: str) -> None:
    assert bound.text == text


def test_ends_of_what_is_possible() -> None:
    assert (Bound(3.0).least, Bound(3.0).most) == (3.0, 3.0)
    assert (Bound(3.0, ">").least, Bound(3.0, ">").most) == (3.0, math.inf)
    assert (Bound(3.0, "<").least, Bound(3.0, "<").most) == (-math.inf, 3.0)
    assert (UNKNOWN.least, UNKNOWN.most) == (-math.inf, math.inf)


def test_censoring_stays_under_known_changes() -> None:
    assert Bound(160.0, ">").minus(40) == Bound(120.0, ">")
    assert Bound(160.0, "<").times(0.25) == Bound(40.0, "<")
    with pytest.raises(ValueError, match="factor: expected a positive number, got -1"):
        Bound(1.0, ">").times(-1)
    with pytest.raises(ValueError, match="got nan"):
        Bound(1.0, ">").times(math.nan)


@settings(max_examples=60, deadline=None)
@given(above=bounds, below=bounds, a=st.floats(0.01, 100), b=st.floats(0.01, 100))
def test_what_is_said_of_quotients_and_differences_is_true(above: Bound, below: Bound, a: float, b: float) -> None:
    """Any numbers that the bounds allow have a quotient and a difference that the answer allows."""

    def some(bound: Bound, shift: float) -> float:
        return {"=": bound.value, ">": bound.value + shift, "<": bound.value * shift / (shift + 1)}[bound.side]

    x, y = some(above, a), some(below, b)
    for found, truth in ((quotient(above, below), x / y), (difference(above, below), x - y)):
        slack = 1e-9 * (1 + abs(truth))
        assert found.least - slack <= truth <= found.most + slack
    if above.side == below.side == "=":
        assert quotient(above, below) == Bound(x / y) and difference(above, below) == Bound(x - y)


def test_division_by_zero() -> None:
    assert quotient(Bound(3.0), Bound(0.0)) == Bound(math.inf)
    assert quotient(Bound(0.0), Bound(0.0)) == UNKNOWN
    assert quotient(Bound(3.0, "<"), Bound(0.0)) == UNKNOWN
    assert quotient(UNKNOWN, Bound(1.0)) == difference(Bound(1.0), UNKNOWN) == UNKNOWN


def each(statistic: Callable[[np.ndarray], Bound]) -> Callable[[Weights], Bounds]:
    """A statistic of one draw, for all draws."""
    return lambda weight_RS: Bounds.of([statistic(weight_S) for weight_S in weight_RS])


def mean_of(values: list[float]) -> Callable[[Weights], Bounds]:
    return each(lambda weight_S: Bound(float(weight_S @ np.array(values)) / len(values)))


def test_two_seeds_have_no_interval_and_none_is_refused() -> None:
    found = seed_interval(mean_of([1.0, 3.0]), 2)
    assert found == BoundInterval(Bound(2.0), None, None, 2) and found.text == "2"
    with pytest.raises(ValueError, match="seeds: expected at least one"):
        seed_interval(mean_of([]), 0)


def test_equal_seeds_have_a_point() -> None:
    found = seed_interval(mean_of([0.5] * 5), 5)
    assert (found.low.value, found.high.value) == (pytest.approx(0.5), pytest.approx(0.5))
    assert found.text == "0.5"


def test_the_interval_depends_on_nothing_but_the_generator() -> None:
    values = [0.1, 0.4, 0.2, 0.9, 0.3, 0.5]
    assert seed_interval(mean_of(values), 6) == seed_interval(mean_of(values), 6)
    first = seed_interval(mean_of(values), 6, np.random.default_rng(3), resamples=100)
    assert first == seed_interval(mean_of(values), 6, np.random.default_rng(3), resamples=100)


def test_a_wider_level_has_a_wider_interval() -> None:
    values = np.random.default_rng(0).normal(size=12).tolist()
    narrow, wide = (seed_interval(mean_of(values), 12, level=level) for level in (0.5, 0.95))
    assert wide.low.value < narrow.low.value < narrow.high.value < wide.high.value


def test_few_seeds_have_students_interval() -> None:
    """Up to the noise of 2,000 draws."""
    for values in ([0.1, 0.4, 0.2, 0.9, 0.3], [0.1, 0.4, 0.2], [1.0, 2.0, 3.0, 5.0, 4.0, 2.0, 1.0, 3.0, 6.0]):
        found, oracle = seed_interval(mean_of(values), len(values)), t_interval(values)
        half = oracle.high - oracle.mean
        assert found.estimate.value == pytest.approx(oracle.mean)
        assert found.low.value == pytest.approx(oracle.low, abs=0.1 * half)
        assert found.high.value == pytest.approx(oracle.high, abs=0.1 * half)
        assert found.low.value + found.high.value == pytest.approx(2 * oracle.mean, abs=0.02 * half)


def test_many_seeds_are_resampled() -> None:
    """Means of 0 and 1 in equal numbers: a mean of 12 draws, its quantiles a little outside the nominal ones."""
    found = seed_interval(mean_of([0.0, 1.0] * 6), 12)
    assert (found.low, found.high) == (Bound(pytest.approx(2 / 12)), Bound(pytest.approx(10 / 12)))


def test_ends_may_be_censored() -> None:
    def statistic(weight_S: np.ndarray) -> Bound:
        mean = float(weight_S @ np.arange(5.0)) / 5
        return Bound(3.0, ">") if mean > 3 else Bound(1.0, "<") if mean < 1 else Bound(mean)

    found = seed_interval(each(statistic), 5)
    assert found.text == "2 [< 1, > 3]"
    assert found.minus(1).text == "1 [< 0, > 2]"
    assert found.times(2).text == "4 [< 2, > 6]"


def test_what_all_resamples_agree_on_stands_alone() -> None:
    assert seed_interval(each(lambda weight_S: Bound(8.0, ">")), 4).text == "> 8"
    assert seed_interval(each(lambda weight_S: UNKNOWN), 4).text == "–"


def test_an_unknown_draw_opens_both_ends() -> None:
    found = seed_interval(each(lambda weight_S: UNKNOWN if weight_S[0] < 0.5 else Bound(2.0)), 5)
    assert (found.estimate, found.low, found.high) == (Bound(2.0), UNKNOWN, UNKNOWN)


@pytest.mark.thorough
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_of_a_mean_covers_as_often_as_it_says(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    covered = 0
    for _ in range(2500):
        value_S = rng.normal(1.0, 1.0, seeds)
        found = seed_interval(lambda weight_RS, value_S=value_S: exact(weight_RS @ value_S / len(value_S)), seeds)
        covered += found.low.least <= 1.0 <= found.high.most
    assert 0.93 <= covered / 2500 <= 0.97


def exact(value_R: np.ndarray) -> Bounds:
    return Bounds(value_R, value_R, value_R)


def test_many_bounds_give_back_each() -> None:
    some = [Bound(3.0), Bound(4.0, ">"), Bound(5.0, "<"), UNKNOWN, Bound(math.inf), Bound(-math.inf), Bound(0.0, "<")]
    kept = Bounds.of(some)
    assert [kept[place].text for place in range(len(some))] == [bound.text for bound in some]
    assert kept[0] == some[0] and kept[1] == some[1] and kept[2] == some[2] and kept[3] is UNKNOWN
    assert Bounds.of([]).value_R.shape == (0,)

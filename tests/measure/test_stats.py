import itertools
import math

import numpy as np
import pytest

from tlx.measure.stats import Interval, bootstrap_interval, interval, sign_flip_p, t_interval

LOPSIDED = [0.01, 0.02, 0.02, 0.03, 0.03, 0.04, 0.05, 0.07, 0.11, 0.22, 0.04, 0.06]


def test_t_interval_from_the_table() -> None:
    # s = sqrt(0.025), t(0.975, 4) = 2.7764
    found = t_interval([0.1, 0.2, 0.3, 0.4, 0.5])
    assert found.mean == pytest.approx(0.3)
    assert found.high - found.mean == pytest.approx(2.7764 * math.sqrt(0.025) / math.sqrt(5), abs=1e-5)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert (found.n, found.kind) == (5, "t")


def test_t_interval_at_another_level() -> None:
    # t(0.95, 2) = 2.91999
    assert t_interval([1, 2, 3], level=0.9).low == pytest.approx(2 - 2.91999 / math.sqrt(3), abs=1e-5)


def test_bca_agrees_with_an_independent_implementation() -> None:
    # 200 000 resamples of a plain-Python BCa give 0.0367 and 0.1088; the symmetric interval would be lower.
    found = bootstrap_interval(LOPSIDED, np.random.default_rng(0))
    assert found.mean == pytest.approx(0.7 / 12)
    assert found.low == pytest.approx(0.0367, abs=0.001)
    assert found.high == pytest.approx(0.1088, abs=0.003)
    assert found.high - found.mean > 2 * (found.mean - found.low)


def test_bootstrap_depends_on_nothing_but_the_generator() -> None:
    first = bootstrap_interval(LOPSIDED, np.random.default_rng(7), resamples=500)
    np.random.seed(99)
    assert bootstrap_interval(LOPSIDED, np.random.default_rng(7), resamples=500) == first
    assert bootstrap_interval(LOPSIDED, np.random.default_rng(8), resamples=500) != first
    assert interval(LOPSIDED) == interval(LOPSIDED)


def test_t_interval_covers_as_often_as_it_says() -> None:
    samples = np.random.default_rng(1).normal(1.0, 2.0, size=(600, 5))
    covered = [found.low <= 1.0 <= found.high for found in map(t_interval, samples)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(("n", "kind"), [(1, "none"), (2, "none"), (3, "t"), (9, "t"), (10, "bca")])
def test_the_size_decides_the_kind(n: int, kind: str) -> None:
    found = interval(np.linspace(0.1, 0.9, n))
    assert (found.kind, found.n) == (kind, n)
    assert math.isnan(found.low) == math.isnan(found.high) == (kind == "none")


def test_an_empty_sample_has_no_mean() -> None:
    found = interval([])
    assert math.isnan(found.mean) and found.n == 0 and found.kind == "none"


def test_equal_values_have_a_point_for_interval() -> None:
    assert interval([0.75] * 3) == Interval(0.75, 0.75, 0.75, 3, "t")
    assert interval([0.75] * 10) == Interval(0.75, 0.75, 0.75, 10, "bca")


@pytest.mark.parametrize("n", [4, 12])
def test_values_equal_but_for_rounding_count_as_equal(n: int) -> None:
    values = [0.8 - 0.7, 0.9 - 0.8] * (n // 2)
    assert len(set(values)) == 2
    found = interval(values)
    assert found.low == found.high == pytest.approx(0.1)
    assert found.above_zero


def test_sides_of_zero() -> None:
    assert interval([0.1, 0.2, 0.3]).above_zero is False
    assert interval([0.1, 0.11, 0.12]).above_zero
    assert interval([-0.1, -0.11, -0.12]).below_zero
    alone = interval([0.5])
    assert not alone.above_zero and not alone.below_zero


@pytest.mark.parametrize("bad", [[math.nan, 1.0], [math.inf, 1.0], [[1.0, 2.0]]])
def test_values_that_are_no_sample_are_refused(bad: list[float]) -> None:
    for measure in (t_interval, interval, sign_flip_p):
        with pytest.raises(ValueError, match="x: expected at least"):
            measure(bad)


def test_one_value_has_no_t_interval() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        t_interval([1.0])


@pytest.mark.parametrize(("n", "p"), [(1, 1.0), (5, 0.0625), (6, 0.03125), (7, 0.015625), (8, 0.0078125)])
def test_smallest_sign_flip_p(n: int, p: float) -> None:
    assert sign_flip_p(np.arange(1, n + 1)) == p
    assert sign_flip_p(-np.arange(1, n + 1)) == p


@pytest.mark.parametrize("seed", range(6))
def test_sign_flip_p_is_the_count_over_all_patterns(seed: int) -> None:
    values = np.random.default_rng(seed).integers(-4, 8, size=4 + seed) / 10
    sums = [abs(np.dot(signs, values)) for signs in itertools.product([1, -1], repeat=len(values))]
    expected = np.mean(np.array(sums) >= abs(values.sum()) - 1e-9)
    assert sign_flip_p(values) == pytest.approx(expected, abs=1e-12)


def test_sign_flip_p_of_no_difference_is_one() -> None:
    assert sign_flip_p([0.0, 0.0, 0.0]) == 1.0
    assert sign_flip_p([0.3, -0.3]) == 1.0


def test_sign_flip_p_sees_through_rounding() -> None:
    assert sign_flip_p([0.8 - 0.7, 0.9 - 0.8, 0.7 - 0.6, 0.5 - 0.4, 0.3 - 0.2, 0.1]) == 0.03125


def test_sign_flip_p_of_many_values() -> None:
    assert sign_flip_p(np.ones(40)) == 2.0**-39
    with pytest.raises(ValueError, match="at most 40"):
        sign_flip_p(np.ones(41))

import math

import numpy as np
import pytest

from tlx.measure.resampling import (
    nested_bootstrap_interval,
    nested_interval,
    paired_interval,
    percentile_interval,
    portions,
)
from tlx.measure.stats import Interval, interval, t_interval


def test_pairs_are_resampled_together() -> None:
    x, y = np.linspace(0.5, 0.9, 12), np.linspace(0.4, 0.9, 12) ** 2
    assert paired_interval(x, y) == interval(x - y)
    assert paired_interval(x, y).kind == "bca"
    # arms that move alike differ by a constant, however much they move
    assert paired_interval(x, x - 0.25) == Interval(
        pytest.approx(0.25), pytest.approx(0.25), pytest.approx(0.25), 12, "bca"
    )


@pytest.mark.parametrize(("n", "kind"), [(0, "none"), (2, "none"), (3, "t"), (9, "t"), (10, "bca")])
def test_the_number_of_pairs_decides_the_kind(n: int, kind: str) -> None:
    assert paired_interval(np.arange(n) / 10, np.zeros(n)).kind == kind


def test_pairs_of_unequal_number_are_refused() -> None:
    with pytest.raises(ValueError, match="y: expected 3 values, one for each of x, got 2"):
        paired_interval([1, 2, 3], [1, 2])


def test_few_sources_have_students_interval_of_their_means() -> None:
    gains = [[0.1, 0.3], [0.4], [0.5, 0.6, 0.7]]
    assert nested_interval(gains) == t_interval([0.2, 0.4, 0.6])


@pytest.mark.parametrize("sources", [0, 1, 2])
def test_seeds_do_not_stand_in_for_sources(sources: int) -> None:
    found = nested_interval([[0.1, 0.2, 0.3, 0.4]] * sources)
    assert (found.n, found.kind) == (sources, "none")


def test_nested_bootstrap_has_the_variance_that_algebra_gives() -> None:
    # Var* = (k - 1) / k · s_b² / k + mean over sources of (m - 1) / m · s_w² / (k m), from the resampling itself
    gains = np.random.default_rng(3).normal(size=(6, 4)) + np.arange(6)[:, None]
    means = gains.mean(1)
    between = means.var() / 6
    within = (gains.var(axis=1) / 4).mean() / 6
    found = nested_bootstrap_interval(list(gains), np.random.default_rng(0), level=0.6826895, resamples=40_000)
    assert found.mean == pytest.approx(gains.mean())
    assert (found.high - found.low) / 2 == pytest.approx(math.sqrt(between + within), rel=0.03)
    assert (found.n, found.kind) == (6, "percentile")


def test_nested_bootstrap_of_unequal_sources_weighs_sources_alike() -> None:
    found = nested_bootstrap_interval([[0.0], [1.0] * 50], np.random.default_rng(0), resamples=4000)
    assert found == Interval(0.5, 0.0, 1.0, 2, "percentile")


def test_nested_bootstrap_depends_on_nothing_but_the_generator() -> None:
    gains = np.random.default_rng(1).normal(size=(10, 3))
    first = nested_bootstrap_interval(list(gains), np.random.default_rng(5), resamples=200)
    np.random.seed(1)
    assert nested_bootstrap_interval(list(gains), np.random.default_rng(5), resamples=200) == first
    assert nested_bootstrap_interval(list(gains), np.random.default_rng(6), resamples=200) != first
    assert nested_interval(list(gains)) == nested_interval(list(gains))
    assert nested_interval(list(gains)).kind == "percentile"


def test_what_is_no_set_of_sources_is_refused() -> None:
    with pytest.raises(ValueError, match="gains: expected at least 2 sources, got 1"):
        nested_bootstrap_interval([[1.0, 2.0]], np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"gains\[1\]: expected at least 1 finite values"):
        nested_interval([[1.0], []])


def test_undefined_replicates_are_left_out_unless_they_are_most() -> None:
    nan = math.nan
    assert percentile_interval(0.5, np.array([0.0, 1.0, nan]), 3, level=0.5) == Interval(
        0.5, 0.25, 0.75, 3, "percentile"
    )
    assert percentile_interval(0.5, np.array([0.0, nan, nan]), 3).kind == "none"
    assert percentile_interval(nan, np.array([0.0, 1.0]), 3).kind == "none"


def test_portions_add_up() -> None:
    assert portions(10, 1) == [10]
    assert portions(3, 1 << 30) == [1, 1, 1]
    assert portions(0, 5) == []

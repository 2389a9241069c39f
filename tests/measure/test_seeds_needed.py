import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tlx.measure.seeds_needed import seeds_for_power, seeds_for_width


@given(st.floats(0.001, 10), st.floats(0.01, 1), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=40, deadline=None)
def test_it_is_the_least_number_that_is_narrow_enough(deviation: float, half: float, level: float) -> None:
    n = seeds_for_width(deviation, half, level)

    def width(n: int) -> float:
        return float(stats.t.ppf((1 + level) / 2, n - 1)) * deviation / math.sqrt(n)

    assert width(n) <= half * (1 + 1e-9)
    assert n == 2 or width(n - 1) > half * (1 - 1e-9)


def test_widths_by_hand() -> None:
    # s = 0.05, h = 0.01: 99 seeds have t = 1.9845 and 0.0499; 98 leave 0.010026 (to find: t 1.9847 · 0.05 / 9.8995)
    assert seeds_for_width(0.05, 0.01) == 99
    assert seeds_for_width(0.0, 0.01) == 2
    assert seeds_for_width(1.0, 100.0) == 2


@pytest.mark.parametrize(("size", "n"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_published_numbers_for_power_080(size: float, n: int) -> None:
    assert seeds_for_power(1.0, size) == n
    assert seeds_for_power(0.02, 0.02 * size) == n


def test_power_is_what_a_simulation_finds() -> None:
    n = seeds_for_power(1.0, 1.0, power=0.9)
    assert n == 13
    samples = np.random.default_rng(0).normal(1.0, 1.0, (4000, n))
    assert np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05) == pytest.approx(0.9, abs=0.025)


def test_no_scatter_takes_two() -> None:
    assert seeds_for_power(0.0, 0.1) == 2
    assert seeds_for_power(0.001, 1.0) == 2 or seeds_for_power(0.001, 1.0) == 3


@pytest.mark.parametrize("seeds", [seeds_for_width, seeds_for_power])
def test_impossible_wishes_are_refused(seeds: object) -> None:
    assert callable(seeds)
    for deviation in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="deviation: expected a finite number from 0"):
            seeds(deviation, 1.0)
    for wanted in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="(half_width|effect): expected a finite number above 0"):
            seeds(1.0, wanted)

import math

import numpy as np
import pytest
from scipy import stats

from tlx.measure.paired_tests import t_test_p, wilcoxon_p
from tlx.measure.stats import t_interval


def test_t_agrees_with_scipy_and_with_the_interval() -> None:
    x = np.array([0.2, 0.1, 0.4, -0.05, 0.3])
    assert t_test_p(x) == pytest.approx(stats.ttest_1samp(x, 0).pvalue)
    edge = x - t_interval(x).low  # the interval then begins at 0
    assert t_test_p(edge) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("x", "p"), [([0.1] * 3, 0.25), ([-0.1] * 5, 0.0625), ([0.0] * 4, 1.0), ([0.8 - 0.7, 0.9 - 0.8], 0.5)]
)
def test_equal_differences_have_the_p_of_their_signs(x: list[float], p: float) -> None:
    assert t_test_p(x) == p


def test_wilcoxon_agrees_with_scipys_exact_test() -> None:
    x = np.random.default_rng(0).normal(0.4, 1, 20)
    assert wilcoxon_p(x) == pytest.approx(stats.wilcoxon(x, method="exact").pvalue)


def test_wilcoxon_of_ties_is_that_of_all_sign_patterns() -> None:
    x = [1.0, 1.0, 1.0, 2.0, -1.0, 3.0, 2.0]
    every = stats.PermutationMethod(n_resamples=2**7, rng=np.random.default_rng(0))
    assert wilcoxon_p(x) == pytest.approx(stats.wilcoxon(x, method=every).pvalue)
    # equal on paper, if not in the last bits
    assert wilcoxon_p([0.8 - 0.7, 0.9 - 0.8, 0.1, -0.1]) == wilcoxon_p([1.0, 1.0, 1.0, -1.0])


def test_wilcoxon_ranks_zeros_and_gives_them_to_neither_side() -> None:
    # ranks 1.5 1.5 (zeros) 3 4 5 6: all on one side, 2 of the 2^4 patterns are as far out
    assert wilcoxon_p([0.0, 0.0, 1.0, 2.0, 3.0, 4.0]) == 0.125
    assert wilcoxon_p([0.0] * 3) == 1.0


def test_many_differences_have_the_normal_approximation() -> None:
    x = np.random.default_rng(0).normal(0.3, 1, 60)
    assert wilcoxon_p(x) == pytest.approx(stats.wilcoxon(x, method="exact").pvalue, abs=0.005)


def test_smallest_p_of_six_data_sets() -> None:
    assert wilcoxon_p([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == 0.03125


def test_what_is_no_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="x: expected at least 2 finite"):
        t_test_p([1.0])
    for bad in ([], [math.nan]):
        with pytest.raises(ValueError, match="x: expected at least 1 finite"):
            wilcoxon_p(bad)

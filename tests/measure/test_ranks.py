import numpy as np
import pytest
from scipy import stats

from tlx.measure.ranks import critical_difference, friedman, rank_differences

# Ranks of C4.5, with m, with cf, and with both, on the 14 data sets of Demsar 2006, section 3.2.3.
RANKS = np.array([
    [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5], [3, 2, 4, 1],
    [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5], [4, 2.5, 1, 2.5], [3, 2, 4, 1], [4, 1, 2, 3], [3, 1, 4, 2],
])  # fmt: skip
DEMSAR = 1 - RANKS / 10


def test_demsars_example() -> None:
    found = friedman(DEMSAR)
    np.testing.assert_allclose(found.mean_ranks, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    # 9.28 in the paper, which does not correct for ties
    raw = 12 * 14 / (4 * 5) * (np.square(found.mean_ranks).sum() - 4 * 25 / 4)
    assert raw == pytest.approx(9.28, abs=0.01)
    assert found.statistic == pytest.approx(stats.friedmanchisquare(*np.transpose(DEMSAR)).statistic)
    assert found.p == pytest.approx(stats.chi2.sf(found.statistic, 3))
    assert found.tasks == 14


@pytest.mark.parametrize(("ways", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_values_of_demsars_table(ways: int, q: float) -> None:
    assert critical_difference(ways, 14) == pytest.approx(q * np.sqrt(ways * (ways + 1) / 84), rel=5e-4)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_differences_by_hand() -> None:
    pairs = rank_differences(friedman(DEMSAR))
    assert len(pairs) == 6
    worst = pairs[0]
    # z = (3.143 - 1.964) / sqrt(20 / 84) = 2.415, p = 0.0157, times 6
    assert (worst.first, worst.second) == (3, 0)
    assert worst.difference == pytest.approx(1.1786, abs=1e-4)
    assert worst.p_holm == pytest.approx(6 * 0.01573, abs=2e-4)
    # less than the critical difference of 1.25, and so above 0.05
    assert 0.05 < worst.p_nemenyi < 0.1
    assert [pair.difference for pair in pairs] == sorted((pair.difference for pair in pairs), reverse=True)


def test_a_difference_of_the_critical_size_has_p_005() -> None:
    scores = np.tile([0.9, 0.8, 0.7, 0.6], (14, 1))
    found = friedman(scores)
    for pair in rank_differences(found):
        assert (pair.p_nemenyi <= 0.05) == (pair.difference >= critical_difference(4, 14))


def test_ranks_are_the_same_for_any_scale() -> None:
    assert friedman(np.exp(5 * DEMSAR)) == friedman(DEMSAR)


def test_all_tied() -> None:
    found = friedman([[0.5] * 3, [0.7] * 3])
    assert (found.statistic, found.p, found.mean_ranks) == (0.0, 1.0, (2.0, 2.0, 2.0))
    assert {pair.p_holm for pair in rank_differences(found)} == {1.0}
    assert {pair.p_nemenyi for pair in rank_differences(found)} == {1.0}
    assert friedman([[0.8 - 0.7, 0.9 - 0.8, 0.1]] * 2).p == 1.0


@pytest.mark.parametrize("bad", [[[1.0, 2.0, 3.0]], [[1.0, 2.0]] * 3, [1.0, 2.0], [[1.0, 2.0, float("nan")]] * 2])
def test_what_is_no_table_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="scores_NK: expected finite scores of 3 ways or more on 2 data sets or more"):
        friedman(bad)

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.measure.wins import affinities, pairwise_wins, win_rate

LOSSES = np.random.default_rng(0).exponential(size=(4, 50))


def test_ties_are_half_a_win() -> None:
    assert win_rate([1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0]) == pytest.approx(1.5 / 4)
    assert win_rate([1.0, 1.0], [1.0, 1.0]) == 0.5
    assert win_rate([math.inf, 0.0], [math.inf, math.inf]) == 0.75


def test_one_rate_for_each_row() -> None:
    np.testing.assert_array_equal(win_rate([[0.0, 1.0], [1.0, 1.0]], [[1.0, 2.0], [0.0, 0.0]]), [1.0, 0.0])


def test_what_is_missing_stays_missing() -> None:
    assert np.isnan(win_rate([], []))
    assert np.isnan(win_rate([math.nan, 1.0], [1.0, 2.0]))
    with pytest.raises(ValueError, match="expected the losses of the same examples"):
        win_rate([1.0], [1.0, 2.0])


def test_opposite_entries_sum_to_one() -> None:
    wins = pairwise_wins(np.round(LOSSES, 1))
    np.testing.assert_allclose(wins + wins.T, 1.0)
    np.testing.assert_array_equal(np.diag(wins), 0.5)
    assert wins[0, 1] == win_rate(np.round(LOSSES[0], 1), np.round(LOSSES[1], 1))
    with pytest.raises(ValueError, match="losses by source and example"):
        pairwise_wins([1.0, 2.0])


@settings(max_examples=30, deadline=None)
@given(power=st.floats(0.5, 3), shift=st.floats(-5, 5))
def test_only_the_order_of_losses_counts(power: float, shift: float) -> None:
    changed = pairwise_wins(LOSSES**power + shift)
    np.testing.assert_allclose(changed, pairwise_wins(LOSSES), atol=0.02)
    np.testing.assert_array_equal(pairwise_wins(4 * LOSSES), pairwise_wins(LOSSES))


def test_affinities_of_consistent_wins_are_their_ratios() -> None:
    """With wins i over j of w_i / (w_i + w_j), the ratio matrix has rank one and the vector w."""
    weight = np.array([0.5, 0.3, 0.15, 0.05])
    wins = weight[:, None] / (weight[:, None] + weight)
    np.testing.assert_allclose(affinities(wins), weight, atol=1e-12)


def test_affinities_follow_the_sources_around() -> None:
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(affinities(pairwise_wins(LOSSES[order])), affinities(pairwise_wins(LOSSES))[order])


def test_a_source_that_always_wins_stays_finite() -> None:
    best, worst = affinities([[0.5, 1.0], [0.0, 0.5]])
    assert best + worst == pytest.approx(1) and best / worst == pytest.approx(999)
    assert affinities([[0.5]]).tolist() == [1.0]


@pytest.mark.parametrize("bad", [[], [0.5], [[0.5, 0.5]], [[1.5]], [[math.nan]]])
def test_what_is_no_matrix_of_shares_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="win_KK: expected a square matrix of shares between 0 and 1"):
        affinities(bad)

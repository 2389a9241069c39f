import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.measure.normalised import normalised_gain

scores = st.lists(st.floats(0, 1), min_size=4, max_size=4)


def test_it_is_a_ratio_of_means_not_a_mean_of_ratios() -> None:
    # (0.1 + 0.2) / (0.2 + 0.3); the mean of the ratios would be 0.583
    found = normalised_gain([0.1, 0.2], [0.0, 0.0], [0.2, 0.3])
    assert found.mean == pytest.approx(0.6) and found.kind == "none" and found.n == 2
    assert math.isnan(found.low) and math.isnan(found.high)


def test_the_shares_of_synthetic_pretraining() -> None:
    """With every seed alike the share is exact: 67 % of the natural source's benefit."""
    found = normalised_gain([0.467] * 5, [0.4] * 5, [0.5] * 5)
    assert (found.mean, found.low, found.high) == (pytest.approx(0.67),) * 3


def test_the_highest_score_there_is_as_reference() -> None:
    found = normalised_gain([0.7, 0.8, 0.75], [0.5, 0.5, 0.5])
    assert found.mean == pytest.approx(0.5)
    # The denominator is known, so Fieller's is Student's: s = 0.05 / 0.5, t(0.975, 2) = 4.3027
    assert found.high - found.mean == pytest.approx(4.3027 * 0.1 / math.sqrt(3), abs=1e-5)
    assert found.mean - found.low == pytest.approx(found.high - found.mean) and found.kind == "t"


def test_fieller_by_hand() -> None:
    """Ends are where Student's t of the mean of gain - r * benefit is the table's 2.7764."""
    gain = np.array([0.05, 0.12, 0.09, 0.11, 0.08])
    benefit = np.array([0.2, 0.25, 0.15, 0.22, 0.18])
    found = normalised_gain(gain, np.zeros(5), benefit)
    for end in (found.low, found.high):
        rest = gain - end * benefit
        assert abs(rest.mean()) / (rest.std(ddof=1) / math.sqrt(5)) == pytest.approx(2.7764, abs=1e-4)
    assert found.low < found.mean < found.high


def test_ten_seeds_are_resampled_jointly() -> None:
    rng = np.random.default_rng(0)
    benefit = rng.normal(0.3, 0.05, 12)
    # A gain that is nearly in proportion: whatever is drawn, the ratio hardly moves.
    found = normalised_gain(0.5 * benefit + rng.normal(0, 0.001, 12), np.zeros(12), benefit)
    assert found.kind == "bca" and found.mean == pytest.approx(0.5, abs=0.005)
    assert 0 < found.high - found.low < 0.01
    again = normalised_gain(0.5 * benefit, np.zeros(12), benefit)
    assert (again.low, again.high) == (again.mean, again.mean)


def test_blank_where_the_reference_is_no_better_than_scratch() -> None:
    scratch = np.array([0.5, 0.6, 0.4, 0.5])
    blank = normalised_gain(scratch + 0.1, scratch, scratch + np.array([0.1, -0.1, 0.1, -0.1]))
    assert math.isnan(blank.mean) and math.isnan(blank.low) and (blank.n, blank.kind) == (4, "none")
    assert math.isnan(normalised_gain(scratch + 0.1, scratch, scratch).mean)
    assert math.isnan(normalised_gain([0.5], [0.4], [0.4]).mean)
    assert math.isnan(normalised_gain([], [], []).mean)


def test_just_clear_of_scratch_has_a_share_but_no_ends() -> None:
    """Between 2 and t = 3.18 standard errors the denominator's sign is in doubt at 95 %."""
    benefit = np.array([0.0, 0.1, 0.2, 0.2])  # mean 0.125, standard error 0.0479
    found = normalised_gain(benefit + np.array([0.01, -0.01, 0.0, 0.02]), np.zeros(4), benefit)
    assert found.mean == pytest.approx(1.04) and math.isnan(found.low) and found.kind == "none"


def test_a_reference_worse_than_scratch_still_normalises() -> None:
    found = normalised_gain([0.4, 0.41, 0.39], [0.5, 0.5, 0.5], [0.3, 0.31, 0.29])
    assert found.mean == pytest.approx(0.5) and found.low < 0.5 < found.high


@settings(max_examples=40, deadline=None)
@given(ours=scores, shift=st.floats(-1, 1), factor=st.floats(0.5, 2))
def test_the_unit_of_the_scores_does_not_matter(ours: list[float], shift: float, factor: float) -> None:
    scratch, best = np.array([0.2, 0.25, 0.22, 0.18]), np.array([0.8, 0.85, 0.9, 0.82])
    first = normalised_gain(ours, scratch, best)
    again = normalised_gain(*(shift + factor * np.asarray(part) for part in (ours, scratch, best)))
    np.testing.assert_allclose(
        [again.mean, again.low, again.high], [first.mean, first.low, first.high], rtol=1e-6, atol=1e-9
    )


def test_the_order_of_seeds_does_not_matter() -> None:
    ours, scratch, best = np.random.default_rng(1).normal([[0.6], [0.4], [0.8]], 0.05, (3, 6))
    turned = normalised_gain(ours[::-1], scratch[::-1], best[::-1])
    assert turned.low == pytest.approx(normalised_gain(ours, scratch, best).low)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        (([0.5], [0.5, 0.6], 1.0), "expected one for each seed and arm"),
        (([0.5, 0.6], [0.5, 0.6], [1.0]), "expected one for each seed and arm"),
        (([[0.5]], [[0.5]], 1.0), "expected one for each seed and arm"),
        (([math.nan, 0.5], [0.5, 0.6], 1.0), "expected finite numbers"),
    ],
)
def test_what_does_not_pair_is_refused(arms: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalised_gain(*arms)


@pytest.mark.thorough
@pytest.mark.parametrize(("seeds", "runs"), [(5, 1500), (20, 250)])
def test_the_interval_covers_as_often_as_it_says(seeds: int, runs: int) -> None:
    rng = np.random.default_rng(seeds)
    covered = []
    for _ in range(runs):
        ours, scratch, best = rng.normal([[0.6], [0.4], [0.8]], 0.05, (3, seeds))
        found = normalised_gain(ours, scratch, best, rng=rng)
        covered.append(found.low <= 0.5 <= found.high)
    assert 0.92 <= np.mean(covered) <= 0.98

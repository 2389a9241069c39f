import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from tlx.measure.bound import Bound, BoundInterval
from tlx.measure.labels import (
    data_transferred,
    equivalent_interval,
    equivalent_labels,
    label_multiplier,
    ossified,
    scratch_curve,
)

GRID = [2, 5, 10, 20, 40, 80, 160]
# Measured once on twelve kinds of strokes, labels of each class; scratch and fine-tuned.
SCRATCH = [0.461, 0.640, 0.743, 0.813, 0.869, 0.907, 0.919]
TUNED = [0.523, 0.699, 0.777, 0.838, 0.898]

rising = st.lists(st.integers(1, 99), min_size=2, max_size=6, unique=True).map(lambda x: [k / 100 for k in sorted(x)])


def test_the_curve_is_the_nearest_that_never_falls() -> None:
    score_B, weight_B = [0.3, 0.2, 0.6, 0.5, 0.55, 0.9], [1, 2, 1, 3, 1, 1]
    oracle = IsotonicRegression().fit_transform(np.arange(6), score_B, sample_weight=weight_B)
    np.testing.assert_allclose(scratch_curve(score_B, weight_B), oracle, atol=1e-12)
    assert scratch_curve([0.4]).tolist() == [0.4]
    assert scratch_curve([0.5, 0.5]).tolist() == [0.5, 0.5]


def test_the_multipliers_of_a_measured_study() -> None:
    """As read off by hand: 1.4 1.5 1.4 1.4 1.7."""
    found = [
        label_multiplier(equivalent_labels(GRID, SCRATCH, score), n) for n, score in zip(GRID, TUNED, strict=False)
    ]
    assert [bound.side for bound in found] == ["="] * 5
    assert [round(bound.value, 1) for bound in found] == [1.4, 1.5, 1.4, 1.4, 1.7]
    # log-linear between 2 and 5 labels: 2 * 2.5^(0.062 / 0.179)
    assert found[0].value == pytest.approx(2.5 ** (0.062 / 0.179))


def test_a_logarithmic_curve_is_inverted_exactly() -> None:
    """a_S(n) = 0.1 + 0.2 log10 n, so a score of 0.1 + 0.2 x is worth 10^x labels."""
    grid = np.array([1, 10, 100, 1000])
    for x in (0.0, 0.3, 1.0, 1.7, 2.999, 3.0):
        assert equivalent_labels(grid, 0.1 + 0.2 * np.log10(grid), 0.1 + 0.2 * x).value == pytest.approx(10**x)


def test_nothing_is_known_beyond_the_grid() -> None:
    assert equivalent_labels(GRID, SCRATCH, 0.92) == Bound(160.0, ">")
    assert equivalent_labels(GRID, SCRATCH, 0.919) == Bound(160.0)
    assert equivalent_labels(GRID, SCRATCH, 0.461) == Bound(2.0)
    assert equivalent_labels(GRID, SCRATCH, 0.46) == Bound(2.0, "<")
    assert equivalent_labels([100], [0.5], 0.6) == Bound(100.0, ">")
    assert equivalent_labels([100], [0.5], 0.5) == Bound(100.0)


def test_on_a_level_stretch_the_fewest_labels_count() -> None:
    assert equivalent_labels([10, 100, 1000], [0.2, 0.6, 0.6], 0.6) == Bound(100.0)
    # 0.6 and 0.4 are pooled to 0.5.
    assert equivalent_labels([10, 100, 1000], [0.2, 0.6, 0.4], 0.5) == Bound(100.0)
    assert equivalent_labels([10, 100, 1000], [0.2, 0.6, 0.4], 0.55) == Bound(1000.0, ">")
    assert equivalent_labels([10, 100], [0.5, 0.5], 0.5) == Bound(10.0)


@settings(max_examples=50, deadline=None)
@given(scores=rising, scale=st.floats(0.1, 10))
def test_scratch_is_worth_its_own_labels_in_any_unit(scores: list[float], scale: float) -> None:
    grid = scale * np.arange(1, len(scores) + 1) ** 2
    for labels, score in zip(grid, scores, strict=True):
        assert equivalent_labels(grid, scores, score).value == pytest.approx(labels, rel=1e-6)
        assert label_multiplier(equivalent_labels(grid, scores, score), labels).value == pytest.approx(1, rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(scores=rising, low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_better_score_is_never_worth_fewer_labels(scores: list[float], low: float, high: float) -> None:
    grid = 3.0 ** np.arange(len(scores))
    less, more = (equivalent_labels(grid, scores, score) for score in sorted((low, high)))
    assert less.value <= more.value
    assert less.least <= more.least and less.most <= more.most


@settings(max_examples=50, deadline=None)
@given(scores=rising, score=st.integers(0, 200).map(lambda k: k / 200), factor=st.floats(0.5, 2))
def test_a_linear_change_of_all_scores_changes_nothing(scores: list[float], score: float, factor: float) -> None:
    grid = 3.0 ** np.arange(len(scores))
    first = equivalent_labels(grid, scores, score)
    again = equivalent_labels(grid, factor * np.array(scores) - 1, factor * score - 1)
    assert again.side == first.side and again.value == pytest.approx(first.value, rel=1e-6)


@pytest.mark.parametrize(
    ("grid", "scores", "score", "message"),
    [
        ([], [], 0.5, "label_B: expected positive and rising"),
        ([0, 10], [0.1, 0.2], 0.5, "label_B: expected positive and rising"),
        ([10, 10], [0.1, 0.2], 0.5, "label_B: expected positive and rising"),
        ([10, 20], [0.1, math.nan], 0.5, "score_B: expected finite scores"),
        ([10, 20], [0.1], 0.5, "score: expected a finite score, and one of scratch for each budget"),
        ([10, 20], [0.1, 0.2], math.nan, "score: expected a finite score"),
    ],
)
def test_what_is_no_curve_is_refused(grid: list[float], scores: list[float], score: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        equivalent_labels(grid, scores, score)


def test_data_transferred_and_multiplier_keep_the_censoring() -> None:
    assert data_transferred(Bound(160.0, ">"), 40) == Bound(120.0, ">")
    assert data_transferred(Bound(2.0, "<"), 40) == Bound(-38.0, "<")
    assert label_multiplier(Bound(160.0, ">"), 40) == Bound(4.0, ">")
    for labels in (0, -1):
        with pytest.raises(ValueError, match="factor: expected a positive number"):
            label_multiplier(Bound(1.0), labels)


def test_an_interval_shows_what_seeds_disagree_on() -> None:
    scratch = np.array([[0.2, 0.4, 0.6], [0.25, 0.45, 0.65], [0.15, 0.35, 0.55], [0.2, 0.4, 0.6], [0.2, 0.4, 0.6]])
    found = equivalent_interval([10, 100, 1000], scratch, [0.5, 0.5, 0.5, 0.45, 0.55])
    assert found.n == 5 and found.estimate.value == pytest.approx(10**2.5)
    assert 100 < found.low.value < 10**2.5 < found.high.value < 1000
    best = equivalent_interval([10, 100, 1000], scratch, [0.9, 0.9, 0.9, 0.9, 0.9])
    assert best.text == "> 1,000"
    near_the_end = equivalent_interval([10, 100, 1000], scratch, [0.5, 0.7, 0.5, 0.5, 0.7])
    assert near_the_end.high == Bound(1000.0, ">") and near_the_end.low.side == "="


def test_an_arm_beside_itself_is_worth_its_labels_in_every_resample() -> None:
    scratch = np.random.default_rng(0).integers(0, 100, (5, 3)) / 100 + [0.0, 1.0, 2.0]
    for budget, labels in enumerate((10, 100, 1000)):
        found = equivalent_interval([10, 100, 1000], scratch, scratch[:, budget])
        assert found.low == found.high == found.estimate == Bound(float(labels))


def test_incomplete_seeds_are_left_out() -> None:
    scratch = np.array([[0.2, 0.4], [0.2, math.nan], [0.2, 0.4]])
    found = equivalent_interval([10, 100], scratch, [0.3, 0.3, math.nan])
    assert (found.n, found.low, found.high) == (1, None, None)
    assert found.estimate.value == pytest.approx(10**1.5)
    with pytest.raises(ValueError, match="at least one seed of which no score is missing"):
        equivalent_interval([10, 100], scratch, [math.nan] * 3)
    with pytest.raises(ValueError, match="one score for each seed and budget, got the shape"):
        equivalent_interval([10, 100], scratch, [0.3, 0.3])


def test_ossification_needs_the_whole_interval() -> None:
    five = 5
    assert ossified(1000, BoundInterval(Bound(400.0), Bound(300.0), Bound(900.0), five))
    assert not ossified(1000, BoundInterval(Bound(400.0), Bound(300.0), Bound(1000.0), five))
    assert not ossified(1000, BoundInterval(Bound(400.0), Bound(300.0), Bound(1000.0, ">"), five))
    assert ossified(10, BoundInterval(Bound(10.0, "<"), Bound(10.0, "<"), Bound(10.0, "<"), five))
    assert ossified(1000, BoundInterval(Bound(400.0), None, None, 1))
    assert not ossified(1000, BoundInterval(Bound(1400.0), None, None, 1))


@pytest.mark.thorough
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_covers_as_often_as_it_says(seeds: int) -> None:
    """Scratch is logarithmic in labels; the other arm, with 30 labels, is as good as scratch with 100."""
    rng, grid = np.random.default_rng(seeds), np.array([10, 30, 90, 270])
    truth_B = 0.2 + 0.15 * np.log(grid / 10)
    covered = 0
    for _ in range(2500):
        shared = rng.normal(0, 0.02, (seeds, 1))
        scratch = truth_B + shared + rng.normal(0, 0.02, (seeds, 4))
        scores = 0.2 + 0.15 * math.log(10) + shared[:, 0] + rng.normal(0, 0.02, seeds)
        found = equivalent_interval(grid, scratch, scores)
        covered += found.low.least <= 100 <= found.high.most
    assert 0.93 <= covered / 2500 <= 0.97

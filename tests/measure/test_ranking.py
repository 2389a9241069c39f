import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tlx.measure.ranking import Ranking, rank_scores
from tlx.measure.stats import widened

PREDICTED = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]
MEASURED = [0.6, 0.3, 0.5, 0.4, 0.7, 0.9, 0.5, 0.8]


def rank(predicted: object, measured: object, seed: int = 0, **options: object) -> Ranking:
    return rank_scores(predicted, measured, np.random.default_rng(seed), resamples=300, **options)


def test_correlations_are_scipys() -> None:
    found = rank(PREDICTED, MEASURED)
    assert found.weighted_tau.mean == pytest.approx(stats.weightedtau(PREDICTED, MEASURED).statistic)
    assert found.kendall.mean == pytest.approx(stats.kendalltau(PREDICTED, MEASURED).statistic)
    assert found.pearson.mean == pytest.approx(stats.pearsonr(PREDICTED, MEASURED).statistic)
    assert found.spearman.mean == pytest.approx(stats.spearmanr(PREDICTED, MEASURED).statistic)


def test_intervals_are_those_of_scipy_in_a_loop() -> None:
    predicted, measured = np.array(PREDICTED), np.array(MEASURED)
    rng, loop = np.random.default_rng(0), []
    for drawn in rng.integers(0, 8, (300, 8)):
        x, y = predicted[drawn], measured[drawn]
        loop.append([f(x, y).statistic for f in (stats.weightedtau, stats.kendalltau, stats.pearsonr, stats.spearmanr)])
    loop = np.array(loop)
    low, high = np.quantile(loop, [0.025, 0.975], axis=0)
    # Pearson's is widened for 8 models
    tail = (1 - widened(0.95, 8)) / 2
    low[2], high[2] = np.quantile(loop[:, 2], [tail, 1 - tail])
    found = rank(PREDICTED, MEASURED)
    intervals = (found.weighted_tau, found.kendall, found.pearson, found.spearman)
    np.testing.assert_allclose([one.low for one in intervals], low)
    np.testing.assert_allclose([one.high for one in intervals], high)
    assert {(one.n, one.kind) for one in intervals} == {(8, "percentile")}


def test_tops_by_hand() -> None:
    found = rank([4, 3, 2, 1, 0], [0.6, 0.5, 0.8, 0.2, 0.1], tops=(1, 2, 3, 9))
    assert {k: one.mean for k, one in found.rel_at.items()} == {1: pytest.approx(0.75), 2: pytest.approx(0.75), 3: 1.0}
    assert {k: one.mean for k, one in found.recall_at.items()} == {1: 0.0, 2: 0.0, 3: 1.0}


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_models_predicted_the_same_are_taken_in_every_order(k: int) -> None:
    predicted, measured = [2, 1, 1, 1, 0], [0.3, 0.8, 0.4, 0.6, 0.7]
    orders = [order for order in itertools.permutations(range(5)) if order[0] == 0 and order[4] == 4]
    best = [max(measured[model] for model in order[:k]) for order in orders]
    found = rank(predicted, measured, tops=(k,))
    assert found.rel_at[k].mean == pytest.approx(np.mean(best) / 0.8)
    assert found.recall_at[k].mean == pytest.approx(np.mean(np.array(best) == 0.8))


def test_a_constant_baseline_ranks_by_chance() -> None:
    found = rank([1.0] * 6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert math.isnan(found.kendall.mean) and found.kendall.kind == "none"
    assert math.isnan(found.weighted_tau.mean) and math.isnan(found.pearson.mean) and math.isnan(found.spearman.mean)
    assert found.rel_at[1].mean == pytest.approx(0.35 / 0.6) and found.recall_at[1].mean == pytest.approx(1 / 6)
    # best of 3 of 6: (20 · … ) / 20 = 0.525
    assert found.rel_at[3].mean == pytest.approx(0.525 / 0.6) and found.recall_at[3].mean == pytest.approx(0.5)


def test_rel_needs_a_best_above_zero() -> None:
    found = rank([1, 2, 3, 4, 5], [-0.5, -0.4, -0.3, -0.2, 0.0])
    assert math.isnan(found.rel_at[1].mean) and found.rel_at[1].kind == "none"
    assert found.recall_at[1].mean == 1.0
    assert rank([5, 2, 3, 4, 1], [-0.5, -0.4, -0.3, 0.2, 0.1]).rel_at[1].mean == -2.5


@given(st.permutations(range(8)), st.floats(0.1, 100), st.floats(-10, 10))
@settings(max_examples=20, deadline=None)
def test_scores_do_not_depend_on_order_or_unit_of_the_predictions(order: list[int], scale: float, shift: float) -> None:
    plain = rank(PREDICTED, MEASURED)
    moved = rank(scale * np.array(PREDICTED)[order] + shift, np.array(MEASURED)[order])
    for name in ("weighted_tau", "kendall", "pearson", "spearman"):
        assert getattr(moved, name).mean == pytest.approx(getattr(plain, name).mean)
    assert [one.mean for one in moved.rel_at.values()] == [one.mean for one in plain.rel_at.values()]


def test_predictions_that_differ_by_little_for_their_size() -> None:
    found = rank([1e9 + step for step in range(6)], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert found.pearson.mean == pytest.approx(1) and found.kendall.mean == pytest.approx(1)


def test_perfect_and_reversed() -> None:
    perfect, reversed_ = rank(range(9), range(9)), rank(range(9), range(8, -1, -1))
    for name in ("weighted_tau", "kendall", "pearson", "spearman"):
        assert getattr(perfect, name).mean == pytest.approx(1) and getattr(reversed_, name).mean == pytest.approx(-1)
    assert reversed_.rel_at[1].mean == 0.0


def test_it_depends_on_nothing_but_the_generator() -> None:
    assert rank(PREDICTED, MEASURED, 3) == rank(PREDICTED, MEASURED, 3)
    assert rank(PREDICTED, MEASURED, 3).pearson != rank(PREDICTED, MEASURED, 4).pearson


@pytest.mark.parametrize("models", [0, 1, 2, 4])
def test_few_models_have_no_interval(models: int) -> None:
    found = rank(range(models), range(models))
    assert found.kendall.kind == "none" and found.kendall.n == models
    assert math.isnan(found.kendall.mean) == (models < 2)
    assert list(found.rel_at) == [k for k in (1, 3) if k <= models]


def test_what_does_not_match_is_refused() -> None:
    with pytest.raises(ValueError, match="measured_M: expected 2 values, one for each model, got 1"):
        rank([1, 2], [1])
    with pytest.raises(ValueError, match="predicted_M: expected at least 0 finite values"):
        rank([math.nan], [1])

"""Properties that formulas promise: bounds, special cases and invariances."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from golden_transfer import hard
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group, spearmanr

from tlx.measure.transferability.etran import etran, etran_discriminant, etran_energy
from tlx.measure.transferability.gbc import gbc
from tlx.measure.transferability.h_score import h_score, shrunk_h_score
from tlx.measure.transferability.knn import knn
from tlx.measure.transferability.leep import leep
from tlx.measure.transferability.lfc import lfc
from tlx.measure.transferability.logme import logme
from tlx.measure.transferability.nce import nce
from tlx.measure.transferability.nleep import nleep
from tlx.measure.transferability.parc import parc, spearman
from tlx.measure.transferability.sfda import sfda
from tlx.measure.transferability.transrate import transrate

few = settings(max_examples=4, deadline=None, derandomize=True)
seeds = st.integers(0, 2**16)


@few
@given(seeds)
def test_predictions_that_say_nothing_leave_the_entropy_of_the_labels(seed: int) -> None:
    share_Z = np.random.default_rng(seed).dirichlet(np.ones(5))
    label_N = np.arange(60) % 3
    for uniform in (np.full((60, 5), 0.2), np.tile(share_Z, (60, 1))):
        assert float(leep(uniform, label_N)) == pytest.approx(math.log(1 / 3))
        assert float(nce(uniform, label_N)) == pytest.approx(math.log(1 / 3))


@few
@given(seeds)
def test_predictions_that_say_all_leave_nothing(seed: int) -> None:
    label_N = np.random.default_rng(seed).permutation(np.arange(60) % 3)
    certain = np.eye(5)[np.array([4, 0, 3])[label_N]]
    assert float(leep(certain, label_N)) == pytest.approx(0, abs=1e-12)
    assert float(nce(certain, label_N)) == pytest.approx(0, abs=1e-12)


@few
@given(seeds)
def test_leep_and_nce_do_not_see_the_order_of_source_classes_and_are_bounded(seed: int) -> None:
    draw = np.random.default_rng(seed)
    share_NZ, label_N = draw.dirichlet(np.full(5, 0.3), size=60), np.arange(60) % 3
    order_Z = draw.permutation(5)
    for estimator in (leep, nce):
        value = float(estimator(share_NZ, label_N))
        assert float(estimator(share_NZ[:, order_Z], label_N)) == pytest.approx(value, abs=1e-12)
        assert value <= 0
    # Fewer bits of the source are known, so no more of the labels.
    assert float(nce(share_NZ, label_N)) >= math.log(1 / 3) - 1e-12


def test_source_classes_that_are_never_predicted_change_nothing() -> None:
    share_NZ, label_N = np.random.default_rng(0).dirichlet(np.ones(5), size=60), np.arange(60) % 3
    wider = np.concatenate([share_NZ, np.zeros((60, 2))], axis=1)
    for estimator in (leep, nce):
        assert float(estimator(wider, label_N)) == pytest.approx(float(estimator(share_NZ, label_N)), abs=1e-12)


ROTATING: list[Callable[..., Any]] = [
    *(logme, h_score, shrunk_h_score, sfda, transrate, gbc, lfc, knn, nleep, etran_discriminant)
]


@few
@given(seeds)
@pytest.mark.parametrize("estimator", ROTATING)
def test_a_rotation_of_the_features_changes_nothing(estimator: Callable[..., Any], seed: int) -> None:
    feature_ND, label_N = hard()
    rotation_DD = ortho_group.rvs(8, random_state=np.random.RandomState(seed))
    assert float(estimator(feature_ND @ rotation_DD, label_N)) == pytest.approx(
        float(estimator(feature_ND, label_N)), rel=1e-7, abs=1e-9
    )


@pytest.mark.parametrize("estimator", [h_score, shrunk_h_score, parc, etran_discriminant])
def test_a_scale_and_a_shift_change_nothing(estimator: Callable[..., Any]) -> None:
    feature_ND, label_N = hard()
    assert float(estimator(3 * feature_ND + 7, label_N)) == pytest.approx(
        float(estimator(feature_ND, label_N)), rel=1e-7
    )


@few
@given(seeds)
@pytest.mark.parametrize(("features", "classes"), [(1, 3), (25, 3)])
def test_h_scores_stay_below_the_number_of_classes(features: int, classes: int, seed: int) -> None:
    feature_ND, label_N = hard(20, features, classes, seed)
    value = float(h_score(feature_ND, label_N))
    assert 0 <= value <= min(classes - 1, features) + 1e-9
    if features >= 19:
        assert value == pytest.approx(classes - 1), "any labels can be told apart then"
        assert 0 <= float(shrunk_h_score(feature_ND, label_N)) < classes - 1


def test_h_score_is_the_trace_it_says() -> None:
    feature_ND, label_N = hard()
    mean_ND = np.stack([feature_ND[label_N == c].mean(axis=0) for c in label_N])
    trace = np.trace(np.linalg.pinv(np.cov(feature_ND.T)) @ np.cov(mean_ND.T))
    assert float(h_score(feature_ND, label_N)) == pytest.approx(trace, rel=1e-9)
    doubled = np.concatenate([feature_ND, feature_ND[:, :2]], axis=1)
    assert float(h_score(doubled, label_N)) == pytest.approx(trace, rel=1e-9), "what is there already adds nothing"


@pytest.mark.parametrize("spherical", [True, False])
def test_gbc_of_identical_and_of_distant_classes(spherical: bool) -> None:
    one_ND = np.random.default_rng(0).normal(size=(20, 8))
    label_N = np.repeat(np.arange(3), 20)
    same = np.tile(one_ND, (3, 1))
    assert float(gbc(same, label_N, spherical=spherical)) == pytest.approx(-6)
    apart = same + 100 * label_N[:, None]
    assert float(gbc(apart, label_N, spherical=spherical)) == pytest.approx(0, abs=1e-12)


@pytest.mark.thorough
def test_gbc_keeps_the_first_64_components() -> None:
    feature_ND, label_N = hard(examples=200, features=70)
    centred = feature_ND - feature_ND.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    assert float(gbc(feature_ND, label_N)) == pytest.approx(float(gbc((u * s)[:, :64], label_N)), rel=1e-9)


@few
@given(seeds)
def test_transrate_is_the_information_between_gaussians_and_grows_with_distance(seed: int) -> None:
    feature_ND, label_N = hard(seed=seed)
    values = [float(transrate(feature_ND + far * np.eye(8)[label_N], label_N)) for far in (0.0, 3.0, 30.0)]
    assert values == sorted(values)
    # The same features in every class: nothing is saved.
    assert float(transrate(np.tile(feature_ND[:20], (3, 1)), np.repeat(np.arange(3), 20))) == pytest.approx(0, abs=1e-9)


def test_transrate_is_the_same_by_examples_and_by_features() -> None:
    feature_ND, label_N = hard()
    wide = np.concatenate([feature_ND, np.zeros((60, 60))], axis=1)
    assert float(transrate(wide, label_N)) == pytest.approx(float(transrate(feature_ND, label_N)), rel=1e-9)


def test_lfc_is_the_cosine_of_the_kernels() -> None:
    feature_ND, label_N = hard()
    feature_NN = feature_ND @ feature_ND.T
    label_NN = 2.0 * (label_N[:, None] == label_N) - 1
    one, other = feature_NN - feature_NN.mean(), label_NN - label_NN.mean()
    cosine = (one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other)
    assert float(lfc(feature_ND, label_N)) == pytest.approx(cosine, rel=1e-9)
    assert float(lfc(np.eye(8)[label_N], label_N)) == pytest.approx(1)


@pytest.mark.parametrize("neighbours", [1, 5, 59])
def test_knn_counted_by_hand(neighbours: int) -> None:
    feature_ND, label_N = hard()
    points = []
    for n in range(60):
        away = np.linalg.norm(feature_ND - feature_ND[n], axis=1)
        near = [m for m in np.argsort(away) if m != n][:neighbours]
        votes = np.bincount(label_N[near], minlength=3)
        first = np.flatnonzero(votes == votes.max())
        points.append((label_N[n] in first) / len(first))
    assert float(knn(feature_ND, label_N, neighbours=neighbours)) == pytest.approx(np.mean(points), rel=1e-12)


def test_knn_shares_a_point_where_distances_are_equal_and_needs_neighbours() -> None:
    line, label_N = np.array([[0.0], [1.0], [-1.0]]), np.array([0, 0, 1])
    # The first has a neighbour of either class at one distance; the others' is the first.
    assert float(knn(line, label_N)) == pytest.approx((0.5 + 1 + 0) / 3)
    with pytest.raises(ValueError, match="^features: expected more than 3 examples for 3 neighbours$"):
        knn(line, label_N, neighbours=3)


@few
@given(st.lists(st.integers(0, 4), min_size=12, max_size=12))
def test_spearman_is_scipy_s_with_ties(values: list[int]) -> None:
    other = np.arange(len(values)) % 5
    expected = 0.0 if len({*values}) == 1 else spearmanr(values, other).statistic
    assert float(spearman(values, other)) == pytest.approx(expected, abs=1e-12)


def test_parc_needs_a_pair_and_not_too_many() -> None:
    with pytest.raises(ValueError, match="^labels: expected a class with two examples$"):
        parc(hard(4, 6, 4)[0], np.arange(4))
    with pytest.raises(ValueError, match="^features: expected at most 5000 examples, as every pair counts; take a sub"):
        parc(np.arange(10002.0).reshape(5001, 2), np.arange(5001) % 2)


@pytest.mark.thorough
def test_parc_keeps_32_components() -> None:
    feature_ND, label_N = hard(examples=50, features=40)
    assert float(parc(feature_ND, label_N)) != pytest.approx(float(parc(feature_ND, label_N, dims=None)), abs=1e-3)
    assert float(parc(feature_ND, label_N, dims=40)) == float(parc(feature_ND, label_N, dims=None))


def test_sfda_and_the_discriminant_of_classes_without_scatter_are_sure() -> None:
    label_N = np.arange(60) % 3
    assert float(sfda(10 * np.eye(8)[label_N], label_N)) == pytest.approx(1)
    assert float(etran_discriminant(10 * np.eye(8)[label_N], label_N)) == pytest.approx(1)


def test_the_discriminant_is_scikit_learn_s() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    feature_ND, label_N = hard()
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(feature_ND, label_N).predict_proba(feature_ND)
    assert float(etran_discriminant(feature_ND, label_N)) == pytest.approx(
        theirs[np.arange(60), label_N].mean(), abs=1e-4
    )


def test_energy_of_the_most_energetic() -> None:
    feature_ND = np.log(np.arange(1.0, 9.0)).reshape(4, 2)
    sums = np.log([3.0, 7.0, 11.0, 15.0])
    assert float(etran_energy(feature_ND)) == pytest.approx(sums.mean())
    assert float(etran_energy(feature_ND, share=0.5)) == pytest.approx(sums[2:].mean())
    with pytest.raises(ValueError, match="^share: expected a number above 0 to 1, got 0$"):
        etran_energy(feature_ND, share=0)


def test_etran_weighs_both_parts_within_a_pool() -> None:
    np.testing.assert_allclose(etran([1.0, 3.0, 2.0], [5.0, 4.0, 6.0]), [0.075, 0.85, 0.575])
    np.testing.assert_allclose(etran([1.0], [2.0]), [0.0])
    for bad in (([1.0], [1.0, 2.0]), ([math.nan], [1.0]), ([], [])):
        with pytest.raises(ValueError, match="^discriminant and energy: expected finite numbers"):
            etran(*bad)

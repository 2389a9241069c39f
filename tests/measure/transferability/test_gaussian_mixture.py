"""The mixture behind NLEEP against scikit-learn's, from the same start."""

import numpy as np
import pytest
from golden_transfer import golden, hard
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from tlx.measure.transferability import mixture
from tlx.measure.transferability.batched import over_sources
from tlx.measure.transferability.leep import leep
from tlx.measure.transferability.nleep import nleep


def fitted(x_ND: np.ndarray, member_NK: np.ndarray) -> tuple[mixture.Mixture, float]:
    found, mean = over_sources(mixture.expectation_maximisation, x_ND, member_NK)
    return found, float(mean)


def test_expectation_maximisation_is_scikit_learn_s() -> None:
    x_ND, label_N = hard(examples=120, features=3, classes=3)
    member_NK = np.eye(3)[label_N]
    found, mean = fitted(x_ND, member_NK)
    means = np.stack([x_ND[label_N == k].mean(axis=0) for k in range(3)])
    covariance = [np.cov(x_ND[label_N == k].T, ddof=0) + 1e-6 * np.eye(3) for k in range(3)]
    theirs = GaussianMixture(
        3, weights_init=np.full(3, 1 / 3), means_init=means, precisions_init=np.linalg.inv(covariance)
    ).fit(x_ND)
    np.testing.assert_allclose(found.weight_K, theirs.weights_, atol=2e-3)
    np.testing.assert_allclose(found.mean_KD, theirs.means_, atol=2e-2)
    assert mean == pytest.approx(theirs.score(x_ND), abs=2e-3)
    assert mean >= theirs.lower_bound_ - 1e-9


def test_each_step_likes_the_examples_more() -> None:
    x_ND, _ = hard(examples=60, features=2, classes=4)
    random_NK = np.random.default_rng(0).dirichlet(np.ones(4), size=60)
    one_step = np.mean(
        np.log(np.exp(over_sources(mixture.log_joint, x_ND[None], fitted_once(x_ND, random_NK))).sum(axis=-1))
    )
    assert fitted(x_ND, random_NK)[1] > one_step


def fitted_once(x_ND: np.ndarray, member_NK: np.ndarray) -> mixture.Mixture:
    """One maximisation, by hand."""
    count_K = member_NK.sum(axis=0)
    mean_KD = member_NK.T @ x_ND / count_K[:, None]
    factors = [
        np.linalg.cholesky(np.cov(x_ND.T, aweights=member_NK[:, k], ddof=0) + 1e-6 * np.eye(2)) for k in range(4)
    ]
    return mixture.Mixture(count_K / 60, mean_KD, np.stack(factors))


def test_the_start_is_the_seed_s_and_finds_what_is_far_apart() -> None:
    label_N = np.arange(60) % 3
    x_ND = 50 * np.eye(3)[label_N] + np.random.default_rng(0).normal(size=(60, 3))
    one, again, other = (over_sources(mixture.posteriors, x_ND, components=3, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    for found in (one, other):
        groups = [{int(k) for k in found[label_N == c].argmax(axis=1)} for c in range(3)]
        assert sorted(map(tuple, groups)) == [(0,), (1,), (2,)]


@pytest.mark.thorough
def test_more_components_than_different_examples_still_sum_to_one() -> None:
    x_ND = np.repeat(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), 4, axis=0)
    found = over_sources(mixture.posteriors, x_ND, components=6, seed=0)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_nleep_is_leep_of_the_mixture_on_four_fifths_of_the_variance() -> None:
    feature_ND, label_N, _ = golden()
    kept = PCA(n_components=0.8).fit_transform(feature_ND)
    found = over_sources(mixture.posteriors, kept, components=15, seed=0)
    assert float(nleep(feature_ND, label_N)) == pytest.approx(float(leep(found, label_N)), abs=1e-6)
    noise_ND = np.random.default_rng(0).normal(size=(60, 8))
    assert float(nleep(noise_ND, label_N)) < -0.3 < float(nleep(feature_ND, label_N))


@pytest.mark.thorough
def test_sources_that_keep_different_numbers_of_components_are_each_as_alone() -> None:
    feature_ND, label_N = hard(examples=60, features=8, classes=3)
    stretched = feature_ND * np.array([30.0, 20.0, 1, 1, 1, 1, 1, 1])
    together = nleep(np.stack([feature_ND, stretched]), label_N)
    alone = [float(nleep(x, label_N)) for x in (feature_ND, stretched)]
    np.testing.assert_allclose(together, alone, rtol=1e-7)

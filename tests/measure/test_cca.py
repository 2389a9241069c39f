"""Canonical correlations: golden value, an independent oracle, invariance, truncation and refusals."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cross_decomposition import CCA

from tlx.measure.representation.cca import canonical, mean_squared_cca, pwcca, pwcca_of, svcca, svcca_of
from tlx.measure.representation.moments import Moments, moments

RNG = np.random.RandomState(1337)
X = RNG.randn(100, 10)
Y = RNG.randn(100, 10) + X


def test_golden_value() -> None:
    assert mean_squared_cca(X, Y, centred=False) == pytest.approx(0.54312, abs=5e-6)


def test_scikit_learn_finds_the_same_correlations() -> None:
    oracle = CCA(n_components=3, scale=False, max_iter=5000, tol=1e-12).fit(X, Y[:, :3])
    a, b = oracle.transform(X, Y[:, :3])
    expected = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(3)]
    np.testing.assert_allclose(canonical(moments(X, Y[:, :3])).correlation_R, expected, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**20), shift=st.floats(-50, 50))
def test_invertible_maps_change_no_correlation(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(10, 10)))[0] * rng.uniform(0.05, 20, 10)
    mapped = X @ turn + shift
    np.testing.assert_allclose(
        canonical(moments(mapped, Y)).correlation_R, canonical(moments(X, Y)).correlation_R, atol=1e-7
    )
    assert mean_squared_cca(X, Y @ turn) == pytest.approx(mean_squared_cca(X, Y), abs=1e-7)
    assert pwcca(X, Y @ turn) == pytest.approx(pwcca(X, Y), abs=1e-7)


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 100), max_size=5))
def test_batches_are_as_the_whole(cuts: list[int]) -> None:
    edges, sums = sorted({0, 100, *cuts}), Moments()
    for start, stop in itertools.pairwise(edges):
        sums.add(X[start:stop], Y[start:stop])
    assert svcca_of(sums) == pytest.approx(svcca(X, Y), abs=1e-6)
    assert pwcca_of(sums) == pytest.approx(pwcca(X, Y), abs=1e-6)


def test_pwcca_by_hand() -> None:
    a, b = X - X.mean(0), Y[:, :4] - Y[:, :4].mean(0)
    qa, qb = np.linalg.qr(a)[0], np.linalg.qr(b)[0]
    u, rho, _ = np.linalg.svd(qa.T @ qb, full_matrices=False)
    weight = np.abs((qa @ u).T @ a).sum(axis=1)
    assert pwcca(X, Y[:, :4]) == pytest.approx(weight @ rho / weight.sum(), rel=1e-9)
    assert pwcca(X, Y[:, :4]) != pytest.approx(pwcca(Y[:, :4], X), abs=1e-3)


def test_svcca_leaves_directions_of_little_variance_out() -> None:
    rng = np.random.default_rng(0)
    noise = 1e-3 * rng.normal(size=(2, 100, 5))
    one, other = np.hstack([X, noise[0]]), np.hstack([2 * X, noise[1]])
    assert canonical(moments(one, other), 0.99).kept == (10, 10)
    assert svcca(one, other) == pytest.approx(1.0, abs=1e-4)
    assert svcca(one, other, keep=1.0) < 0.85


def test_the_first_direction_alone_can_be_kept() -> None:
    assert canonical(moments(X * np.array([100.0, *[1.0] * 9]), Y), 0.9).kept[0] == 1


def test_dead_and_doubled_features_count_once() -> None:
    more = np.hstack([X, X[:, :3], np.full((100, 2), 0.3)])
    found = canonical(moments(more, Y))
    assert found.kept == (10, 10)
    np.testing.assert_allclose(found.correlation_R, canonical(moments(X, Y)).correlation_R, atol=1e-7)


def test_a_representation_is_wholly_like_itself() -> None:
    for measure in (svcca, pwcca, mean_squared_cca):
        assert measure(X, X) == pytest.approx(1.0, abs=1e-12)


def test_constant_features_have_no_correlation() -> None:
    flat = np.full((100, 3), 0.7)
    assert all(math.isnan(measure(flat, Y)) for measure in (svcca, pwcca, mean_squared_cca))
    assert math.isnan(mean_squared_cca(np.zeros((100, 3)), Y, centred=False))


def test_as_many_directions_as_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="x: 10 examples are too few for the 9 directions kept"):
        svcca(X[:10], Y[:10], keep=1.0)
    with pytest.raises(ValueError, match="x: 10 examples are too few for the 10 features"):
        mean_squared_cca(X[:10], Y[:10], centred=False)


@pytest.mark.parametrize("keep", [0.0, -1.0, 1.1])
def test_what_is_kept_is_a_share(keep: float) -> None:
    with pytest.raises(ValueError, match=f"keep: expected a share above 0 and up to 1, got {keep}"):
        svcca(X, Y, keep)

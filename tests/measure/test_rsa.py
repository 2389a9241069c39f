"""Representational similarity against SciPy, ties, and representations without any."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from tlx.measure.representation.rsa import dissimilarity, rsa

RNG = np.random.RandomState(1337)
X = RNG.randn(30, 10)
Y = RNG.randn(30, 10) + X


def test_as_scipy_ranks_what_numpy_correlates() -> None:
    above = np.triu_indices(30, 1)
    expected = spearmanr(1 - np.corrcoef(X)[above], 1 - np.corrcoef(Y)[above]).statistic
    assert rsa(X, Y) == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(dissimilarity(X), 1 - np.corrcoef(X), atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10), seed=st.integers(0, 1000))
def test_an_example_s_scale_and_shift_and_the_order_of_features_change_nothing(
    scale: float, shift: float, seed: int
) -> None:
    changed = scale * X[:, np.random.default_rng(seed).permutation(10)] + shift
    assert rsa(changed, Y) == pytest.approx(rsa(X, Y), abs=1e-6)


def test_all_pairs_equally_dissimilar_have_no_order() -> None:
    assert math.isnan(rsa(np.eye(5), Y[:5]))


def test_an_example_without_variance_has_no_correlation() -> None:
    flat = np.vstack([X[:4], np.full((1, 10), 0.3)])
    assert math.isnan(rsa(flat, Y[:5]))
    assert np.isnan(dissimilarity(flat)[4]).all() and np.isfinite(dissimilarity(flat)[:4, :4]).all()


@pytest.mark.parametrize("size", [0, 1, 2])
def test_few_examples_have_no_order(size: int) -> None:
    assert math.isnan(rsa(X[:size], Y[:size]))


def test_other_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="y: expected as many examples as x, 30, got 29"):
        rsa(X, Y[:29])
    with pytest.raises(ValueError, match=r"x: expected finite features \[examples, features\], got an array \[30\]"):
        rsa(X[:, 0], Y)

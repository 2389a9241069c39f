"""Ridge regression against the normal equations and scikit-learn."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.linear_model import Ridge

from tlx.linear.ridge import ridge_path
from tlx.linear.spectrum import spectrum

PENALTIES = (1e-6, 1e-3, 1.0, 1e3)


def problem(count: int, size: int, outputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features far from the origin, of unequal scales, and targets that depend on them."""
    rng = np.random.default_rng(seed)
    x_ND = rng.normal(3.0, 1.0, (count, size)) * np.linspace(0.1, 2.0, size)
    return x_ND, x_ND @ rng.normal(size=(size, outputs)) + rng.normal(size=(count, outputs)) + 7.0


@pytest.mark.parametrize(("count", "size"), [(60, 8), (12, 30), (20, 20)])
def test_it_is_the_solution_of_the_normal_equations(count: int, size: int) -> None:
    x_ND, target_NC = problem(count, size, 3)
    found = ridge_path(x_ND, target_NC, PENALTIES)
    with_one = np.hstack([x_ND, np.ones((count, 1))])
    for i, penalty in enumerate(PENALTIES):
        decay = np.diag([penalty * count] * size + [0.0])
        by_hand = np.linalg.solve(with_one.T @ with_one + decay, with_one.T @ target_NC)
        np.testing.assert_allclose(found.kernel_LDC[i], by_hand[:-1], atol=1e-5)
        np.testing.assert_allclose(found.bias_LC[i], by_hand[-1], atol=1e-5)
        error_NC = x_ND @ by_hand[:-1] + by_hand[-1] - target_NC
        loss = 0.5 * np.square(error_NC).sum(axis=1).mean() + 0.5 * penalty * np.square(by_hand[:-1]).sum()
        assert found.loss_L[i] == pytest.approx(loss, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("count", "size"), [(60, 8), (12, 30)])
def test_it_is_scikit_learn_s(count: int, size: int) -> None:
    x_ND, target_NC = problem(count, size, 3, seed=1)
    found = ridge_path(x_ND, target_NC, PENALTIES)
    for i, penalty in enumerate(PENALTIES):
        theirs = Ridge(alpha=penalty * count, solver="cholesky").fit(x_ND, target_NC)
        np.testing.assert_allclose(found.kernel_LDC[i], theirs.coef_.T, atol=1e-5)
        np.testing.assert_allclose(found.bias_LC[i], theirs.intercept_, atol=1e-4)


def test_many_penalties_are_those_one_by_one() -> None:
    x_ND, target_NC = problem(40, 6, 2)
    together = ridge_path(x_ND, target_NC, PENALTIES)
    for i, penalty in enumerate(PENALTIES):
        alone = ridge_path(x_ND, target_NC, (penalty,))
        np.testing.assert_allclose(together.kernel_LDC[i], alone.kernel_LDC[0], rtol=1e-12)
    # What is shared, the decomposition, is counted once.
    alone = ridge_path(x_ND, target_NC, PENALTIES[:1])
    assert together.flops_L.sum() < len(PENALTIES) * alone.flops_L.sum()


def test_features_without_variance_have_no_weight() -> None:
    x_ND, target_NC = problem(30, 4, 1)
    x_ND[:, 2] = 5.0
    found = ridge_path(x_ND, target_NC, (1e-3,))
    assert found.kernel_LDC[0, 2, 0] == pytest.approx(0.0, abs=1e-9)
    alike = ridge_path(np.full((5, 3), 2.0), target_NC[:5], (1e-3,))
    np.testing.assert_array_equal(alike.kernel_LDC, np.zeros((1, 3, 1)))
    np.testing.assert_allclose(alike.bias_LC[0], target_NC[:5].mean(axis=0))


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(6)), st.integers(4, 20), st.floats(1e-4, 1e2))
def test_the_order_of_features_does_not_matter(order: list[int], count: int, penalty: float) -> None:
    x_ND, target_NC = problem(count, 6, 2, seed=count)
    one, other = ridge_path(x_ND, target_NC, (penalty,)), ridge_path(x_ND[:, order], target_NC, (penalty,))
    np.testing.assert_allclose(
        x_ND @ one.kernel_LDC[0] + one.bias_LC[0], x_ND[:, order] @ other.kernel_LDC[0] + other.bias_LC[0], atol=1e-7
    )


def test_the_axes_are_orthonormal_and_hold_all_the_variance() -> None:
    for count, size in ((50, 6), (6, 50)):
        x_ND, _ = problem(count, size, 1)
        basis = spectrum(x_ND)
        rank = min(count - 1, size)
        assert basis.axis_DR.shape == (size, rank)
        np.testing.assert_allclose(basis.axis_DR.T @ basis.axis_DR, np.eye(rank), atol=1e-9)
        np.testing.assert_allclose(np.square(basis.along(x_ND)).sum(axis=0), basis.variance_R, rtol=1e-6, atol=1e-9)
        assert basis.variance_R.sum() == pytest.approx(np.square(x_ND - x_ND.mean(axis=0)).sum())

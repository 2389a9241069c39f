"""Multinomial logistic regression against scikit-learn and its own conditions of optimality."""

from collections.abc import Iterator

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from tlx.linear import logistic
from tlx.linear.logistic import TOLERANCE, logistic_path

PENALTIES = (1e-4, 1e-2, 1.0, 1e2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Products this small are slower on several, the more so the busier the machine."""
    with threadpool_limits(1):
        yield


def problem(count: int, size: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes in features far from the origin, of unequal scales; every class has an example."""
    rng = np.random.default_rng(seed)
    label_N = np.concatenate([np.arange(classes), rng.integers(0, classes, count - classes)])
    x_ND = rng.normal(3.0, 1.0, (count, size)) + 0.7 * rng.normal(size=(classes, size))[label_N]
    return x_ND * np.linspace(0.2, 3.0, size), label_N


def softmax(logit_NC: np.ndarray) -> np.ndarray:
    exp_NC = np.exp(logit_NC - logit_NC.max(axis=1, keepdims=True))
    return exp_NC / exp_NC.sum(axis=1, keepdims=True)


def losses(x_ND: np.ndarray, label_N: np.ndarray, kernel_DC: np.ndarray, bias_C: np.ndarray, penalty: float) -> float:
    """The objective, by hand."""
    share_NC = softmax(x_ND @ kernel_DC + bias_C)
    return float(
        -np.log(share_NC[np.arange(len(label_N)), label_N]).mean() + 0.5 * penalty * np.square(kernel_DC).sum()
    )


@pytest.mark.parametrize(("count", "size", "classes"), [(120, 6, 4), (30, 40, 3)])
def test_it_is_scikit_learn_s_optimum(count: int, size: int, classes: int) -> None:
    x_ND, label_N = problem(count, size, classes)
    found = logistic_path(x_ND, np.eye(classes)[label_N], PENALTIES, tolerance=1e-9)
    usual = logistic_path(x_ND, np.eye(classes)[label_N], PENALTIES)
    assert found.gradient_L.max() <= 1e-9 < usual.gradient_L.max() <= TOLERANCE
    for i, penalty in enumerate(PENALTIES):
        theirs = LogisticRegression(C=1 / (penalty * count), tol=1e-9, max_iter=100_000).fit(x_ND, label_N)
        shares_NC = softmax(x_ND @ found.kernel_LDC[i] + found.bias_LC[i])
        np.testing.assert_allclose(shares_NC, theirs.predict_proba(x_ND), atol=1e-5)
        np.testing.assert_allclose(found.kernel_LDC[i], theirs.coef_.T, atol=1e-4 * np.abs(theirs.coef_).max())
        best = losses(x_ND, label_N, theirs.coef_.T, theirs.intercept_, penalty)
        assert found.loss_L[i] == pytest.approx(best, rel=1e-7)
        # What the tolerance that is used means: no digit of an accuracy or a loss that anybody prints.
        assert usual.loss_L[i] == pytest.approx(best, abs=1e-7)
        assert usual.loss_L[i] == pytest.approx(losses(x_ND, label_N, usual.kernel_LDC[i], usual.bias_LC[i], penalty))


def test_of_two_classes_it_is_scikit_learn_s_with_one_weight_each() -> None:
    """There, w is the difference of ours, and λ/2 (‖w/2‖² + ‖−w/2‖²) is λ/4 ‖w‖²."""
    x_ND, label_N = problem(80, 5, 2)
    found = logistic_path(x_ND, np.eye(2)[label_N], PENALTIES, tolerance=1e-9)
    for i, penalty in enumerate(PENALTIES):
        theirs = LogisticRegression(C=2 / (penalty * 80), tol=1e-9, max_iter=100_000).fit(x_ND, label_N)
        shares_NC = softmax(x_ND @ found.kernel_LDC[i] + found.bias_LC[i])
        np.testing.assert_allclose(shares_NC, theirs.predict_proba(x_ND), atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_gradient_is_zero_where_it_stops(smoothing: float) -> None:
    x_ND, label_N = problem(90, 5, 3, seed=2)
    share_NC = (1 - smoothing) * np.eye(3)[label_N] + smoothing / 3
    found = logistic_path(x_ND, share_NC, PENALTIES, tolerance=1e-10)
    for i, penalty in enumerate(PENALTIES):
        error_NC = softmax(x_ND @ found.kernel_LDC[i] + found.bias_LC[i]) - share_NC
        np.testing.assert_allclose(x_ND.T @ error_NC / 90 + penalty * found.kernel_LDC[i], 0.0, atol=1e-8)
        np.testing.assert_allclose(error_NC.mean(axis=0), 0.0, atol=1e-9)


def test_the_loss_grows_with_the_penalty_and_weights_shrink() -> None:
    x_ND, label_N = problem(60, 6, 3)
    found = logistic_path(x_ND, np.eye(3)[label_N], PENALTIES)
    norm_L = np.square(found.kernel_LDC).sum(axis=(1, 2))
    assert np.all(np.diff(found.loss_L) > 0) and np.all(np.diff(norm_L) < 0)
    assert found.loss_L[-1] < np.log(3) and np.all(found.flops_L > 0)


def test_penalties_that_do_not_fit_together_are_solved_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    x_ND, label_N = problem(60, 6, 3)
    whole = logistic_path(x_ND, np.eye(3)[label_N], PENALTIES, tolerance=1e-10)
    monkeypatch.setattr(logistic, "MOST_LOGITS", 3 * 60 * 3)
    groups = logistic_path(x_ND, np.eye(3)[label_N], PENALTIES, tolerance=1e-10)
    np.testing.assert_allclose(groups.kernel_LDC, whole.kernel_LDC, atol=1e-6)
    np.testing.assert_allclose(groups.loss_L, whole.loss_L, rtol=1e-9)


def test_separable_classes_and_tiny_penalties_are_solved_all_the_same() -> None:
    x_ND, label_N = problem(20, 50, 4)
    found = logistic_path(x_ND, np.eye(4)[label_N], (1e-8, 1e-6))
    assert found.gradient_L.max() <= TOLERANCE and np.all(np.isfinite(found.kernel_LDC))
    for i in range(2):
        assert np.array_equal((x_ND @ found.kernel_LDC[i] + found.bias_LC[i]).argmax(axis=1), label_N)


def test_the_unit_of_the_features_does_not_matter() -> None:
    x_ND, label_N = problem(50, 4, 3)
    one = logistic_path(x_ND, np.eye(3)[label_N], (1e-2,))
    for unit in (1e-6, 1e6):
        other = logistic_path(x_ND * unit, np.eye(3)[label_N], (1e-2 * unit**2,))
        np.testing.assert_allclose(other.kernel_LDC * unit, one.kernel_LDC, atol=1e-5)


def test_features_that_say_nothing_leave_the_shares_of_the_classes() -> None:
    label_N = np.array([0, 0, 0, 1])
    found = logistic_path(np.ones((4, 3)), np.eye(2)[label_N], (1e-2,))
    np.testing.assert_array_equal(found.kernel_LDC, np.zeros((1, 3, 2)))
    np.testing.assert_allclose(softmax(found.bias_LC), [[0.75, 0.25]], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)), st.integers(6, 20), st.floats(1e-3, 1e1))
def test_the_order_of_features_and_of_examples_does_not_matter(order: list[int], count: int, penalty: float) -> None:
    x_ND, label_N = problem(count, 5, 3, seed=count)
    one = logistic_path(x_ND, np.eye(3)[label_N], (penalty,), tolerance=1e-9)
    other = logistic_path(x_ND[::-1, order], np.eye(3)[label_N[::-1]], (penalty,), tolerance=1e-9)
    np.testing.assert_allclose(
        softmax(x_ND @ one.kernel_LDC[0] + one.bias_LC[0]),
        softmax(x_ND[:, order] @ other.kernel_LDC[0] + other.bias_LC[0]),
        atol=1e-6,
    )

"""LogME against the marginal likelihood itself."""

import math

import numpy as np
import pytest
from golden_transfer import hard
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from tlx.measure.transferability.logme import evidence, logme


def marginal(feature_ND: np.ndarray, target_N: np.ndarray, alpha: float, beta: float) -> float:
    """log p(y) / N of `y = f w + e`, w ~ N(0, 1/α), e ~ N(0, 1/β): no formula of LogME's in it."""
    covariance_NN = np.eye(len(target_N)) / beta + feature_ND @ feature_ND.T / alpha
    return float(multivariate_normal(np.zeros(len(target_N)), covariance_NN).logpdf(target_N)) / len(target_N)


SHAPES = [(60, 8), (12, 30)]


@pytest.mark.parametrize(("examples", "features"), SHAPES)
def test_it_is_the_exact_evidence_also_with_more_features_than_examples(examples: int, features: int) -> None:
    feature_ND, label_N = hard(examples, features, 3)
    target_NC = np.eye(3)[label_N]
    found = evidence(feature_ND, target_NC)
    exact = [marginal(feature_ND, target_NC[:, c], found.alpha[c], found.beta[c]) for c in range(3)]
    np.testing.assert_allclose(found.per_example, exact, rtol=1e-7, atol=1e-9)
    assert float(logme(feature_ND, label_N)) == pytest.approx(np.mean(exact), rel=1e-7)


def test_features_that_depend_on_one_another_are_no_trouble() -> None:
    feature_ND, label_N = hard()
    doubled = np.concatenate([feature_ND, feature_ND], axis=1) / math.sqrt(2)
    assert float(logme(doubled, label_N)) == pytest.approx(float(logme(feature_ND, label_N)), rel=1e-6)


def test_the_precisions_are_the_best_there_are() -> None:
    feature_ND, label_N = hard()
    target_N = np.eye(3)[label_N][:, 0]
    found = evidence(feature_ND, target_N[:, None])

    def worse(log_2: np.ndarray) -> float:
        return -marginal(feature_ND, target_N, *np.exp(log_2))

    best = minimize(worse, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12})
    assert found.per_example[0] == pytest.approx(-best.fun, abs=1e-7)
    np.testing.assert_allclose(np.log([found.alpha[0], found.beta[0]]), best.x, atol=5e-3)


def test_scores_are_targets_too_and_columns_do_not_meet() -> None:
    feature_ND, _ = hard()
    target_N2 = np.random.default_rng(0).normal(size=(60, 2))
    both = evidence(feature_ND, target_N2).per_example
    assert both.shape == (2,)
    assert both[1] == pytest.approx(float(evidence(feature_ND, target_N2[:, 1:]).per_example[0]), rel=1e-12)


@pytest.mark.parametrize("targets", [np.zeros(60), np.zeros((59, 1)), np.full((60, 1), math.nan)])
def test_targets_of_another_form_are_refused(targets: np.ndarray) -> None:
    with pytest.raises(ValueError) as caught:
        evidence(hard()[0], targets)
    assert str(caught.value) == f"targets: expected finite numbers [60, C], got shape {targets.shape}"

"""Estimators on the golden fixture, to 1e-6, and what the reference implementations got wrong."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from golden_transfer import C, N, golden
from scipy.stats import spearmanr

from tlx.measure.transferability.gbc import gbc
from tlx.measure.transferability.h_score import h_score, shrunk_h_score
from tlx.measure.transferability.knn import knn
from tlx.measure.transferability.leep import leep
from tlx.measure.transferability.lfc import lfc
from tlx.measure.transferability.logme import logme
from tlx.measure.transferability.nce import nce
from tlx.measure.transferability.parc import parc, spearman
from tlx.measure.transferability.sfda import sfda
from tlx.measure.transferability.transrate import transrate

FEATURE_ND, LABEL_N, SHARE_NZ = golden()
SEEN: list[tuple[Callable[..., Any], dict[str, Any], float]] = [
    (logme, {}, 0.029270),
    (h_score, {}, 1.870291),
    (shrunk_h_score, {}, 1.868917),
    (transrate, {}, 1.575727),
    (gbc, {}, -0.009427),
    (gbc, {"spherical": False}, -0.004910),
    (lfc, {}, 0.721452),
    (knn, {}, 1.0),
    (sfda, {"power_steps": 3}, 0.997784),
]


def test_the_fixture_is_the_one_meant() -> None:
    np.testing.assert_allclose(FEATURE_ND[0, :3], (2.89892966, -0.32702563, 1.00161724), atol=1e-8)


@pytest.mark.parametrize(("estimator", "settings", "expected"), SEEN)
def test_of_features(estimator: Callable[..., Any], settings: dict[str, Any], expected: float) -> None:
    assert float(estimator(FEATURE_ND, LABEL_N, **settings)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("estimator", "expected"), [(leep, -0.836396), (nce, -0.605729)])
def test_of_predictions(estimator: Callable[..., Any], expected: float) -> None:
    assert float(estimator(SHARE_NZ, LABEL_N)) == pytest.approx(expected, abs=1e-6)


def test_parc_is_the_reference_s_but_for_ties_that_rounding_breaks() -> None:
    """The correlations of equal one-hot rows are 1 or 1 - 2e-16, which the reference ranks as different."""
    row, column = np.triu_indices(N, 1)
    standard_ND = (FEATURE_ND - FEATURE_ND.mean(axis=0)) / FEATURE_ND.std(axis=0)
    feature_P = (1 - np.corrcoef(standard_ND))[row, column]
    differ_P = (LABEL_N[row] != LABEL_N[column]).astype(np.float64)
    # 1190 pairs of one class, of which the reference's rounding sets some apart; here they are set apart by hand.
    rounded_P = 1 - np.corrcoef(np.eye(C)[LABEL_N])[row, column]
    assert float(100 * spearman(feature_P, rounded_P)) == pytest.approx(
        100 * spearmanr(feature_P, rounded_P).correlation, abs=1e-9
    )
    if len(np.unique(rounded_P)) == 3:
        assert float(100 * spearman(feature_P, rounded_P)) == pytest.approx(77.161265, abs=1e-6)
    assert float(parc(FEATURE_ND, LABEL_N)) == pytest.approx(78.257778, abs=1e-6)
    assert float(parc(FEATURE_ND, LABEL_N)) == pytest.approx(100 * spearmanr(feature_P, differ_P).correlation, abs=1e-9)


def test_sfda_with_the_exact_eigenvalue_is_near_the_reference_s() -> None:
    assert float(sfda(FEATURE_ND, LABEL_N)) == pytest.approx(0.99779174, abs=1e-8)


def test_float64_stays_inside() -> None:
    logme(FEATURE_ND, LABEL_N)
    assert not jax.config.jax_enable_x64
    assert jax.numpy.ones(1).dtype == np.float32

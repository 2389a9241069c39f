import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.measure.law import TransferLaw, fit_law

# Published for text to Python: characters, and parameters without embeddings.
PYTHON = TransferLaw(k=1.9e4, alpha=0.18, beta=0.38)


def test_published_exponents() -> None:
    base = PYTHON.transferred(3e5, 4e7)
    assert PYTHON.transferred(3e6, 4e7) / base == pytest.approx(1.51, abs=0.005)
    assert PYTHON.transferred(3e7, 4e7) / base == pytest.approx(2.29, abs=0.005)
    assert PYTHON.transferred(3e5, 4e8) / base == pytest.approx(2.40, abs=0.005)


def test_published_multiplier_is_of_the_order_of_a_thousand() -> None:
    """The paper reads about 1,000 for 40 M parameters and 3e5 characters off its figure; its law says 475."""
    assert PYTHON.multiplier(3e5, 4e7) == pytest.approx(475, abs=5)
    assert TransferLaw(2.1e5, 0.096, 0.38).multiplier(3e5, 4e7) == pytest.approx(1822, abs=10)


def grid() -> tuple[np.ndarray, np.ndarray]:
    data, size = np.meshgrid([1e4, 1e5, 1e6, 1e7], [1e6, 1e7, 1e8])
    return data.ravel(), size.ravel()


@settings(max_examples=30, deadline=None)
@given(k=st.floats(1e-3, 1e6), alpha=st.floats(-1, 1), beta=st.floats(-1, 1))
def test_a_law_without_noise_is_found_again(k: float, alpha: float, beta: float) -> None:
    data, size = grid()
    found = fit_law(TransferLaw(k, alpha, beta).transferred(data, size), data, size)
    assert found.k == pytest.approx(k, rel=1e-6)
    assert (found.alpha, found.beta) == (pytest.approx(alpha, abs=1e-8), pytest.approx(beta, abs=1e-8))
    assert found.alpha_error < 1e-8 and found.n == 12


def test_standard_errors_by_hand() -> None:
    """Simple regression: s^2 / Sxx for the slope, with log D_T = 0, 1, 1 at log D_F = 0, 1, 2."""
    found = fit_law(np.exp([0.0, 1.0, 1.0]), np.exp([0.0, 1.0, 2.0]))
    # slope 1/2, intercept 1/6, residuals -1/6, 1/3, -1/6: s^2 = 1/6, Sxx = 2
    assert found.alpha == pytest.approx(0.5) and math.log(found.k) == pytest.approx(1 / 6)
    assert found.alpha_error == pytest.approx(math.sqrt(1 / 12))
    assert found.log_k_error == pytest.approx(math.sqrt(1 / 6 * (1 / 3 + 1 / 2)))
    assert found.beta == 0 and math.isnan(found.beta_error)


def test_standard_errors_are_as_wide_as_the_estimates_scatter() -> None:
    data, size = grid()
    rng, truth = np.random.default_rng(0), np.log(PYTHON.transferred(*grid()))
    found = [fit_law(np.exp(truth + rng.normal(0, 0.2, 12)), data, size) for _ in range(400)]
    assert np.mean([law.alpha for law in found]) == pytest.approx(0.18, abs=0.005)
    scatter = np.std([law.alpha for law in found])
    assert np.sqrt(np.mean([law.alpha_error**2 for law in found])) == pytest.approx(scatter, rel=0.1)


def test_one_size_leaves_its_exponent_in_the_factor() -> None:
    data = np.array([1e4, 1e5, 1e6])
    found = fit_law(PYTHON.transferred(data, 4e7), data, 4e7)
    assert found.alpha == pytest.approx(0.18) and found.k == pytest.approx(1.9e4 * 4e7**0.38)
    assert found.transferred(1e5) == pytest.approx(PYTHON.transferred(1e5, 4e7))


def test_as_many_points_as_unknowns_have_no_standard_error() -> None:
    found = fit_law([1.0, 2.0], [1.0, 4.0])
    assert found.alpha == pytest.approx(0.5) and math.isnan(found.alpha_error) and math.isnan(found.log_k_error)


@pytest.mark.parametrize(
    ("transferred", "data", "parameters", "message"),
    [
        ([1.0, -2.0], [1.0, 2.0], 1.0, "transferred: expected positive, finite"),
        ([1.0, math.inf], [1.0, 2.0], 1.0, "transferred: expected positive, finite"),
        ([1.0, 2.0], [0.0, 2.0], 1.0, "data: expected positive, finite"),
        ([1.0, 2.0], [1.0, 2.0], [1.0, math.nan], "parameters: expected positive, finite"),
        ([1.0, 2.0], [3.0, 3.0], 1.0, "data: expected different amounts"),
        ([1.0], [3.0], 1.0, "data: expected different amounts"),
        ([], [], 1.0, "data: expected different amounts"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 4.0], [1.0, 2.0, 4.0], "not tied to the parameters"),
    ],
)
def test_what_cannot_be_fitted_is_refused(transferred: object, data: object, parameters: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_law(transferred, data, parameters)

"""Rotary positions: angles by formula, and what stretches them."""

import jax.numpy as jnp
import numpy as np
import pytest

from tlx.models.rope import Rope


def test_frequencies_are_powers_of_the_base() -> None:
    expected = [1.0, 100.0**-0.25, 100.0**-0.5, 100.0**-0.75]
    np.testing.assert_allclose(Rope(theta=100.0).frequencies(8), expected, rtol=1e-5)


def test_linear_scaling_divides_all_of_them() -> None:
    plain = Rope(theta=100.0).frequencies(8)
    np.testing.assert_allclose(Rope(theta=100.0, scaling="linear", factor=4.0).frequencies(8), plain / 4, rtol=1e-6)


def test_llama3_scaling_divides_the_low_ones_and_blends_those_in_between() -> None:
    """Trained on 200 tokens: what turns more than 4 times in these stays, what turns less than once is divided by 8."""
    plain = Rope(theta=1e4).frequencies(16)
    turns = 200 * plain / (2 * np.pi)
    found = Rope(1e4, "llama3", factor=8.0, low=1.0, high=4.0, original=200).frequencies(16)
    assert found.dtype == np.float32
    kinds = set()
    for frequency, plain_one, count in zip(found, plain, turns, strict=True):
        share = (count - 1.0) / 3.0
        kinds.add("high" if share >= 1 else "low" if share <= 0 else "between")
        share = min(max(share, 0.0), 1.0)
        assert frequency == pytest.approx(share * plain_one + (1 - share) * plain_one / 8, rel=1e-5)
    assert kinds == {"high", "low", "between"}


def test_products_depend_on_the_distance_alone() -> None:
    rng = np.random.default_rng(0)
    q, k = (jnp.asarray(rng.normal(size=(1, 1, 1, 8)), jnp.float32) for _ in range(2))
    rope = Rope(theta=30.0)

    def product(at: float, other: float) -> float:
        one, two = (rope.turned(x, jnp.full((1, 1), place, jnp.float32)) for x, place in ((q, at), (k, other)))
        return float(jnp.sum(one * two))

    assert product(7.0, 3.0) == pytest.approx(product(4.0, 0.0), abs=1e-5)
    assert abs(product(7.0, 3.0) - product(7.0, 2.0)) > 1e-3
    assert product(0.0, 0.0) == pytest.approx(float(jnp.sum(q * k)), abs=1e-6)

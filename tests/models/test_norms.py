"""Norms: the root mean square by formula, and where it is rounded."""

import jax.numpy as jnp
import numpy as np

from tlx.models.norms import RMSNorm

RNG = np.random.default_rng(0)
X_BD = RNG.normal(size=(4, 6)).astype(np.float32)
SCALE_D = RNG.normal(size=6).astype(np.float32)


def test_it_is_the_formula() -> None:
    y_BD = RMSNorm(epsilon=0.1).apply({"params": {"scale": jnp.asarray(SCALE_D)}}, X_BD)
    x = X_BD.astype(np.float64)
    expected = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 0.1) * SCALE_D
    np.testing.assert_allclose(y_BD, expected, atol=1e-6)


def test_in_bfloat16_the_quotient_is_rounded_before_it_is_scaled() -> None:
    x_BD, scale_D = (jnp.asarray(value, jnp.bfloat16) for value in (X_BD, SCALE_D))
    y_BD = RMSNorm(epsilon=1e-6).apply({"params": {"scale": scale_D}}, x_BD)
    wide = np.asarray(x_BD, np.float32)
    quotient = jnp.asarray(wide / np.sqrt((wide**2).mean(axis=1, keepdims=True) + np.float32(1e-6)), jnp.bfloat16)
    assert y_BD.dtype == jnp.bfloat16
    assert np.array_equal(np.asarray(y_BD, np.float32), np.asarray(quotient * scale_D[None], np.float32))

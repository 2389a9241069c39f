"""Pixels to numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlx.data.preprocess import normalise, normalised


def test_the_range_and_the_middle():
    image = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    with jax.numpy_dtype_promotion("strict"):
        out = jax.jit(normalise)(image)
    assert out.dtype == jnp.float32
    assert (float(out.min()), float(out.max())) == (-1.0, 1.0)
    np.testing.assert_allclose(np.ravel(out), np.arange(256) / 127.5 - 1, atol=1e-6)
    assert np.array_equal(out, normalise(image))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int32])
def test_only_pixels_are_taken(dtype):
    with pytest.raises(TypeError, match="expected uint8 pixels"):
        normalise(jnp.zeros((1, 2, 2, 1), dtype))


def test_whatever_is_no_longer_bytes_stays_as_it_is():
    inputs = {
        "image": jnp.full((1, 2, 2, 1), 255, jnp.uint8),
        "ids": jnp.arange(3, dtype=jnp.int32),
        "kept": {"hidden": jnp.full((1, 2), 255.0), "mask": jnp.array([True, False])},
    }
    out = normalised(inputs)
    assert np.array_equal(out.pop("image"), jnp.ones((1, 2, 2, 1), jnp.float32))
    assert out["ids"] is inputs["ids"]
    assert all(out["kept"][name] is leaf for name, leaf in inputs["kept"].items())
    assert normalised(inputs["ids"]) is inputs["ids"]
    assert np.array_equal(normalised(inputs["image"]), normalise(inputs["image"]))

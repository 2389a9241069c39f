"""What is done to images inside the compiled program."""

from typing import Any

import jax
import jax.numpy as jnp


def normalise(image_BHWC: jax.Array) -> jax.Array:
    """Pixels as numbers from -1 to 1.

    Args:
      image_BHWC: uint8 pixels.

    Returns:
      float32 of the same shape.

    Raises:
      TypeError: the image is not uint8, so was perhaps normalised before.
    """
    if image_BHWC.dtype != jnp.uint8:
        raise TypeError(f"expected uint8 pixels, got {image_BHWC.dtype}")
    # Subtract first: compiled, 255 / 127.5 is 255 times a rounded reciprocal, which less 1 exceeds 1.
    return (image_BHWC.astype(jnp.float32) - 127.5) / 127.5


def normalised(x: Any) -> Any:
    """Inputs as a model takes them: images that are still bytes are normalised, all else stays.

    Args:
      x: images, token ids or cached activations; an array or nested dicts of arrays.
    """
    return jax.tree.map(lambda leaf: normalise(leaf) if leaf.dtype == jnp.uint8 else leaf, x)

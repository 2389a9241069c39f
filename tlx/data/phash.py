"""Perceptual hashes and thumbnails: what is left of pictures that look alike is alike.

Shapes: N images, H rows, W columns, C channels; P pixels of a thumbnail.
"""

from functools import lru_cache

import numpy as np

BITS = 64
# The picture is shrunk to _SIDE x _SIDE, and its _KEPT x _KEPT lowest frequencies make the bits.
_SIDE, _KEPT = 32, 8
_LUMA = (0.299, 0.587, 0.114)
# Frequencies below this, in units of a pixel's value, are rounding errors, as all are of an even surface.
_STEP = 1e-3
_AT_ONCE = 2**22  # numbers
_THUMBNAIL = 16  # rows and columns


def image_hashes(image_NHWC: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each image, whatever its size and its number of channels.

    Args:
      image_NHWC: uint8 pixels; gray, colours, or colours and opacity, which is not looked at.

    Returns:
      uint64 [N]. The hash does not change with brightness and contrast, as far as no pixel is cut off; that of an even
      surface is 0.

    Raises:
      TypeError: the images are not bytes.

    Source: Zauner (2010), section 3.2.1, the discrete cosine transform's signs about their median. Ours averages areas
    where it shrinks, and leaves out the mean brightness, which says nothing about what is seen.
    """
    if image_NHWC.dtype != np.uint8:
        raise TypeError(f"expected uint8 pixels, got {image_NHWC.dtype}")
    return np.concatenate([np.empty(0, np.uint64), *map(_hashes, _portions(image_NHWC))])


def thumbnails(image_NHWC: np.ndarray) -> np.ndarray:
    """Small gray pictures, whatever the images' size and number of channels.

    Args:
      image_NHWC: uint8 pixels.

    Returns:
      uint8 [N, 256], 16 rows of 16 means of areas.
    """
    down, across = (_shrink(length, _THUMBNAIL) for length in image_NHWC.shape[1:3])
    parts = [np.round(down @ _gray(part) @ across.T).astype(np.uint8) for part in _portions(image_NHWC)]
    return np.concatenate([np.empty((0, _THUMBNAIL**2), np.uint8), *(part.reshape(len(part), -1) for part in parts)])


def correlations(ours_NP: np.ndarray, theirs_NP: np.ndarray) -> np.ndarray:
    """How alike thumbnails are, pair by pair, brightness and contrast aside.

    Args:
      ours_NP: uint8 pixels.
      theirs_NP: uint8 pixels of as many thumbnails.

    Returns:
      float32 [N] from -1 to 1; 1 for two even surfaces, 0 for one and something else.
    """
    x_NP, y_NP = (x.astype(np.float32) - x.mean(axis=1, keepdims=True, dtype=np.float32) for x in (ours_NP, theirs_NP))
    product, x, y = ((a * b).sum(axis=1) for a, b in ((x_NP, y_NP), (x_NP, x_NP), (y_NP, y_NP)))
    even = (x == 0) & (y == 0)
    found: np.ndarray = np.where(even, np.float32(1), product / np.sqrt(np.maximum(x * y, np.float32(1e-6))))
    return found


def _portions(image_NHWC: np.ndarray) -> list[np.ndarray]:
    """A few images at a time, as their numbers take eight times the room of their bytes."""
    count = max(1, _AT_ONCE // max(1, int(np.prod(image_NHWC.shape[1:]))))
    return [image_NHWC[i : i + count] for i in range(0, len(image_NHWC), count)]


def _hashes(image_NHWC: np.ndarray) -> np.ndarray:
    down, across = _transform(image_NHWC.shape[1]), _transform(image_NHWC.shape[2])
    frequency_NKK = down @ _gray(image_NHWC) @ across.T
    frequency_NF = np.round(frequency_NKK.reshape(len(image_NHWC), BITS) / _STEP)
    # The mean, at place 0, is neither compared nor does it count for the median.
    above_NF = frequency_NF > np.median(frequency_NF[:, 1:], axis=1, keepdims=True)
    above_NF[:, 0] = False
    return np.packbits(above_NF, axis=1).view(">u8").astype(np.uint64)[:, 0]


def _gray(image_NHWC: np.ndarray) -> np.ndarray:
    if image_NHWC.shape[-1] < len(_LUMA):
        return image_NHWC[..., 0].astype(np.float64)
    return image_NHWC[..., : len(_LUMA)] @ np.array(_LUMA)


@lru_cache(maxsize=16)
def _transform(length: int) -> np.ndarray:
    """Shrinking and cosine transform of one axis in one matrix, [_KEPT, length]."""
    place, frequency = np.arange(_SIDE) + 0.5, np.arange(_KEPT)
    cosine = np.cos(np.pi / _SIDE * frequency[:, None] * place) * np.sqrt(2 / _SIDE)
    made: np.ndarray = cosine @ _shrink(length, _SIDE)
    made.flags.writeable = False
    return made


@lru_cache(maxsize=16)
def _shrink(length: int, side: int) -> np.ndarray:
    """Means over equal stretches of an axis, or repetition where it is shorter, [side, length]."""
    edges = np.linspace(0, length, side + 1)
    pixel = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    made: np.ndarray = np.clip(overlap, 0, None) * (side / length)
    made.flags.writeable = False
    return made

"""Hashes and thumbnails of images: what leaves them alone, and what does not."""

import io

import numpy as np
import pytest
from PIL import Image

from tlx.data.phash import BITS, correlations, image_hashes, thumbnails

ROWS, COLUMNS = 96, 80


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """Forty smooth coloured surfaces: low frequencies stronger than high ones, as in photographs."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(40):
        coarse = [Image.fromarray(rng.integers(0, 256, (n, n, 3)).astype(np.uint8)) for n in (3, 6, 12)]
        layers = [np.asarray(c.resize((COLUMNS, ROWS), Image.Resampling.BICUBIC), np.float64) for c in coarse]
        made.append(np.average(layers, axis=0, weights=(4, 2, 1)).astype(np.uint8))
    return np.stack(made)


def changed(image_NHWC: np.ndarray, how: str) -> np.ndarray:
    def one(image: Image.Image) -> Image.Image:
        if how == "jpeg":
            file = io.BytesIO()
            image.save(file, "JPEG", quality=50)
            return Image.open(file)
        if how == "smaller":
            return image.resize((COLUMNS // 2, ROWS // 2), Image.Resampling.BICUBIC)
        if how == "cropped":
            return image.crop((2, 2, COLUMNS - 2, ROWS - 2))
        if how == "gray":
            return image.convert("L")
        if how == "transparent":
            return image.convert("RGBA")
        return image.point(lambda value: 30 + value * 0.7)

    images = [np.asarray(one(Image.fromarray(image_HWC))) for image_HWC in image_NHWC]
    return np.stack(images).reshape(len(images), *images[0].shape[:2], -1)


@pytest.mark.parametrize(
    ("how", "most"),
    [("jpeg", 4), ("smaller", 2), ("brighter", 2), ("gray", 2), ("transparent", 0), ("cropped", 8)],
)
def test_a_copy_is_near(photos: np.ndarray, how: str, most: int) -> None:
    copies = changed(photos, how)
    distance = np.bitwise_count(image_hashes(photos) ^ image_hashes(copies))
    assert distance.max() <= most
    assert correlations(thumbnails(photos), thumbnails(copies)).min() > 0.97


def test_other_pictures_are_far(photos: np.ndarray) -> None:
    hash_N = image_hashes(photos)
    distance = np.bitwise_count(hash_N[:, None] ^ hash_N)[np.triu_indices(len(photos), 1)]
    assert distance.min() > 8
    assert 26 < distance.mean() < 36


def test_half_of_the_bits_are_set(photos: np.ndarray) -> None:
    hash_N = image_hashes(photos)
    assert (hash_N.dtype, hash_N.shape) == (np.uint64, (40,))
    assert set(np.bitwise_count(hash_N).tolist()) == {(BITS - 1) // 2}


def test_hashes_are_pinned() -> None:
    """A slope holds every other frequency of one direction, all of one sign, and that of the way it goes."""
    slope_HW = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    found = image_hashes(np.stack([slope_HW, slope_HW[:, ::-1], slope_HW.T[::-1]])[..., None])
    assert [f"{int(number):016x}" for number in found] == [
        "0000000000000000",
        "5500000000000000",
        "0080008000800080",
    ]


def test_even_surfaces_are_equal_whatever_their_value() -> None:
    even = np.repeat(np.array([0, 3, 127, 255], np.uint8), 28 * 30 * 3).reshape(4, 28, 30, 3)
    assert image_hashes(even).tolist() == [0, 0, 0, 0]
    assert correlations(thumbnails(even[:1]), thumbnails(even[1:2])).tolist() == [1.0]


def test_many_images_are_hashed_as_one_by_one() -> None:
    image_NHWC = np.random.default_rng(1).integers(0, 256, (9, 700, 700, 1)).astype(np.uint8)
    alone = [image_hashes(image_NHWC[i : i + 1])[0] for i in range(9)]
    assert image_hashes(image_NHWC).tolist() == alone
    assert image_hashes(image_NHWC[:0]).shape == (0,)
    assert thumbnails(image_NHWC).shape == (9, 256)
    assert thumbnails(image_NHWC[:0]).shape == (0, 256)


def test_thumbnails_are_means_of_areas() -> None:
    image_NHWC = np.arange(32 * 32, dtype=np.uint32).reshape(1, 32, 32, 1) // 4
    expected = image_NHWC.reshape(16, 2, 16, 2).mean(axis=(1, 3)).round().reshape(1, 256)
    assert np.abs(thumbnails(image_NHWC.astype(np.uint8)).astype(float) - expected).max() <= 1


def test_correlations_by_hand() -> None:
    ours = np.array([[0, 2, 4], [0, 2, 4], [0, 2, 4], [5, 5, 5]], np.uint8)
    theirs = np.array([[10, 11, 12], [4, 2, 0], [7, 7, 7], [0, 0, 0]], np.uint8)
    np.testing.assert_allclose(correlations(ours, theirs), [1, -1, 0, 1], atol=1e-6)


def test_numbers_are_no_pixels() -> None:
    with pytest.raises(TypeError, match="^expected uint8 pixels, got float32$"):
        image_hashes(np.zeros((1, 8, 8, 1), np.float32))

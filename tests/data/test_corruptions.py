"""Corruptions: ever further from the image, the same again for the same seed, and by the formula where there is one."""

import numpy as np
import pytest

from tlx.data.corruptions.draws import Draws
from tlx.data.corruptions.registry import CORRUPTIONS, OF_COLOUR, SEVERITIES, corrupted
from tlx.errors import TlxError

SIZES = [(28, 28, 1), (33, 40, 3), (96, 64, 3)]


def photo(shape: tuple[int, int, int], index: int) -> np.ndarray:
    """A slope, some shapes and texture, in muted colours."""
    rng = np.random.default_rng(index)
    rows, columns, channels = shape
    y, x = np.mgrid[:rows, :columns] / max(rows, columns)
    level = np.repeat((0.3 + 0.2 * y)[..., None], channels, axis=-1)
    for _ in range(5):
        middle, radius = rng.uniform(0, 1, 2), rng.uniform(0.05, 0.2)
        inside = np.hypot(y - middle[0], x - middle[1]) < radius
        level[inside] = 0.45 + rng.uniform(-0.25, 0.25, channels)
    level += rng.normal(0, 0.03, level.shape)
    return np.round(np.clip(level, 0, 1) * 255).astype(np.uint8)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(abs(one.astype(float) - other).mean())


def names(channels: int) -> list[str]:
    return [name for name in CORRUPTIONS if channels == 3 or name not in OF_COLOUR]


CASES = [(name, shape) for shape in SIZES for name in names(shape[-1])]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_each_severity_is_further_from_the_image(name: str, shape: tuple[int, int, int]) -> None:
    images = [photo(shape, index) for index in range(6)]
    far = [0.0]
    for severity in SEVERITIES:
        out = [corrupted(name, image, severity, 0, i) for i, image in enumerate(images)]
        assert all(one.shape == shape and one.dtype == np.uint8 for one in out)
        far.append(float(np.mean([distance(*pair) for pair in zip(out, images, strict=True)])))
    assert (np.diff(far) > 0).all(), far
    assert far[1] > 0.5


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_by_its_seed_and_index_alone(name: str) -> None:
    image = photo((33, 40, 3), 0)
    before = image.copy()
    first = corrupted(name, image, 3, 5, 7)
    assert np.array_equal(first, corrupted(name, image, 3, 5, 7)) and np.array_equal(image, before)
    drawn = name not in {
        "defocus_blur",
        "zoom_blur",
        "brightness",
        "contrast",
        "saturate",
        "pixelate",
        "jpeg_compression",
    }
    others = [corrupted(name, image, 3, seed, index) for seed, index in ((5, 8), (6, 7), (7, 5))]
    assert any(not np.array_equal(first, other) for other in others) == drawn


def test_draws_are_pinned() -> None:
    """A change here breaks the comparison with all earlier corrupted sets."""
    assert (Draws(3, 5, "fog").uniform(4) * 1e6).astype(int).tolist() == [678516, 308197, 739586, 607599]
    np.testing.assert_allclose(Draws(3, 5, "fog").normal(3), [-1.1751482218, 0.5440697598, -1.1028875030], rtol=1e-9)


def test_draws_have_their_distributions() -> None:
    uniform = Draws(0, 0).uniform(100, 100)
    assert uniform.shape == (100, 100) and uniform.min() >= 0 and uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 4 * np.sqrt(1 / 12) / 100
    normal = Draws(0, 0).normal(10_000)
    assert abs(normal.mean()) < 0.04 and abs(normal.std() - 1) < 0.03
    for mean in (0.0, 0.3, 5.0, 60.0):
        poisson = Draws(0, 1).poisson(np.full(10_000, mean))
        assert np.array_equal(poisson, np.round(poisson)) and poisson.min() >= 0
        assert abs(poisson.mean() - mean) <= 4 * np.sqrt(mean) / 100 and abs(poisson.var() - mean) <= 0.06 * mean
    assert not np.array_equal(Draws(0, 0, "a").uniform(5), Draws(0, 0, "b").uniform(5))


def flat(level: int, channels: int = 1) -> np.ndarray:
    return np.full((100, 100, channels), level, np.uint8)


@pytest.mark.parametrize(("severity", "spread"), list(enumerate((0.08, 0.12, 0.18, 0.26, 0.38), 1)))
def test_noise_is_as_strong_as_published(severity: int, spread: float) -> None:
    noise = corrupted("gaussian_noise", flat(128), severity, 0, 0) / 255
    assert noise.clip(0.01, 0.99).std() <= spread
    inner = noise[(noise > 0) & (noise < 1)]
    assert severity > 3 or inner.std() == pytest.approx(spread, rel=0.05)
    photons = (60, 25, 12, 5, 3)[severity - 1]
    shot = corrupted("shot_noise", flat(77), severity, 0, 0) / 255
    assert shot.var() == pytest.approx(77 / 255 / photons, rel=0.15 if severity < 5 else 0.3)
    broken = corrupted("impulse_noise", flat(77), severity, 0, 0) != 77
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    assert abs(broken.mean() - share) < 4 * np.sqrt(share * (1 - share)) / 100


def test_blurs_leave_one_colour_alone_and_keep_the_mean() -> None:
    spot = flat(0)
    spot[48:52, 48:52] = 255
    for name in ("defocus_blur", "motion_blur", "zoom_blur", "pixelate", "elastic"):
        assert np.array_equal(corrupted(name, flat(90), 5, 0, 0), flat(90)), name
    for name in ("defocus_blur", "motion_blur"):
        out = corrupted(name, spot, 3, 0, 0)
        assert out.mean() == pytest.approx(spot.mean(), rel=0.05) and out.max() < 255


def test_light_by_the_formula() -> None:
    image = np.array([[[51, 102, 153], [0, 0, 0], [255, 0, 255], [51, 51, 51]]], np.uint8)
    assert corrupted("brightness", image, 2, 0, 0).tolist() == [[[68, 136, 204], [51] * 3, [255, 0, 255], [102] * 3]]
    assert corrupted("saturate", image, 2, 0, 0).tolist() == [[[0, 77, 153], [0] * 3, [255, 0, 255], [51] * 3]]
    black_and_white = np.array([[[0], [255]]], np.uint8)
    assert corrupted("contrast", black_and_white, 1, 0, 0).ravel().tolist() == [76, 178]
    assert corrupted("inversion", image, 5, 0, 0).tolist() == (255 - image).tolist()


def test_stripes_are_straight_and_of_both_directions() -> None:
    seen = set()
    for index in range(10):
        out = corrupted("stripes", flat(128), 3, 0, index)[..., 0]
        assert sorted(set(np.unique(out))) == [52, 204]
        across, down = np.ptp(out, axis=1).max() == 0, np.ptp(out, axis=0).max() == 0
        assert across != down
        seen.add(across)
        assert (out == 204).mean() == pytest.approx(0.5, abs=0.1)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("name", "image", "severity", "message"),
    [
        ("gaussian", flat(0), 1, "gaussian: no such corruption (did you mean 'gaussian_noise'?)"),
        ("fog", flat(0), 0, "fog: expected a severity from 1 to 5, got 0"),
        ("fog", flat(0), 6, "fog: expected a severity from 1 to 5, got 6"),
        ("saturate", flat(0), 1, "saturate: expected an image of 3 channels, got 1"),
        (
            "fog",
            np.zeros((4, 4), np.uint8),
            1,
            "fog: expected uint8 pixels [rows, columns, 1 or 3 channels], got uint8[4, 4]",
        ),
        (
            "fog",
            np.zeros((4, 4, 1)),
            1,
            "fog: expected uint8 pixels [rows, columns, 1 or 3 channels], got float64[4, 4, 1]",
        ),
    ],
)
def test_what_cannot_be_corrupted(name: str, image: np.ndarray, severity: int, message: str) -> None:
    with pytest.raises(TlxError) as caught:
        corrupted(name, image, severity, 0, 0)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in OF_COLOUR])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 3)])
def test_the_smallest_images(name: str, shape: tuple[int, ...]) -> None:
    for level in (0, 255):
        assert corrupted(name, np.full(shape, level, np.uint8), 5, 0, 0).shape == shape

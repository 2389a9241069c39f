"""RandAugment against Pillow, and the ops that change channels and statistics."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ops_by_name import examples, keys, small
from PIL import Image, ImageEnhance, ImageOps

from tlx.data.ops.rand_augment import CHANGES, changed
from tlx.data.preprocess import normalise
from tlx.errors import ConfigError

ROWS, COLUMNS = 24, 20
MAGNITUDE = 6.0
EXACT = {"identity", "equalize", "solarize", "posterize"}
BLENDS = {"color", "contrast", "brightness", "sharpness"}


def photo(channels: int) -> np.ndarray:
    """Slopes, a spot and some noise, in levels that do not fill the range."""
    rng = np.random.default_rng(channels)
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    spot = 80 * np.exp(-((rows - 6) ** 2 + (columns - 4) ** 2) / 12)
    slopes = [40 + 3 * rows + spot, 50 + 4 * columns + spot, 150 - 4 * rows + 2 * columns]
    level = np.stack(slopes[:channels], axis=-1) + rng.integers(0, 25, (ROWS, COLUMNS, channels))
    return level.astype(np.uint8)


def in_pillow(name: str, image: Image.Image, way: int) -> Image.Image:
    share = MAGNITUDE / 10
    signed = way * share
    affine = {
        "shear_x": (1, 0.3 * signed, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, 0.3 * signed, 1, 0),
        "translate_x": (1, 0, 0.45 * COLUMNS * signed, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, 0.45 * ROWS * signed),
    }
    outside: Any = (128,) * 3 if image.mode == "RGB" else 128
    how = {"resample": Image.Resampling.BILINEAR, "fillcolor": outside}
    if name in affine:
        return image.transform(image.size, Image.Transform.AFFINE, affine[name], **how)
    if name == "rotate":
        return image.rotate(30 * signed, **how)
    if name.capitalize() in ("Color", "Contrast", "Brightness", "Sharpness"):
        return getattr(ImageEnhance, name.capitalize())(image).enhance(1 + 0.9 * signed)
    plain = {
        "identity": lambda: image,
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "solarize": lambda: ImageOps.solarize(image, round(256 * (1 - share), 6)),
        "posterize": lambda: ImageOps.posterize(image, 8 - round(4 * share)),
    }
    return plain[name]()


@functools.cache
def program(channels: int) -> Any:
    return jax.jit(lambda image, change, way: changed(image.astype(jnp.float32), change, way, MAGNITUDE))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_pillows(name: str, channels: int) -> None:
    level = photo(channels)
    image = Image.fromarray(level if channels == 3 else level[..., 0])
    for way in (1, -1):
        out = np.asarray(program(channels)(jnp.asarray(level), CHANGES.index(name), float(way)))
        expected = np.asarray(in_pillow(name, image, way)).reshape(level.shape)
        assert out.dtype == np.float32 and np.array_equal(out, np.round(out))
        # Pillow cuts off, here where it has floats and there where it has not; whole results fall on either side.
        differs = abs(out - expected)
        assert differs.max() <= (0 if name in EXACT else 1), name
        assert name not in BLENDS or (differs > 0).mean() < 0.03, name
        assert np.array_equal(out, level) == (name == "identity" or (name == "color" and channels == 1))


@pytest.mark.parametrize("level", [0, 90, 255])
def test_one_colour_has_nothing_to_stretch_or_equalise(level: int) -> None:
    flat = jnp.full((ROWS, COLUMNS, 3), level, jnp.uint8)
    for name in ("identity", "autocontrast", "equalize", "sharpness", "contrast", "color"):
        assert np.array_equal(program(3)(flat, CHANGES.index(name), 1.0), flat), name


def test_at_magnitude_zero_only_what_has_no_strength_changes_anything() -> None:
    level = jnp.asarray(photo(3))
    still = jax.jit(lambda change, way: changed(level.astype(jnp.float32), change, way, 0.0))
    for i, name in enumerate(CHANGES):
        alike = all(np.array_equal(still(i, way), level) for way in (1.0, -1.0))
        assert alike == (name not in ("autocontrast", "equalize")), name


def test_all_changes_are_drawn_and_both_ways() -> None:
    """With one layer each result is one of those that single changes give."""
    level = jnp.asarray(photo(3))
    cases = [(name, way) for name in CHANGES for way in (1.0, -1.0)]
    results = np.stack([program(3)(level, CHANGES.index(name), way) for name, way in cases])
    op = small("rand_augment", layers=1, magnitude=MAGNITUDE)
    batch = {"input": jnp.broadcast_to(level[None], (700, *level.shape)), "label": jnp.zeros(700, jnp.int32)}
    count = dict.fromkeys(cases, 0)
    for image in np.asarray(jax.jit(op)(batch, keys(700))["input"]):
        distance = abs(results - image).mean(axis=(1, 2, 3))
        assert distance.min() < 0.1
        count[cases[distance.argmin()]] += 1  # of those that have no two ways, the first
    two_ways = {*BLENDS, "rotate", "shear_x", "shear_y", "translate_x", "translate_y"}
    for name, way in cases:
        expected = 25 if name in two_ways else 50 * (way == 1)
        assert abs(count[name, way] - expected) <= 4 * np.sqrt(expected), (name, way)


# Channels


def test_gray_and_colour() -> None:
    colour = examples(small("channels"), 3)["input"]
    gray = small("channels", channels=1)({"input": colour}, keys(4))["input"]
    images = [np.asarray(Image.fromarray(np.asarray(image)).convert("L")) for image in colour]
    assert gray.shape == (4, 8, 6, 1) and np.array_equal(gray[..., 0], images)
    thrice = small("channels")({"input": gray}, keys(4))["input"]
    assert thrice.shape == (4, 8, 6, 3) and all(np.array_equal(thrice[..., c], gray[..., 0]) for c in range(3))
    assert small("channels")({"input": colour}, keys(4))["input"] is colour


def test_other_channels_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        small("channels", channels=2)
    assert str(caught.value) == "channels.channels: expected 1 or 3, got 2"
    with pytest.raises(ConfigError) as caught:
        small("channels")({"input": jnp.zeros((1, 8, 6, 4), jnp.uint8)}, keys(1))
    assert str(caught.value) == "channels.channels: expected images of 1 or 3 channels, got 4"


# Statistics


def test_statistics_are_subtracted_and_divided_by() -> None:
    image = examples(small("channels"), 3)["input"]
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (np.asarray(image) / 255 - np.array(mean)) / np.array(std)
    op = small("normalise", mean=mean, std=std)
    for x in (image, normalise(image)):
        np.testing.assert_allclose(op({"input": x}, keys(4))["input"], expected, atol=1e-5)
    assert op.changes_range


def test_by_default_pixels_are_as_models_take_them() -> None:
    image = examples(small("channels"), 1)["input"]
    op = small("normalise", mean=(0.5,), std=(0.5,))
    assert np.array_equal(op({"input": image}, keys(4))["input"], normalise(image)) and not op.changes_range


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": (0.5, 0.5, 0.5)}, "std: 1 numbers, but there are 3 of mean"),
        ({"std": (0.0,)}, "std: expected numbers above 0"),
        ({"mean": (127.5,)}, "mean[0]: expected a number from 0 to 1, got 127.5"),
        ({"mean": ()}, "mean: expected at least one item, got an empty tuple"),
    ],
)
def test_statistics_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        small("normalise", **settings)
    assert str(caught.value) == f"normalise.{message}"

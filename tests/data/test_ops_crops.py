"""Crops, sizes and mirror images: where pixels go, and how often."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ops_by_name import keys, small
from PIL import Image

from tlx.errors import ConfigError

# Each pixel says where it is: row by ten, plus column.
PLACES = (10 * np.arange(8)[:, None] + np.arange(6)).astype(np.uint8)[None, :, :, None]


def apply(name: str, x: Any, seed: int = 0, **settings: Any) -> np.ndarray:
    """An op, compiled, with a key of its own for each image."""
    x = jnp.asarray(x)
    return np.asarray(
        program(name, **settings)({"input": x, "label": jnp.zeros(len(x), jnp.int32)}, keys(len(x), seed))
    )


@functools.cache
def program(name: str, **settings: Any) -> Any:
    return jax.jit(lambda batch, key_B: small(name, **settings)(batch, key_B)["input"])


def many(count: int) -> np.ndarray:
    return np.repeat(PLACES, count, axis=0)


# Flip


def test_a_sure_flip_mirrors_and_two_undo_each_other() -> None:
    once = apply("flip", PLACES, probability=1.0)
    assert np.array_equal(once, PLACES[:, :, ::-1])
    assert np.array_equal(apply("flip", once, probability=1.0), PLACES)
    assert np.array_equal(apply("flip", PLACES, probability=0.0), PLACES)


def test_flips_are_as_frequent_as_said() -> None:
    flipped = (apply("flip", many(2000), probability=0.3) != PLACES).any(axis=(1, 2, 3))
    assert abs(flipped.sum() - 600) < 4 * np.sqrt(2000 * 0.3 * 0.7)


# Pad and crop


@pytest.mark.parametrize("mode", ["reflect", "black"])
def test_each_crop_is_one_of_the_padded_image_and_all_are_as_frequent(mode: str) -> None:
    how = {"mode": "reflect"} if mode == "reflect" else {"constant_values": 0}
    padded = np.pad(PLACES[0, :, :, 0], 2, **how)
    place = {padded[i : i + 8, j : j + 6].tobytes(): (i, j) for i in range(5) for j in range(5)}
    out = apply("pad_crop", many(2500), padding=2, mode=mode)
    count = np.zeros((5, 5), int)
    for image in out[..., 0]:
        count[place[image.tobytes()]] += 1
    assert abs(count - 100).max() < 4.5 * np.sqrt(100)


def test_black_is_black_in_either_form() -> None:
    white = np.ones((20, 8, 6, 1), np.float32)
    out = apply("pad_crop", white, padding=4, mode="black")
    assert set(np.unique(out)) == {-1.0, 1.0}


def test_an_image_too_small_to_be_mirrored() -> None:
    assert apply("pad_crop", PLACES, padding=5).shape == PLACES.shape
    with pytest.raises(ConfigError) as caught:
        apply("pad_crop", PLACES, padding=6)
    assert str(caught.value) == "pad_crop.padding: expected less than the shorter side, 6, to mirror images"
    assert apply("pad_crop", PLACES, padding=6, mode="black").shape == PLACES.shape


def test_without_padding_a_smaller_square_is_cut_out_of_every_place() -> None:
    image_BHWC = np.random.default_rng(0).integers(0, 256, (200, 9, 9, 2), np.uint8)
    cut_BHWC = np.asarray(apply("pad_crop", image_BHWC, padding=0, side=7))
    places = set()
    for image_HWC, cut_HWC in zip(image_BHWC, cut_BHWC, strict=True):
        found = [(y, x) for y in range(3) for x in range(3) if np.array_equal(image_HWC[y : y + 7, x : x + 7], cut_HWC)]
        assert len(found) == 1
        places |= set(found)
    assert len(places) == 9
    with pytest.raises(ConfigError, match=r"^pad_crop\.side: expected at most the padded shorter side, 11"):
        apply("pad_crop", image_BHWC, padding=1, side=12)


# Sizes


def test_a_crop_of_the_middle() -> None:
    assert np.array_equal(apply("center_crop", PLACES, side=4), PLACES[:, 2:6, 1:5])
    assert np.array_equal(apply("center_crop", PLACES, side=3), PLACES[:, 2:5, 1:4])
    with pytest.raises(ConfigError) as caught:
        apply("center_crop", PLACES, side=7)
    assert str(caught.value) == "center_crop.side: expected at most the shorter side of the images, 6"


@pytest.mark.parametrize(("method", "filter_"), [("bilinear", "BILINEAR"), ("bicubic", "BICUBIC")])
@pytest.mark.parametrize("side", [4, 13])
def test_sizes_are_changed_as_in_pillow(method: str, filter_: str, side: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 6), dtype=np.uint8)
    expected = Image.fromarray(image).resize((side, side), Image.Resampling[filter_])
    out = apply("resize", image[None, :, :, None], side=side, method=method)[0, :, :, 0]
    # Pillow rounds between rows and columns too; of bicubic filters there are two.
    worst = {"bilinear": 1, "bicubic": 1 if side < 6 else 12}[method]
    assert abs(out.astype(int) - np.asarray(expected)).max() <= worst


def test_the_shorter_side_alone() -> None:
    assert apply("resize", PLACES, side=3, keep_ratio=True).shape == (1, 4, 3, 1)
    assert apply("resize", PLACES, side=12, keep_ratio=True).shape == (1, 16, 12, 1)
    assert np.array_equal(apply("resize", PLACES, side=6, keep_ratio=True), PLACES)
    assert np.array_equal(apply("resize", PLACES, side=8, method="nearest")[:, :, ::7], PLACES[:, :, ::5])


# A random part, resized


def test_the_whole_image_is_itself() -> None:
    settings = {"scale": (1.0, 1.0), "ratio": (6 / 8 - 1e-6, 6 / 8)}
    assert np.array_equal(apply("random_resized_crop", PLACES, **settings), PLACES)


def test_a_part_of_a_slope_has_the_slope_of_its_size() -> None:
    """A linear image shows where each part came from: its first and last pixels give corner and size."""
    rows, columns = np.mgrid[:64, :48].astype(np.float32)
    slopes = np.stack([rows, columns], axis=-1)[None] / 64 - 0.5
    settings = {"side": 8, "scale": (0.25, 0.5), "ratio": (0.5, 2.0)}
    out = apply("random_resized_crop", np.repeat(slopes, 1500, axis=0), **settings)
    # Away from the borders, where a smoothing kernel is cut off.
    down, right = (out[:, 5, 4, 0] - out[:, 2, 4, 0]) * 64 / 3 * 8, (out[:, 4, 5, 1] - out[:, 4, 2, 1]) * 64 / 3 * 8
    area, ratio = down * right / (64 * 48), right / down
    assert 0.24 < area.min() < 0.26 and 0.49 < area.max() < 0.51
    assert ratio.min() > 0.48 and ratio.max() < 2.05
    assert abs(np.log(ratio).mean()) < 0.06  # a little below, as the widest do not fit
    middle = (out[:, 2:6, 2:6].mean(axis=(1, 2)) + 0.5) * 64
    np.testing.assert_allclose(middle.mean(axis=0), [31.5, 23.5], atol=1.0)
    assert (middle[:, 0] - down / 2).min() > -1.5 and (middle[:, 0] + down / 2).max() < 64.5


def test_where_no_part_fits_the_largest_in_the_middle_is_taken() -> None:
    flat = np.zeros((3, 8, 32, 1), np.uint8)
    flat[:, :, 12:20] = 200
    out = apply("random_resized_crop", flat, side=4, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert np.array_equal(out[:, :, 1:3], np.full((3, 4, 2, 1), 200))


def test_one_colour_stays_that_colour() -> None:
    constant = np.full((4, 8, 6, 3), 77, np.uint8)
    out = apply("random_resized_crop", constant, side=9, method="lanczos3")
    assert np.array_equal(out, np.full((4, 9, 9, 3), 77))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": (0.5, 0.2)}, "scale: expected two numbers, the smaller first, got (0.5, 0.2)"),
        ({"scale": (0.5,)}, "scale: expected two numbers, the smaller first, got (0.5,)"),
        ({"scale": (0.0, 0.5)}, "scale[0]: expected a number from 0.0001 to 1, got 0.0"),
        ({"ratio": (0.5, "2")}, "ratio[1]: expected a number from 0.01 to 100, got '2'"),
        ({"side": -1}, "side: expected an integer from 0 to 4096, got -1"),
        ({"method": "cubic"}, "method: unknown value 'cubic' (did you mean 'bicubic'?)"),
    ],
)
def test_parts_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        small("random_resized_crop", **settings)
    assert str(caught.value) == f"random_resized_crop.{message}"

"""Mixed examples: whose pixels, whose label, and how much of each; and rectangles painted over."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ops_by_name import keys, small

from tlx.data.ops.partners import shares_of_classes
from tlx.errors import ConfigError

COUNT = 400
# The level of every pixel says which example it is from: 0, 1, ...; so does the class.
LEVELS = np.broadcast_to((np.arange(COUNT) % 50)[:, None, None, None], (COUNT, 8, 6, 1)).astype(np.uint8)
CLASSES = 50
LABELS = np.eye(CLASSES, dtype=np.float32)[np.arange(COUNT) % 50]


@functools.cache
def program(name: str, **settings: Any) -> Any:
    return jax.jit(lambda batch, key_B: small(name, **settings)(batch, key_B))


def mixed(name: str, x: np.ndarray = LEVELS, **settings: Any) -> tuple[np.ndarray, np.ndarray]:
    out = program(name, **settings)({"input": jnp.asarray(x), "label": jnp.asarray(LABELS[: len(x)])}, keys(len(x)))
    return np.asarray(out["input"]), np.asarray(out["label"])


def own_and_other(label_BC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    place = np.arange(len(label_BC))
    return label_BC[place, place % 50], label_BC[place, (place - 1) % 50]


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_labels_are_shares_of_two_neighbours(name: str) -> None:
    _, label_BC = mixed(name, alpha=1.0)
    own, other = own_and_other(label_BC)
    np.testing.assert_allclose(label_BC.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(own + other, 1, atol=1e-6)
    assert label_BC.min() >= 0


def test_mixup_averages_pixels_as_it_does_labels() -> None:
    x, label_BC = mixed("mixup", alpha=1.0)
    own, other = own_and_other(label_BC)
    at = LEVELS[:, 0, 0, 0] / 127.5 - 1
    np.testing.assert_allclose(x[:, 3, 2, 0], own * at + other * np.roll(at, 1), atol=1e-5)
    assert x.dtype == np.float32 and np.ptp(x, axis=(1, 2, 3)).max() == 0


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    own, _ = own_and_other(mixed("mixup", alpha=alpha)[1])
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(own.mean() - 0.5) < 4 * np.sqrt(variance / COUNT)
    assert own.var() == pytest.approx(variance, rel=0.15)


def test_cutmix_puts_a_rectangle_of_the_neighbour_in_and_labels_by_its_area() -> None:
    x, label_BC = mixed("cutmix")
    own, _ = own_and_other(label_BC)
    other_BHW = (x != LEVELS)[..., 0]
    assert np.array_equal(x, np.where(other_BHW[..., None], np.roll(LEVELS, 1, axis=0), LEVELS))
    np.testing.assert_allclose(own, 1 - other_BHW.mean(axis=(1, 2)), atol=1e-6)
    for other_HW in other_BHW:
        rows, columns = other_HW.any(axis=1), other_HW.any(axis=0)
        assert np.array_equal(other_HW, np.outer(rows, columns))
        assert all(np.abs(np.diff(side.astype(int), prepend=0, append=0)).sum() in (0, 2) for side in (rows, columns))
    # Every pixel is replaced now and then, most often in the middle.
    rate_HW = other_BHW.mean(axis=0)
    assert rate_HW.min() > 0.1 and rate_HW[3:5, 2:4].mean() > rate_HW[[0, -1]].mean()


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_some_are_mixed_and_others_not(name: str) -> None:
    x, label_BC = mixed(name, probability=0.25)
    alone = own_and_other(label_BC)[0] == 1.0
    assert abs(alone.sum() - 0.75 * COUNT) < 4 * np.sqrt(COUNT * 0.75 * 0.25)
    as_given = x[alone] if x.dtype == np.uint8 else np.round(x[alone] * 127.5 + 127.5)
    assert np.array_equal(as_given, LEVELS[alone])
    assert np.array_equal(label_BC[alone], LABELS[alone])


def test_whole_classes_must_be_made_shares_first() -> None:
    batch = {"input": jnp.asarray(LEVELS[:2]), "label": jnp.array([0, 1])}
    for name in ("mixup", "cutmix"):
        with pytest.raises(TypeError, match=rf"^{name} takes labels as shares of classes, got int32\[2\]$"):
            small(name)(batch, keys(2))
    label = shares_of_classes(batch["label"], 3)
    assert label.dtype == jnp.float32 and label.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert shares_of_classes(label, 3) is label


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0.0}, "alpha: expected a number from 0.01 to 100, got 0.0"),
        ({"probability": 1.5}, "probability: expected a number from 0 to 1, got 1.5"),
    ],
)
@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_settings_out_of_range(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        small(name, **settings)
    assert str(caught.value) == f"{name}.{message}"


# Random erasing

WHITE = np.full((COUNT, 20, 15, 1), 255, np.uint8)


def test_a_rectangle_of_the_said_area_is_erased() -> None:
    x, _ = mixed("random_erasing", WHITE, probability=1.0, fill="black", area=(0.1, 0.3), ratio=(0.5, 2.0))
    erased_BHW = x[..., 0] == 0
    assert set(np.unique(x)) == {0, 255}
    for erased_HW in erased_BHW:
        assert np.array_equal(erased_HW, np.outer(erased_HW.any(axis=1), erased_HW.any(axis=0)))
    share_B = erased_BHW.mean(axis=(1, 2))
    assert share_B.min() > 0.07 and share_B.max() < 0.34  # sides are rounded to whole pixels
    assert abs(share_B.mean() - 0.2) < 0.012
    high, wide = erased_BHW.any(axis=2).sum(axis=1), erased_BHW.any(axis=1).sum(axis=1)
    assert abs(np.log(high / wide).mean()) < 0.08
    top, left = erased_BHW.any(axis=2).argmax(axis=1), erased_BHW.any(axis=1).argmax(axis=1)
    assert abs((top - (20 - high) / 2).mean()) < 0.8 and abs((left - (15 - wide) / 2).mean()) < 0.8


def test_some_images_stay_whole_and_noise_has_every_level() -> None:
    x, _ = mixed("random_erasing", WHITE, probability=0.3, area=(1.0, 1.0), ratio=(4 / 3, 4 / 3))
    whole = (x == 255).all(axis=(1, 2, 3))
    assert abs(whole.sum() - 0.7 * COUNT) < 4 * np.sqrt(COUNT * 0.21)
    noise = x[~whole]
    assert len(np.unique(noise)) == 256 and abs(noise.mean() - 127.5) < 4 * 74 / np.sqrt(noise.size)


def test_noise_has_the_said_spread_and_stays_in_range() -> None:
    gray = np.full((8, 20, 15, 1), 128, np.uint8)
    x, _ = mixed("noise", gray, std=0.1)
    assert x.std() == pytest.approx(25.5, rel=0.05) and abs(x.mean() - 128) < 4 * 25.5 / np.sqrt(x.size)
    x, _ = mixed("noise", gray.astype(np.float32) / 127.5 - 1, std=0.1)
    assert x.std() == pytest.approx(0.2, rel=0.05)
    x, _ = mixed("noise", WHITE[:8], std=1.0)
    assert x.max() == 255 and 0.4 < (x == 255).mean() < 0.6

"""Glyphs, blobs and fractals: the same pixels everywhere, classes that differ, knobs that do what they say."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlx.data.builders import knobs
from tlx.data.builders.bits import NOISE, POSES, Draws
from tlx.data.builders.bumps import bumps
from tlx.data.builders.canvas import Ink, draw
from tlx.data.builders.ifs import fractals
from tlx.data.builders.presets import FAMILIES
from tlx.data.builders.strokes import strokes
from tlx.data.describe import describe, is_text
from tlx.data.pipeline import digest, load_arrays
from tlx.data.source import prepare, shared_examples

INKS: dict[str, Callable[[dict[str, Any], int], Ink]] = {"glyphs": strokes, "blobs": bumps, "fractals": fractals}
# Of 60 examples of train and 24 of test, the head of the digest.
GOLDEN = {
    "glyphs": {
        "default": "9850726ff512b5e5",
        "clean": "357187d2b4ff1641",
        "hard": "f62681075eaa6213",
        "blur": "79a9027cf55301e3",
        "stripes": "703fe28f1cf4e9b3",
        "inverted": "df28974c7771cc18",
        "new": "5ee63712884d0c4a",
        "relabelled": "0f4f4ec7a5173b04",
        "labelnoise": "59c2b65398d0d9a6",
        "randomlabels": "9975121291d3852f",
        "whole": "5802405bfc1f3102",
        "half_a": "6fe6ed254500a4b3",
        "half_b": "21b09c869f1c6652",
    },
    "blobs": {
        "default": "994d9d1c51389a2d",
        "clean": "d9f291b5fd710bff",
        "hard": "f527305c7e678ffb",
        "blur": "0aae3145a0674d3a",
        "stripes": "b26b4e1d241d9e60",
        "inverted": "5bfcf9ea6b902b22",
        "new": "2ada598d9927ab84",
        "relabelled": "5215df0ed4503439",
        "labelnoise": "f3e404219a16289d",
        "randomlabels": "3b1fb537dfc0902c",
        "whole": "5f834f11e9823748",
        "half_a": "c91312d226146d19",
        "half_b": "0897f564c54ecad8",
    },
    "fractals": {
        "default": "55d7f6b38b05622e",
        "clean": "b4969adbf706441c",
        "hard": "d2e7de56720d0374",
        "blur": "1bb611f017258141",
        "stripes": "27f0f204e43bb549",
        "inverted": "920d570ffeedaee8",
        "new": "1df1ff5a31891257",
        "relabelled": "e5592c67f7048a87",
        "labelnoise": "f82be10f4353b273",
        "randomlabels": "584656a04641830e",
        "whole": "c9e1645d1984bf04",
        "half_a": "003a768b03b43c05",
        "half_b": "40720ca16ba45345",
    },
}
# How often the nearest of 720 examples has the label of one of 360 others, in per cent; chance is 8, of `whole` 3.
NEAREST = {
    "glyphs": {"clean": 99, "default": 94, "new": 97, "stripes": 71, "blur": 67, "hard": 47, "whole": 69},
    "blobs": {"clean": 99, "default": 92, "new": 94, "stripes": 76, "blur": 83, "hard": 53, "whole": 69},
    "fractals": {"clean": 96, "default": 95, "new": 96, "stripes": 69, "blur": 67, "hard": 42, "whole": 67},
}


def made(name: str, split: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [N, H, W] and labels [N] of a data set, without a file."""
    variant = knobs.parse(name)
    assert variant
    images, labels = zip(*draw(INKS[variant.family](variant.settings, split), variant.settings, split), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def nearest(name: str) -> float:
    (seen_NHW, label_N), (new_MHW, truth_M) = (made(f"{name}?train=720&test=360", split) for split in (0, 1))
    seen_NP, new_MP = (image.reshape(len(image), -1).astype(float) for image in (seen_NHW, new_MHW))
    found_M = np.argmin(np.sum(seen_NP**2, axis=1) - 2 * new_MP @ seen_NP.T, axis=1)
    return float(np.mean(label_N[found_M] == truth_M))


def moments(image_NHW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean place of each image's light in pixels, and its variance: [N, 2] both, across and down."""
    light_NHW, place = image_NHW / image_NHW.sum(axis=(1, 2), keepdims=True), np.arange(image_NHW.shape[1])
    share = np.stack([light_NHW.sum(axis=1), light_NHW.sum(axis=2)], axis=1)
    mean_N2 = share @ place
    return mean_N2, share @ place**2 - mean_N2**2


def averages(name: str) -> np.ndarray:
    """The mean image of each class, less the mean of all, of length 1: [C, P]."""
    image_NHW, label_N = made(name)
    mean_CP = np.stack([image_NHW[label_N == c].mean(axis=0).ravel() for c in range(label_N.max() + 1)])
    mean_CP -= mean_CP.mean(axis=0)
    return np.asarray(mean_CP / np.linalg.norm(mean_CP, axis=1, keepdims=True))


@pytest.mark.parametrize("family", INKS)
def test_pixels_and_labels_are_the_same_everywhere(family: str) -> None:
    found = {}
    for preset in FAMILIES[family].presets:
        (train_NHW, train_N), (test_NHW, test_N) = (made(f"{family}/{preset}?train=60&test=24", k) for k in (0, 1))
        image_NHWC = np.concatenate([train_NHW, test_NHW])[..., None]
        found[preset] = digest(image_NHWC, np.concatenate([train_N, test_N]))[:16]
    assert found == GOLDEN[family]


@pytest.mark.parametrize("family", INKS)
def test_classes_can_be_told_apart_as_well_as_the_preset_says(family: str) -> None:
    found = {preset: round(100 * nearest(f"{family}/{preset}")) for preset in NEAREST[family]}
    assert found == NEAREST[family]
    assert nearest(f"{family}/inverted") == nearest(family)  # distances are the same
    assert nearest(f"{family}/labelnoise") == pytest.approx(0.6 * nearest(family), abs=0.06)
    assert nearest(f"{family}/randomlabels") == pytest.approx(1 / 12, abs=0.04)


def test_prepared_and_read_again(tmp_path: Path) -> None:
    name = "glyphs/blur?classes=5&train=60&test=24&side=20"
    assert describe(name, tmp_path, 0) == ((20, 20, 1), 5) and not is_text(name, tmp_path)
    assert not list(tmp_path.iterdir())
    prepare(name, tmp_path)
    prepare("fractals/half_b?train=40&test=20", tmp_path)
    for split, number in (("train", 0), ("test", 1)):
        arrays, (image_NHW, label_N) = load_arrays(name, split, tmp_path), made(name, number)
        assert (arrays.num_classes, arrays.name) == (5, name)
        assert np.array_equal(arrays.input_N[..., 0], image_NHW) and np.array_equal(arrays.label_N, label_N)
    half = load_arrays("fractals/half_b?test=20&train=40", "train[:20]", tmp_path)
    assert sorted(half.label_N) == list(range(20))
    assert shared_examples(name, "train[:30]", "train[20:]", tmp_path) == 10
    assert shared_examples(name, "train", "test", tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fractals", "glyphs"]


def test_names_of_the_same_settings_share_a_folder(tmp_path: Path) -> None:
    prepare("glyphs?classes=3&train=9&test=3&noise=0.10", tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    prepare("glyphs/clean?test=3&noise=0.1&train=9&classes=3", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files
    assert load_arrays("glyphs/default?noise=1e-1&train=9&test=3&classes=3", "train", tmp_path).num_classes == 3


def test_nothing_large_is_imported_for_names_and_nothing_is_fetched_for_images(tmp_path: Path) -> None:
    script = """
        import os, sys
        sys.addaudithook(lambda event, args: event.startswith("socket.") and os._exit(9))
        from tlx.data.builders import BUILDERS, knobs
        assert knobs.folder("glyphs?noise=0") == "glyphs/clean"
        assert not {"numpy", "jax", "tensorflow_datasets"} & set(sys.modules)
        from pathlib import Path
        from tlx.data.source import prepare
        prepare("blobs?train=12&test=12", Path(sys.argv[1]))
        assert "tensorflow" not in sys.modules
    """
    script = "\n".join(line.strip() for line in script.splitlines())
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("family", INKS)
def test_heads_are_balanced_and_larger_splits_go_on_from_smaller_ones(family: str) -> None:
    small_NHW, small_N = made(f"{family}?train=300&classes=7")
    large_NHW, large_N = made(f"{family}?train=700&classes=7")
    assert np.array_equal(large_NHW[:300], small_NHW) and np.array_equal(large_N[:300], small_N)
    assert all(sorted(large_N[i : i + 7]) == list(range(7)) for i in range(0, 700, 7))
    assert len(np.unique(large_N.reshape(100, 7), axis=0)) > 90


@pytest.mark.parametrize("family", INKS)
def test_splits_and_seeds_differ_in_examples_but_not_in_classes(family: str) -> None:
    one, other, new = (averages(f"{family}/clean?train=600{knob}") for knob in ("", "&seed=1", "&class_seed=1"))
    like = one @ other.T
    assert np.array_equal(np.argmax(like, axis=1), np.arange(12)) and np.mean(np.diag(like)) > 0.85
    assert np.mean(np.diag(one @ new.T)) < 0.3
    images = [made(name, split)[0] for name, split in ((family, 0), (family, 1), (f"{family}?seed=1", 0))]
    assert len(np.unique(np.concatenate(images), axis=0)) == 2400 + 1200 + 2400


@pytest.mark.parametrize("family", INKS)
def test_a_class_is_the_same_however_many_there_are(family: str) -> None:
    whole = averages(f"{family}/whole?train=2000&noise=0")
    a, b = (averages(f"{family}/{half}?train=1000&noise=0") for half in ("half_a", "half_b"))
    like = np.concatenate([a, b]) @ whole.T
    assert np.array_equal(np.argmax(like, axis=1), np.arange(40))


def test_difficulty_scales_what_varies() -> None:
    base = "glyphs/clean?classes=2&side=64&train=200"
    still_NHW, label_N = made(f"{base}&difficulty=0")
    spread = {}
    for difficulty in (0.0, 0.5, 1.0):
        mean_N2, _ = moments(made(f"{base}&difficulty={difficulty}")[0])
        spread[difficulty] = mean_N2 - moments(still_NHW)[0]
    # A shift of 0.2 is 6.4 pixels of 64: its standard deviation is 3.7, and that of the middle is little else.
    assert np.std(spread[1.0], axis=0) == pytest.approx([3.7, 3.7], rel=0.2)
    assert np.std(spread[0.5], axis=0) == pytest.approx(np.std(spread[1.0], axis=0) / 2, rel=0.1)
    assert np.corrcoef(spread[0.5].ravel(), spread[1.0].ravel())[0, 1] > 0.98
    for c in range(2):
        mean_N2, _ = moments(still_NHW[label_N == c])
        assert np.std(mean_N2) > 1 and np.all(
            np.std(mean_N2, axis=0) < 0.3
        )  # all in one place; strokes differ in width


@pytest.mark.parametrize("blur", [0.5, 1.0, 2.5])
def test_blur_widens_by_its_variance_and_keeps_the_light(blur: float) -> None:
    base = "glyphs/clean?classes=3&side=64&train=30&difficulty=0"
    sharp_NHW, soft_NHW = (made(name)[0].astype(float) for name in (base, f"{base}&blur={blur}"))
    assert soft_NHW.sum(axis=(1, 2)) == pytest.approx(sharp_NHW.sum(axis=(1, 2)), rel=0.02)
    grown_N2 = moments(soft_NHW)[1] - moments(sharp_NHW)[1]
    assert np.mean(grown_N2) == pytest.approx(blur**2, rel=0.1)


def test_stripes_are_added_to_columns_four_pixels_apart() -> None:
    plain_NHW, striped_NHW = (made(f"glyphs/clean?train=24{knob}")[0].astype(int) for knob in ("", "&stripes=0.4"))
    added_NHW = striped_NHW - plain_NHW
    empty_NHW = plain_NHW == 0
    stripe_NW = np.max(np.where(empty_NHW, added_NHW, 0), axis=1)
    assert np.all((added_NHW == stripe_NW[:, None]) | ~empty_NHW)
    assert added_NHW.min() == 0 and added_NHW.max() == round(0.4 * 255)
    known_NW = empty_NHW.any(axis=1)
    assert np.all((stripe_NW[:, 4:] == stripe_NW[:, :-4]) | ~known_NW[:, 4:] | ~known_NW[:, :-4])
    assert len(np.unique(stripe_NW, axis=0)) > 15  # places differ


def test_noise_is_added_to_each_pixel() -> None:
    plain_NHW, noisy_NHW = (made(f"blobs/clean?train=240{knob}")[0].astype(int) for knob in ("", "&noise=0.1"))
    middle = (plain_NHW > 100) & (plain_NHW < 155)  # so that nothing is cut off
    added = (noisy_NHW - plain_NHW)[middle] / 255
    assert np.mean(added) == pytest.approx(0, abs=0.003) and np.std(added) == pytest.approx(0.1, rel=0.03)
    assert np.mean(np.abs(added) < 0.1) == pytest.approx(0.683, abs=0.02)


@pytest.mark.parametrize("family", INKS)
def test_inversion_and_renaming_touch_nothing_else(family: str) -> None:
    image_NHW, label_N = made(f"{family}?train=120")
    inverted_NHW, same_N = made(f"{family}/inverted?train=120")
    assert np.array_equal(inverted_NHW, 255 - image_NHW) and np.array_equal(same_N, label_N)
    renamed_NHW, name_N = made(f"{family}/relabelled?train=120")
    assert np.array_equal(renamed_NHW, image_NHW)
    pairs = set(zip(label_N.tolist(), name_N.tolist(), strict=True))
    assert len(pairs) == 12 and len({name for _, name in pairs}) == 12 and sum(a != b for a, b in pairs) > 8


@pytest.mark.parametrize(("share", "wrong"), [(0.25, 125), (0.5, 250), (0.333, 166), (1.0, 500)])
def test_the_share_of_wrong_labels_is_exact(share: float, wrong: int) -> None:
    image_NHW, label_N = made("glyphs?train=500")
    noisy_NHW, noisy_N = made(f"glyphs?train=500&label_noise={share}")
    assert np.array_equal(noisy_NHW, image_NHW)
    assert np.sum(noisy_N != label_N) == wrong and set(noisy_N) == set(range(12))
    _, some_N = made("glyphs?train=500&label_noise=0.1")
    assert np.array_equal(some_N[some_N != label_N], noisy_N[some_N != label_N])  # wrong ones stay wrong
    assert np.array_equal(made(f"glyphs?test=500&label_noise={share}", 1)[1], made("glyphs?test=500", 1)[1])


def test_shapes_have_as_many_parts_as_asked() -> None:
    ink = {n: np.mean(made(f"glyphs/clean?train=120&segments={n}")[0]) for n in (1, 2, 4, 8)}
    assert sorted(ink, key=ink.__getitem__) == [1, 2, 4, 8]
    light = {n: np.mean(made(f"blobs/clean?train=120&bumps={n}")[0]) for n in (1, 3, 9)}
    assert sorted(light, key=light.__getitem__) == [1, 3, 9]
    assert made("fractals?train=1&maps=2&side=8")[0].shape == (1, 8, 8)
    assert made("blobs?train=3&side=33&classes=2")[0].shape == (3, 33, 33)


def test_random_numbers_do_not_depend_on_how_they_are_asked_for() -> None:
    whole, parts = Draws(3, 1, NOISE), Draws(3, 1, NOISE)
    assert np.array_equal(whole.bell(10, 7), np.concatenate([parts.bell(4, 7), parts.bell(6, 7)]))
    assert not np.array_equal(Draws(3, 1, NOISE).words(4), Draws(3, 1, POSES).words(4))
    bell = Draws(0, 0, NOISE).bell(100_000)
    assert (np.mean(bell), np.std(bell), np.mean(bell**3)) == pytest.approx((0, 1, 0), abs=0.02)
    assert np.mean(bell**4) == pytest.approx(3, abs=0.2)
    uniform = Draws(0, 0, NOISE).uniform(-2, 6, 100_000)
    assert (uniform.min(), uniform.max(), uniform.mean()) == pytest.approx((-2, 6, 2), abs=0.03)
    below = Draws(0, 0, NOISE).below(5, 10_000)
    assert np.bincount(below) == pytest.approx(2000, abs=150)

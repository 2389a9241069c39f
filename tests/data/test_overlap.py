"""Leakage: planted copies are found and counted, however they were changed; strangers are not."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tlx.data.overlap import Pair, Prints, image_overlap, image_prints, text_overlap
from tlx.data.phash import correlations
from tlx.data.pipeline import load_arrays
from tlx.errors import TlxError

OURS = (
    "The film was lovely, and the cast is bright!",
    "I would not buy this phone again, ever.",
    "Dull.",
    "So it goes, on and on and on, for two hours.",
    "!!!",
)
THEIRS = (
    "the film was lovely and the cast is bright",
    "I would not buy this camera again, ever",
    "dull",
    "An essay about nothing in particular",
    "DULL!",
    "...",
)


@pytest.fixture(scope="module")
def digits(data_dir: Path) -> np.ndarray:
    return load_arrays("mnist5k", "train[:300]", data_dir).input_N


@pytest.fixture(scope="module")
def others(data_dir: Path) -> np.ndarray:
    return load_arrays("digits", "train[:600]", data_dir).input_N


def jpeg(image_HWC: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image_HWC[..., 0]).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))[..., None]


def test_planted_digits_are_found_and_strangers_are_not(digits: np.ndarray, others: np.ndarray) -> None:
    planted = np.concatenate([digits[10:15], (digits[20:25] * 0.8).astype(np.uint8), [jpeg(digits[30])]])
    ours, theirs = image_prints([digits]), image_prints([others[:300], planted, others[300:]])
    found = image_overlap(ours, theirs)
    assert found.sizes == (300, 611)
    assert (found.exact.pairs, found.exact.ours, found.exact.theirs) == (5, 5, 5)
    assert found.exact.closest == tuple(Pair(10 + i, 300 + i, 0.0) for i in range(5))
    expected = {(10 + i, 300 + i) for i in range(5)} | {(20 + i, 305 + i) for i in range(5)} | {(30, 310)}
    # One more digit of the same hand looks much like one of those planted, and none of the other set does.
    assert {(pair.ours, pair.theirs) for pair in found.near.closest} == expected | {(82, 302)}
    assert (found.near.pairs, found.near.ours, found.near.theirs) == (12, 12, 11)
    assert all(pair.distance <= 4 for pair in found.near.closest[:11])


def test_copies_of_a_copy_are_all_counted_and_few_are_listed(digits: np.ndarray) -> None:
    ours = image_prints([digits[:2], np.repeat(digits[:1], 40, axis=0)])
    theirs = image_prints([np.repeat(digits[:1], 50, axis=0)])
    found = image_overlap(ours, theirs, listed=3)
    for part in (found.exact, found.near):
        assert (part.pairs, part.ours, part.theirs) == (41 * 50, 41, 50)
        assert part.closest == (Pair(0, 0, 0.0), Pair(0, 1, 0.0), Pair(0, 2, 0.0))


def test_size_and_channels_part_the_equal_but_not_the_near(digits: np.ndarray) -> None:
    large = np.stack([np.asarray(Image.fromarray(image[..., 0]).resize((56, 56))) for image in digits[:20]])
    colours = np.repeat(large[..., None], 3, axis=-1)
    found = image_overlap(image_prints([digits[:20]]), image_prints([colours]))
    assert found.exact.pairs == 0
    assert {(i, i) for i in range(20)} <= {(pair.ours, pair.theirs) for pair in found.near.closest}


def test_nothing_and_nobody(digits: np.ndarray) -> None:
    found = image_overlap(image_prints([]), image_prints([digits]))
    assert (found.sizes, found.exact.pairs, found.near.pairs) == ((0, 300), 0, 0)
    assert text_overlap([], OURS).near.pairs == 0


bits = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3)), max_size=12)


@settings(max_examples=80, deadline=None)
@given(ours=bits, theirs=bits, distance=st.integers(0, 3), likeness=st.sampled_from([-1.0, 0.5, 0.9]))
def test_near_images_are_those_found_by_comparing_all(
    ours: list[tuple[int, int]], theirs: list[tuple[int, int]], distance: int, likeness: float
) -> None:
    kinds = np.array([[0, 0, 0], [0, 0, 9], [1, 0, 9], [9, 0, 0]], np.uint8)

    def prints(found: list[tuple[int, int]]) -> Prints:
        hashes = np.array([number for number, _ in found], np.uint64)
        small = kinds[[kind for _, kind in found]].reshape(len(found), 3)
        return Prints(tuple(repr(pair).encode() for pair in found), hashes, small)

    left, right = prints(ours), prints(theirs)
    expected = sorted(
        (float((x[0] ^ y[0]).bit_count()), i, j)
        for i, x in enumerate(ours)
        for j, y in enumerate(theirs)
        if (x[0] ^ y[0]).bit_count() <= distance
        and correlations(left.thumbnail[i : i + 1], right.thumbnail[j : j + 1])[0] >= likeness
    )
    found = image_overlap(left, right, distance, likeness, listed=1000).near
    assert [(pair.distance, pair.ours, pair.theirs) for pair in found.closest] == expected
    assert found.pairs == len(expected)
    assert (found.ours, found.theirs) == (len({i for _, i, _ in expected}), len({j for _, _, j in expected}))


def test_texts_with_other_case_punctuation_or_a_changed_word() -> None:
    found = text_overlap(OURS, THEIRS)
    assert [(pair.ours, pair.theirs) for pair in found.exact.closest] == [(0, 0), (2, 2), (2, 4)]
    assert (found.exact.pairs, found.exact.ours, found.exact.theirs) == (3, 2, 3)
    # Seven pairs of words in either, five of them common to both: 5 / 9 alike.
    assert [(pair.ours, pair.theirs) for pair in text_overlap(OURS, THEIRS, 0.45).near.closest] == [
        (0, 0),
        (2, 2),
        (2, 4),
        (1, 1),
    ]
    assert text_overlap(OURS, THEIRS, 0.45).near.closest[3].distance == pytest.approx(4 / 9)
    assert found.near.pairs == 3


def test_a_word_of_ten_may_differ_at_the_usual_distance() -> None:
    sentence = "one two three four five six seven eight nine ten"
    (pair,) = text_overlap([sentence], [sentence.replace("five", "FIFE")]).near.closest
    assert pair.distance == pytest.approx(1 - 7 / 11)


@settings(max_examples=80, deadline=None)
@given(
    ours=st.lists(st.lists(st.sampled_from("abc"), max_size=5).map(" ".join), max_size=8),
    theirs=st.lists(st.lists(st.sampled_from("abc"), max_size=5).map(" ".join), max_size=8),
    distance=st.sampled_from([0.0, 0.25, 0.4, 0.5, 2 / 3]),
)
def test_near_texts_are_those_found_by_comparing_all(ours: list[str], theirs: list[str], distance: float) -> None:
    def pairs(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[i : i + 2]) for i in range(max(1, len(words) - 1))} if words else set()

    expected = set()
    for i, x in enumerate(ours):
        for j, y in enumerate(theirs):
            union = pairs(x) | pairs(y)
            if pairs(x) and pairs(y) and 1 - len(pairs(x) & pairs(y)) / len(union) <= distance + 1e-9:
                expected.add((i, j))
    found = text_overlap(ours, theirs, distance, listed=1000)
    assert {(pair.ours, pair.theirs) for pair in found.near.closest} == expected
    assert found.near.pairs == len(expected)
    assert found.exact.pairs == sum(x == y != "" for x in ours for y in theirs)


def test_plain_values(digits: np.ndarray) -> None:
    found = image_overlap(image_prints([digits[:2]]), image_prints([digits[1:2]]), distance=0)
    assert found.as_dict() == {
        "sizes": [2, 1],
        "distance": 0,
        "exact": {"pairs": 1, "ours": 1, "theirs": 1, "closest": [[1, 0, 0.0]]},
        "near": {"pairs": 1, "ours": 1, "theirs": 1, "closest": [[1, 0, 0.0]]},
    }


def test_distances_out_of_range(digits: np.ndarray) -> None:
    prints = image_prints([digits[:1]])
    with pytest.raises(TlxError, match="^distance 12: expected between 0 and 11 of 64 bits$"):
        image_overlap(prints, prints, distance=12)
    with pytest.raises(TlxError, match="^distance 1: expected from 0 to below 1$"):
        text_overlap(OURS, THEIRS, distance=1.0)

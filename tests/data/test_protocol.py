"""Labels per class, folds and class splits: nested, balanced, complete, and what cannot be had is named."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.data.order import subset
from tlx.data.pipeline import Arrays, digest
from tlx.data.protocol import class_halves, folds, keep_classes, named_classes, subset_per_class
from tlx.errors import TlxError

UNEVEN = np.repeat([0, 1, 2], [50, 30, 4])
NAMES = ("cat", "dog", "car", "ship", "lamp")


@pytest.fixture
def arrays() -> Arrays:
    input_N = np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1)
    label_N = np.array([0, 3, 1, 3, 4, 0], np.int32)
    return Arrays("pets", "train", input_N, label_N, 5, digest(input_N, label_N))


@pytest.mark.parametrize("per_class", [1, 2, 4])
def test_every_class_has_as_many(per_class: int) -> None:
    chosen = subset_per_class(UNEVEN, per_class, 3, seed=1)
    assert chosen.dtype == np.int32
    assert np.bincount(UNEVEN[chosen]).tolist() == [per_class] * 3
    assert len(set(chosen.tolist())) == 3 * per_class


def test_more_per_class_keep_those_chosen_with_fewer_and_agree_with_the_total() -> None:
    four = subset_per_class(UNEVEN, 4, 3, seed=1)
    assert np.array_equal(subset_per_class(UNEVEN, 2, 3, seed=1), four[:6])
    assert np.array_equal(subset(UNEVEN, 12, seed=1), four)
    assert not np.array_equal(subset_per_class(UNEVEN, 4, 3, seed=2), four)


@pytest.mark.parametrize(
    ("per_class", "classes", "message"),
    [
        (5, 3, "5 labels per class: class 2 has 4 examples"),
        (1, 4, "1 labels per class: class 3 has 0 examples"),
        (0, 3, "0 labels per class: expected at least 1"),
    ],
)
def test_a_class_with_too_few_examples_is_named(per_class: int, classes: int, message: str) -> None:
    with pytest.raises(TlxError) as caught:
        subset_per_class(UNEVEN, per_class, classes, seed=0)
    assert str(caught.value) == message


@settings(max_examples=50, deadline=None)
@given(labels=st.lists(st.integers(0, 4), min_size=4, max_size=60), k=st.integers(2, 4), seed=st.integers(0, 2**64 - 1))
def test_folds_cover_and_are_even(labels: list[int], k: int, seed: int) -> None:
    label_N = np.array(labels)
    parts = folds(label_N, k, seed)
    held_out = np.concatenate([out for _, out in parts])
    assert sorted(held_out.tolist()) == list(range(len(labels)))
    for kept, out in parts:
        assert sorted([*kept.tolist(), *out.tolist()]) == list(range(len(labels)))
    counts = np.array([np.bincount(label_N[out], minlength=5) for _, out in parts])
    assert np.all(np.ptp(counts, axis=0) <= 1)
    assert np.ptp(counts.sum(axis=1)) <= 1


def test_folds_are_pinned() -> None:
    assert [out.tolist() for _, out in folds(np.array([0, 0, 0, 1, 1, 1, 1]), 3, seed=0)] == [[5, 2, 6], [4, 0], [3, 1]]


@pytest.mark.parametrize("k", [1, 85])
def test_impossible_folds(k: int) -> None:
    with pytest.raises(TlxError, match=f"^{k} folds: expected between 2 and 84, the examples there are$"):
        folds(UNEVEN, k, seed=0)


@pytest.mark.parametrize("classes", [4, 5, 100, 1000])
def test_halves_are_disjoint_and_cover(classes: int) -> None:
    a, b = class_halves(classes, seed=0)
    assert (len(a), len(b)) == (-(-classes // 2), classes // 2)
    assert sorted([*a.tolist(), *b.tolist()]) == list(range(classes))
    assert a.tolist() == sorted(a.tolist())
    assert a.dtype == b.dtype == np.int32


def test_seeds_halve_differently() -> None:
    assert len({class_halves(10, seed)[0].tobytes() for seed in range(20)}) > 15
    assert class_halves(10, seed=0)[0].tolist() == [1, 4, 5, 6, 8]


def test_too_few_classes_to_halve() -> None:
    with pytest.raises(TlxError, match="^halves of 3 classes: expected at least 4, so that either half has two$"):
        class_halves(3, seed=0)


def test_a_semantic_split() -> None:
    made, rest = named_classes(("ship", "car", "lamp"), NAMES)
    assert (made.tolist(), rest.tolist()) == ([2, 3, 4], [0, 1])


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (("car", "sihp"), "class 'sihp': there is no such class (did you mean 'ship'?)"),
        (("car", "car"), "class 'car' stands twice among the chosen classes"),
        (("car",), "1 chosen classes of 5: expected at least two in either part"),
        ((), "0 chosen classes of 5: expected at least two in either part"),
        (NAMES[:4], "1 other classes of 5: expected at least two in either part"),
    ],
)
def test_a_wrong_semantic_split(chosen: tuple[str, ...], message: str) -> None:
    with pytest.raises(TlxError) as caught:
        named_classes(chosen, NAMES)
    assert str(caught.value) == message


def test_classes_are_numbered_anew(arrays: Arrays) -> None:
    kept = keep_classes(arrays, np.array([3, 0]))
    assert (kept.label_N.tolist(), kept.num_classes) == ([1, 0, 0, 1], 2)
    assert np.array_equal(kept.input_N, arrays.input_N[[0, 1, 3, 5]])
    assert kept.digest == digest(kept.input_N, kept.label_N) != arrays.digest
    assert (kept.name, kept.split, kept.label_N.dtype) == ("pets", "train", np.int32)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0], "classes [0]: expected at least two, each once"),
        ([0, 0], "classes [0, 0]: expected at least two, each once"),
        ([0, 5], "class 5: expected between 0 and 4"),
        ([0, 2], "class 2: split 'train' of dataset pets has no examples of it"),
    ],
)
def test_classes_that_cannot_be_kept(arrays: Arrays, classes: list[int], message: str) -> None:
    with pytest.raises(TlxError) as caught:
        keep_classes(arrays, np.array(classes))
    assert str(caught.value) == message


def test_scores_are_no_classes(arrays: Arrays) -> None:
    scores = replace(arrays, label_N=np.linspace(0, 1, 6, dtype=np.float32), num_classes=0)
    with pytest.raises(TlxError, match="^dataset pets has scores in place of classes, of which none can be kept$"):
        keep_classes(scores, np.array([0, 1]))

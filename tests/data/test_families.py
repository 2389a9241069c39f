"""Sentences that belong together, and splits that keep them so."""

import numpy as np
import pytest

from tlx.data.builders.families import families, split


@pytest.mark.parametrize(
    ("ids", "texts", "expected"),
    [
        # One document.
        (["1_1", "1_2", "2_1", "11_1"], ["a b", "c d", "e f", "g h"], [0, 0, 1, 2]),
        # The same words, wherever they are; not the same words in another order.
        (["1", "2", "3", "4", "5"], ["Oh no.", "it rains", "OH NO!!!", "it pours", "no oh"], [0, 1, 0, 2, 3]),
        # A neighbour with a word more; the same far away is another sentence.
        (["1", "2", "3", "4"], ["so good", "so very good", "bad", "so very very good"], [0, 0, 1, 2]),
        # Documents that share a sentence, and through it all of theirs.
        (["1_1", "1_2", "2_1", "3_1", "3_2"], ["i", "enjoy!", "u", "e", "Enjoy"], [0, 0, 1, 0, 0]),
        # No words at all: equal only if equal, and nobody's neighbour.
        (["1", "2", "3", "4"], [":)", "x", ":(", ":)"], [0, 1, 2, 0]),
    ],
)
def test_families_by_hand(ids: list[str], texts: list[str], expected: list[int]) -> None:
    assert families(ids, texts).tolist() == expected


def test_a_split_parts_no_family_and_keeps_proportions() -> None:
    rng = np.random.default_rng(0)
    family_N = rng.permutation(np.repeat(np.arange(300), rng.integers(1, 6, 300)))
    label_N = (rng.random(300) < 0.3).astype(int)[family_N]
    train, test = split(label_N, family_N, 0.2, seed=0)
    assert sorted([*train, *test]) == list(range(len(label_N)))
    assert not set(family_N[train]) & set(family_N[test])
    assert len(set(family_N[test])) == 60
    assert abs(label_N[train].mean() - label_N[test].mean()) < 0.05
    for part in (train, test):
        # Side by side: a family's number changes as often as there are families.
        assert np.count_nonzero(np.diff(family_N[part])) == len(set(family_N[part])) - 1
        assert not np.array_equal(np.sort(family_N[part]), family_N[part])


def test_single_sentences_are_stratified_to_one_example() -> None:
    label_N = np.array([0] * 70 + [1] * 30)
    train, test = split(label_N, np.arange(100), 0.2, seed=3)
    assert (len(train), len(test)) == (80, 20)
    assert abs(int(label_N[test].sum()) - 6) <= 1
    again = split(label_N, np.arange(100), 0.2, seed=3)
    assert np.array_equal(train, again[0]) and np.array_equal(test, again[1])
    assert not np.array_equal(test, split(label_N, np.arange(100), 0.2, seed=4)[1])

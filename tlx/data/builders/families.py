"""Sentences that belong together: a split keeps each family on one side."""

import re
from collections.abc import Hashable, Sequence

import numpy as np

from tlx.data.order import stratified_split

# Families of several sentences are held out in proportion to their share of positives, to the nearest quarter.
_QUARTERS = 4


def families(id_N: Sequence[str], text_N: Sequence[str]) -> np.ndarray:
    """Which sentences are of one document, or variants of one sentence.

    Two are variants if their words are the same in the same order, whatever the case and the punctuation, or if they
    are neighbours and the words of one are among the other's: some were made by adding a "very" to the one before.

    Args:
      id_N: `DOCUMENT_SENTENCE`, or any id without a `_`.
      text_N: the sentences.

    Returns:
      int [N], a family's number from 0 for each sentence.
    """
    parent = list(range(len(id_N)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    def join(i: int, j: int) -> None:
        low, high = sorted((root(i), root(j)))
        parent[high] = low

    words_N = [tuple(re.findall(r"\w+", text.casefold())) for text in text_N]
    first: dict[Hashable, int] = {}
    for i, (name, words, text) in enumerate(zip(id_N, words_N, text_N, strict=True)):
        document, part, _ = name.rpartition("_")
        for key in (("document", document) if part else None, ("text", words or text)):
            if key is not None:
                join(i, first.setdefault(key, i))
        if i and words and words_N[i - 1]:
            ours, others = set(words), set(words_N[i - 1])
            if ours <= others or others <= ours:
                join(i, i - 1)
    return np.unique([root(i) for i in range(len(parent))], return_inverse=True)[1]


def split(label_N: np.ndarray, family_N: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split examples in two without parting a family, the classes in about the same proportion.

    Args:
      label_N: 0 or 1.
      family_N: from `families`.
      share: of the families that make up the second part.
      seed: of the split.

    Returns:
      int [n] and [N - n], positions; families are in shuffled order and their members side by side, so that a slice
      of a part separates the members of one family at most.
    """
    positive_F = np.bincount(family_N, weights=label_N) / np.bincount(family_N)
    stratum_F = np.rint(positive_F * _QUARTERS).astype(int)
    rest, held_out = stratified_split(stratum_F, round(share * len(stratum_F)), seed)
    return _members(family_N, rest), _members(family_N, held_out)


def _members(family_N: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    rank_F = np.full(family_N.max() + 1, -1)
    rank_F[chosen] = np.arange(len(chosen))
    rank_N = rank_F[family_N]
    order = np.argsort(rank_N, kind="stable")
    return order[rank_N[order] >= 0]

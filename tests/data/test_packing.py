"""Packing: every token once, rows of one length, and which sequence a token is of."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.data.packing import Packed, concatenated, first_fit
from tlx.errors import TlxError

corpora = st.lists(st.lists(st.integers(5, 99), max_size=9), min_size=1, max_size=12)
lengths = st.integers(1, 8)


def test_concatenated_rows() -> None:
    packed = concatenated([[5, 6, 7], [8], [], [9, 10, 11, 12]], 4, separator=1)
    assert packed.id_NT.tolist() == [[5, 6, 7, 1], [8, 1, 1, 9], [10, 11, 12, 1]]
    assert packed.segment_NT.tolist() == [[1, 1, 1, 1], [1, 1, 2, 3], [1, 1, 1, 1]]
    assert packed.position_NT.tolist() == [[0, 1, 2, 3], [0, 1, 0, 0], [0, 1, 2, 3]]
    assert {array.dtype for array in (packed.id_NT, packed.segment_NT, packed.position_NT)} == {np.dtype(np.int32)}


def test_without_a_separator_and_with_a_tail() -> None:
    packed = concatenated([[5, 6], [], [7, 8, 9]], 2)
    assert packed.id_NT.tolist() == [[5, 6], [7, 8]]
    assert packed.segment_NT.tolist() == [[1, 1], [1, 1]] and packed.position_NT.tolist() == [[0, 1], [0, 1]]


@settings(max_examples=60, deadline=None)
@given(corpus=corpora, length=lengths, separator=st.sampled_from([None, 1]))
def test_nothing_but_the_tail_is_dropped(corpus: list[list[int]], length: int, separator: int | None) -> None:
    stream = [token for sequence in corpus for token in [*sequence, *([] if separator is None else [separator])]]
    if len(stream) < length:
        with pytest.raises(TlxError, match=f"^{len(stream)} tokens do not fill a row of {length}; "):
            concatenated(corpus, length, separator)
        return
    packed = concatenated(corpus, length, separator)
    assert packed.id_NT.ravel().tolist() == stream[: len(stream) // length * length]
    assert packed.id_NT.shape[1] == length and len(stream) - packed.id_NT.size < length


def test_first_fit_rows() -> None:
    packed = first_fit([[5, 6, 7], [8, 9], [10], [11, 12], [13]], 4, pad=0)
    assert packed.id_NT.tolist() == [[5, 6, 7, 10], [8, 9, 11, 12], [13, 0, 0, 0]]
    assert packed.segment_NT.tolist() == [[1, 1, 1, 2], [1, 1, 2, 2], [1, 0, 0, 0]]
    assert packed.position_NT.tolist() == [[0, 1, 2, 0], [0, 1, 0, 1], [0, 0, 0, 0]]


def test_what_is_longer_than_a_row_is_cut() -> None:
    assert first_fit([[1, 2, 3, 4, 5], [6]], 2, pad=0).id_NT.tolist() == [[1, 2], [3, 4], [5, 6]]


def sequences_of(packed: Packed) -> list[tuple[int, ...]]:
    return sorted(
        tuple(id_T[segment_T == segment].tolist())
        for id_T, segment_T in zip(packed.id_NT, packed.segment_NT, strict=True)
        for segment in range(1, segment_T.max() + 1)
    )


@settings(max_examples=60, deadline=None)
@given(corpus=corpora, length=lengths)
def test_first_fit_is_the_plain_one_and_holds_each_sequence_whole(corpus: list[list[int]], length: int) -> None:
    pieces = [tuple(sequence[i : i + length]) for sequence in corpus for i in range(0, len(sequence), length)]
    if not pieces:
        with pytest.raises(TlxError, match="^there are no tokens to pack$"):
            first_fit(corpus, length, pad=0)
        return
    by_hand: list[list[int]] = []
    for piece in pieces:
        row = next((row for row in by_hand if len(row) + len(piece) <= length), None)
        if row is None:
            by_hand.append(row := [])
        row.extend(piece)
    packed = first_fit(corpus, length, pad=0)
    assert packed.id_NT.tolist() == [row + [0] * (length - len(row)) for row in by_hand]
    assert sequences_of(packed) == sorted(pieces)
    assert np.array_equal(packed.id_NT == 0, packed.segment_NT == 0)


def test_many_sequences_take_no_time_that_grows_with_their_square() -> None:
    rng = np.random.default_rng(0)
    corpus = [[5] * int(size) for size in rng.integers(1, 33, 10_000)]
    start = time.process_time()
    packed = first_fit(corpus, 64, pad=0)
    assert time.process_time() - start < 5
    assert (packed.id_NT != 0).mean() > 0.98

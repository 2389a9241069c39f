"""Near hashes: all of them, each once, whichever bits differ; and none beyond the distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.data.hamming import MOST, near_pairs
from tlx.errors import TlxError

hashes = st.lists(st.integers(0, 2**64 - 1), max_size=12)
# Numbers of few bits, so that many pairs are near.
sparse = st.lists(
    st.lists(st.integers(0, 63), max_size=5).map(lambda places: sum({1 << p for p in places})), max_size=12
)


def found(ours: list[int], theirs: list[int], most: int) -> list[tuple[int, int, int]]:
    parts = list(near_pairs(np.array(ours, np.uint64), np.array(theirs, np.uint64), most))
    return sorted((int(a), int(b), int(d)) for part in parts for a, b, d in zip(*part, strict=True))


@settings(max_examples=150, deadline=None)
@given(ours=st.one_of(hashes, sparse), theirs=st.one_of(hashes, sparse), most=st.integers(0, MOST))
def test_the_same_pairs_as_by_comparing_all(ours: list[int], theirs: list[int], most: int) -> None:
    every = [(a, b, (x ^ y).bit_count()) for a, x in enumerate(ours) for b, y in enumerate(theirs)]
    assert found(ours, theirs, most) == [pair for pair in every if pair[2] <= most]


@pytest.mark.parametrize("most", range(MOST + 1))
def test_planted_pairs_among_many(most: int) -> None:
    rng = np.random.default_rng(most)
    ours = rng.integers(0, 2**64, 2000, dtype=np.uint64)
    theirs = rng.integers(0, 2**64, 2000, dtype=np.uint64)
    for i in range(50):
        flips = sum(1 << int(place) for place in rng.choice(64, most, replace=False))
        theirs[i] = ours[1000 + i] ^ np.uint64(flips)
    pairs = found(ours.tolist(), theirs.tolist(), most)
    assert {(1000 + i, i, most) for i in range(50)} <= set(pairs)
    assert len(pairs) == len({pair[:2] for pair in pairs})


@pytest.mark.parametrize("most", [-1, 12])
def test_distances_that_are_not_looked_for(most: int) -> None:
    with pytest.raises(TlxError, match=f"^distance {most}: expected between 0 and 11 of 64 bits$"):
        next(near_pairs(np.zeros(1, np.uint64), np.zeros(1, np.uint64), most))

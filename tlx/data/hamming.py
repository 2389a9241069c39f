"""All pairs of 64-bit hashes that differ in few bits, without comparing all pairs."""

import itertools
from collections.abc import Iterator

import numpy as np

from tlx.errors import TlxError

_BANDS, _BAND_BITS = 4, 16
# Of a pair within this distance some band differs in at most 2 bits, of which there are 137 kinds.
MOST = 3 * _BANDS - 1
_AT_ONCE = 2**20  # pairs compared at once


def near_pairs(
    hash_A: np.ndarray, hash_B: np.ndarray, most: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of hashes within a Hamming distance, each once, none left out.

    The hashes are cut into 4 bands of 16 bits. Of a pair within distance d, one band at least differs in no more than
    d // 4 bits, so it is enough to look up every band with every change of so few bits.

    Args:
      hash_A: uint64; costs least where they are distinct.
      hash_B: uint64.
      most: largest distance, 0 to 11 bits.

    Yields:
      Positions in A, positions in B and distances, many pairs at a time, in no order.

    Raises:
      TlxError: the distance is out of range.

    Source: Manku, Jain and Das Sarma (2007), section 3, tables of permuted hashes; ours also changes bits.
    """
    if not 0 <= most <= MOST:
        raise TlxError(f"distance {most}: expected between 0 and {MOST} of 64 bits")
    radius = most // _BANDS
    shifts = [np.uint64(band * _BAND_BITS) for band in range(_BANDS)]
    for band, shift in enumerate(shifts):
        key_A, key_B = _band(hash_A, shift), _band(hash_B, shift)
        order = np.argsort(key_B, kind="stable")
        sorted_B = key_B[order]
        for change in _changes(radius):
            wanted = key_A ^ change
            first, last = (np.searchsorted(sorted_B, wanted, side=side) for side in ("left", "right"))
            for a, place in _expand(first, last - first):
                b = order[place]
                differing = hash_A[a] ^ hash_B[b]
                distance = np.bitwise_count(differing)
                keep = distance <= most
                # A pair that an earlier band has found was given out there.
                for earlier in shifts[:band]:
                    keep &= np.bitwise_count(_band(differing, earlier)) > radius
                if keep.any():
                    yield a[keep], b[keep], distance[keep].astype(np.int32)


def _band(hash_N: np.ndarray, shift: np.uint64) -> np.ndarray:
    return (hash_N >> shift).astype(np.uint16)


def _changes(radius: int) -> Iterator[np.uint16]:
    """Every 16-bit number with at most `radius` ones."""
    for ones in range(radius + 1):
        for places in itertools.combinations(range(_BAND_BITS), ones):
            yield np.uint16(sum(1 << place for place in places))


def _expand(first_A: np.ndarray, count_A: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All (a, place) with place in [first, first + count) of a, not too many at once."""
    some = np.flatnonzero(count_A)
    done = np.cumsum(count_A[some])
    total = int(done[-1]) if len(done) else 0
    for begin in range(0, total, _AT_ONCE):
        number = np.arange(begin, min(begin + _AT_ONCE, total))
        row = np.searchsorted(done, number, side="right")
        a = some[row]
        yield a, first_A[a] + number - (done[row] - count_A[a])

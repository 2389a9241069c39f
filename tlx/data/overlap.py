"""Leakage: examples of one set that are in another, too, as they are or nearly so."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlx.data import hamming, shingles
from tlx.data.phash import correlations, image_hashes, thumbnails
from tlx.errors import TlxError

# See `image_overlap` and `text_overlap`.
IMAGE_DISTANCE, LIKENESS = 8, 0.95
TEXT_DISTANCE = 0.4
LISTED = 100
_AT_ONCE = 4096  # pairs of thumbnails
_NONE = np.empty((0, 1, 1, 1), np.uint8)


@dataclass(frozen=True)
class Pair:
    """Two examples that are alike.

    Args:
      ours: position in the first set.
      theirs: position in the second set.
      distance: bits of images, 1 - Jaccard similarity of texts; 0 for equal ones.
    """

    ours: int
    theirs: int
    distance: float


@dataclass(frozen=True)
class Found:
    """All pairs of one kind.

    Args:
      pairs: how many there are.
      ours: examples of the first set that are in a pair.
      theirs: examples of the second set that are in a pair.
      closest: the closest pairs, by distance and then by position; not all where there are many.
    """

    pairs: int
    ours: int
    theirs: int
    closest: tuple[Pair, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        listed = [[pair.ours, pair.theirs, pair.distance] for pair in self.closest]
        return {"pairs": self.pairs, "ours": self.ours, "theirs": self.theirs, "closest": listed}


@dataclass(frozen=True)
class Overlap:
    """What two sets of examples have in common.

    Args:
      sizes: of the first set and of the second.
      exact: equal pixels or equal words.
      near: within a distance, the equal ones among them.
      distance: the largest that counts as near.
    """

    sizes: tuple[int, int]
    exact: Found
    near: Found
    distance: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        exact, near = self.exact.as_dict(), self.near.as_dict()
        return {"sizes": list(self.sizes), "distance": self.distance, "exact": exact, "near": near}


@dataclass(frozen=True)
class Prints:
    """What is kept of images to compare them: 280 bytes each, so that sets need not fit in memory.

    Args:
      exact: 128 bits of a digest of shape and pixels, one an image.
      near: uint64 [N], from `phash.image_hashes`.
      thumbnail: uint8 [N, P], from `phash.thumbnails`.
    """

    exact: tuple[bytes, ...]
    near: np.ndarray
    thumbnail: np.ndarray


def image_prints(batches: Iterable[np.ndarray]) -> Prints:
    """The fingerprints of images.

    Args:
      batches: uint8 [B, H, W, C] each, of one size within a batch.
    """
    exact: list[bytes] = []
    near, small = [image_hashes(_NONE)], [thumbnails(_NONE)]
    for image_BHWC in batches:
        shape = repr(image_BHWC.shape[1:]).encode()
        exact += (hashlib.blake2b(shape + image.tobytes(), digest_size=16).digest() for image in image_BHWC)
        near.append(image_hashes(image_BHWC))
        small.append(thumbnails(image_BHWC))
    return Prints(tuple(exact), np.concatenate(near), np.concatenate(small))


def image_overlap(
    ours: Prints, theirs: Prints, distance: int = IMAGE_DISTANCE, likeness: float = LIKENESS, listed: int = LISTED
) -> Overlap:
    """Images of two sets that are equal or look alike.

    Two look alike if their hashes differ in few bits and their thumbnails correlate. Re-encoding, scaling, brightness
    and cut edges of a few percent leave both so. Small drawings on an even ground may look alike without one being a
    copy of the other: look at the listed pairs before trusting the number.

    Args:
      ours: fingerprints of the first set.
      theirs: fingerprints of the second set.
      distance: largest number of differing bits, 0 to 11 of 64.
      likeness: least correlation of the thumbnails, -1 for any.
      listed: how many pairs are listed of each kind.

    Returns:
      Counts of all pairs, however many there are, and the closest of them.

    Raises:
      TlxError: the distance is out of range.
    """
    exact = _collect(_shared(_groups(ours.exact), _groups(theirs.exact)), listed)
    near = _collect(_alike(ours, theirs, distance, likeness), listed)
    return Overlap((len(ours.exact), len(theirs.exact)), exact, near, distance)


def text_overlap(
    ours: Sequence[str], theirs: Sequence[str], distance: float = TEXT_DISTANCE, listed: int = LISTED
) -> Overlap:
    """Texts of two sets that have the same wording, or share most pairs of neighbouring words.

    Args:
      ours: the first set.
      theirs: the second set.
      distance: largest 1 - Jaccard similarity, from 0 to below 1. One changed word of ten makes 0.36.
      listed: how many pairs are listed of each kind.

    Returns:
      Counts of all pairs and the closest of them. Texts without words are in none.

    Raises:
      TlxError: the distance is out of range.
    """
    if not 0 <= distance < 1:
        raise TlxError(f"distance {distance:g}: expected from 0 to below 1")
    normal = [[shingles.normal_form(text) for text in texts] for texts in (ours, theirs)]
    groups = [_groups(texts) for texts in normal]
    for group in groups:
        group.pop("", None)
    exact = _collect(_shared(*groups), listed)
    words = [list(group) for group in groups]
    members = [list(group.values()) for group in groups]
    sets = [[shingles.shingles(text) for text in texts] for texts in words]
    # In floats 1 - 0.4 may lie on either side of 0.6.
    pairs = shingles.near_pairs(sets[0], sets[1], max(1 - distance - 1e-9, 1e-9))
    near = _collect(((members[0][a], members[1][b], float(far)) for a, b, far in pairs), listed)
    return Overlap((len(ours), len(theirs)), exact, near, distance)


Groups = dict[Any, list[int]]
# Positions of equal examples in the first set and in the second, and the distance between them.
Match = tuple[list[int], list[int], float]


def _groups(keys: Iterable[Hashable]) -> Groups:
    groups: defaultdict[Any, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        groups[key].append(position)
    return dict(groups)


def _shared(ours: Groups, theirs: Groups) -> Iterator[Match]:
    return ((members, theirs[key], 0.0) for key, members in ours.items() if key in theirs)


def _alike(ours: Prints, theirs: Prints, distance: int, likeness: float) -> Iterator[Match]:
    # Equal ones are taken together: of even surfaces or of copies there may be thousands.
    groups = [_groups(zip(p.near.tolist(), map(bytes, p.thumbnail), strict=True)) for p in (ours, theirs)]
    hashes = [np.array([key for key, _ in group], np.uint64) for group in groups]
    members = [list(group.values()) for group in groups]
    first = [np.array([positions[0] for positions in each], np.int64) for each in members]
    for a, b, far in hamming.near_pairs(hashes[0], hashes[1], distance):
        for begin in range(0, len(a), _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            small = ours.thumbnail[first[0][a[part]]], theirs.thumbnail[first[1][b[part]]]
            for k in np.flatnonzero(correlations(*small) >= likeness).tolist():
                yield members[0][a[begin + k]], members[1][b[begin + k]], float(far[begin + k])


def _collect(matches: Iterable[Match], listed: int) -> Found:
    """Count pairs and keep the closest, without ever holding all of them."""
    pairs, ours, theirs = 0, set[int](), set[int]()
    kept: list[tuple[float, int, int]] = []
    for mine, others, distance in matches:
        pairs += len(mine) * len(others)
        ours.update(mine)
        theirs.update(others)
        # The first `listed` of each side hold the first `listed` of their pairs.
        kept += ((distance, a, b) for a in mine[:listed] for b in others[:listed])
        if len(kept) > 100 * listed + 10_000:
            kept = sorted(kept)[:listed]
    closest = tuple(Pair(a, b, distance) for distance, a, b in sorted(kept)[:listed])
    return Found(pairs, len(ours), len(theirs), closest)

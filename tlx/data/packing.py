"""Many token sequences in few rows of one length, so that a model of texts computes nothing for padding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tlx.errors import TlxError

# Shape suffixes: N rows, T tokens of a row.


@dataclass(frozen=True)
class Packed:
    """Rows of tokens.

    Args:
      id_NT: int32 token ids.
      segment_NT: int32, which of its row's sequences a token belongs to, from 1 on; 0 for padding.
      position_NT: int32, place of a token in its sequence, or in as much of it as the row holds; 0 for padding.
    """

    id_NT: np.ndarray
    segment_NT: np.ndarray
    position_NT: np.ndarray


def concatenated(sequences: Sequence[Sequence[int]], length: int, separator: int | None = None) -> Packed:
    """All sequences one after the other, cut into rows wherever a row ends.

    Args:
      sequences: token ids.
      length: tokens of a row.
      separator: id that is put after each sequence, or None; it belongs to the sequence before it.

    Returns:
      Full rows, without padding. What is left at the end and fills no row is dropped, and nothing else.

    Raises:
      TlxError: the tokens do not fill one row.

    Source: Radford et al. (2018), who train on contiguous text; Brown et al. (2020), appendix B, for the separator.
    """
    ending = [] if separator is None else [separator]
    parts = [np.array([*sequence, *ending], np.int32) for sequence in sequences]
    parts = [part for part in parts if len(part)]
    total = sum(map(len, parts))
    if total < length:
        raise TlxError(f"{total} tokens do not fill a row of {length}; take shorter rows or more text")
    kept = total // length * length
    id_NT = np.concatenate(parts)[:kept].reshape(-1, length)
    of_NT = np.repeat(np.arange(len(parts)), [len(part) for part in parts])[:kept].reshape(-1, length)
    # A row's first token starts a count of its own, even in the middle of a sequence.
    starts_NT = np.diff(of_NT, axis=1, prepend=-1) != 0
    place_T = np.arange(length)
    began_NT = np.maximum.accumulate(np.where(starts_NT, place_T, 0), axis=1)
    return Packed(id_NT, starts_NT.cumsum(axis=1, dtype=np.int32), (place_T - began_NT).astype(np.int32))


def first_fit(sequences: Sequence[Sequence[int]], length: int, pad: int) -> Packed:
    """Each sequence whole, in the first row that has room for it; a new row where none has.

    Args:
      sequences: token ids; one that is longer than a row is cut into rows and a rest.
      length: tokens of a row.
      pad: id that fills up the rows.

    Returns:
      Rows that hold every token once.

    Raises:
      TlxError: there are no tokens.

    Source: Johnson (1973), first fit; Krell et al. (2021) for packing sequences so.
    """
    pieces = [np.asarray(piece, np.int32) for sequence in sequences for piece in _cut(sequence, length)]
    if not pieces:
        raise TlxError("there are no tokens to pack")
    row_of = list(_first_rows([len(piece) for piece in pieces], length))
    shape = (max(row_of) + 1, length)
    packed = Packed(np.full(shape, pad, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int32))
    used, segments = np.zeros(shape[0], np.int64), np.zeros(shape[0], np.int64)
    for piece, row in zip(pieces, row_of, strict=True):
        place = slice(used[row], used[row] + len(piece))
        segments[row] += 1
        packed.id_NT[row, place] = piece
        packed.segment_NT[row, place] = segments[row]
        packed.position_NT[row, place] = np.arange(len(piece))
        used[row] += len(piece)
    return packed


def _cut(sequence: Sequence[int], length: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(sequence), length):
        yield sequence[start : start + length]


def _first_rows(sizes: Sequence[int], length: int) -> Iterator[int]:
    """For each size the first row with room for it, by a tree that knows the most room below each node."""
    leaves = 1 << max(len(sizes) - 1, 0).bit_length()
    room = [length] * (2 * leaves)
    for size in sizes:
        node = 1
        while node < leaves:
            node = 2 * node if room[2 * node] >= size else 2 * node + 1
        yield node - leaves
        room[node] -= size
        while node > 1:
            node //= 2
            room[node] = max(room[2 * node], room[2 * node + 1])

"""Several splits as one, each with its place in it: what a mixture draws its batches from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from tlx import atomic
from tlx.data.mixture import mixture_table
from tlx.data.on_disk import OnDisk, Table
from tlx.data.pipeline import Arrays
from tlx.errors import TlxError

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Parts:
    """Splits on disk, one after the other.

    Args:
      parts: the splits.
      label_of: for each, the new number of each of its classes.
      num_classes: of all together.
      digest: of all together.
    """

    parts: tuple[OnDisk, ...]
    label_of: tuple[tuple[int, ...], ...]
    num_classes: int
    digest: str

    @property
    def name(self) -> str:
        """Of all together."""
        return _name(self.parts)

    @property
    def split(self) -> str:
        """As asked for."""
        return self.parts[0].split

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input."""
        return self.parts[0].input_shape

    @property
    def tokenizer(self) -> str:
        """Digest of what made ids of the texts."""
        return self.parts[0].tokenizer

    def __len__(self) -> int:
        """How many examples there are."""
        return sum(map(len, self.parts))

    def at(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inputs and labels at some positions."""
        batch = next(iter(self.batches(lambda start, stop: [positions], 1)(0, 1)))
        return batch["input"], batch["label"]

    def batches(self, table: Table, steps: int) -> Callable[[int, int], Iterator[Batch]]:
        """The batches of a run, as `OnDisk.batches` gives those of one split."""
        feeds = [part.batches(self._own(p, table), steps) for p, part in enumerate(self.parts)]

        def between(start: int, stop: int) -> Iterator[Batch]:
            for step, found in enumerate(zip(*(feed(start, stop) for feed in feeds), strict=True), start):
                yield self._merged(table(step, step + 1)[0], found)

        return between

    def _own(self, p: int, table: Table) -> Table:
        begin = sum(map(len, self.parts[:p]))
        end = begin + len(self.parts[p])

        def positions(start: int, stop: int) -> list[np.ndarray]:
            rows = [row[(begin <= row) & (row < end)] - begin for row in table(start, stop)]
            # A step that needs nothing of a split reads one example of it, which is left out again.
            return [row if len(row) else np.zeros(1, np.int64) for row in rows]

        return positions

    def _merged(self, row: np.ndarray, found: Sequence[Batch]) -> Batch:
        part_B = np.searchsorted([*accumulate(map(len, self.parts))], row, side="right")
        input_B = np.empty((len(row), *self.input_shape), found[0]["input"].dtype)
        label_B = np.empty(len(row), np.int32)
        for p, batch in enumerate(found):
            if (mine := part_B == p).any():
                input_B[mine] = batch["input"]
                label_B[mine] = _renamed(batch["label"], self.label_of[p])
        return {"input": input_B, "label": label_B}


def joined(parts: Sequence[Arrays | OnDisk], names: Sequence[Sequence[str]]) -> Arrays | Parts:
    """Several splits as one. Classes of the same name are one class.

    Args:
      parts: all in memory, or all on disk.
      names: of the classes of each, in the order of their numbers; empty where there are no labels.

    Returns:
      The whole; its classes are numbered in the order in which their names are first seen.

    Raises:
      TlxError: the inputs differ in shape or kind.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.input_shape != first.input_shape or bool(part.tokenizer) != bool(first.tokenizer):
            raise TlxError(
                f"{part.name!r} has inputs {list(part.input_shape)}, but {first.name!r} has {list(first.input_shape)}"
            )
    union = list(dict.fromkeys(name for own in names for name in own))
    label_of = tuple(tuple(union.index(name) for name in own) for own in names)
    digest = atomic.digest_json([[part.digest for part in parts], [list(own) for own in label_of]])
    on_disk = tuple(part for part in parts if isinstance(part, OnDisk))
    if on_disk:
        return Parts(on_disk, label_of, len(union), digest)
    arrays = [part for part in parts if isinstance(part, Arrays)]
    input_N = np.concatenate([part.input_N for part in arrays])
    label_N = np.concatenate([_renamed(part.label_N, own) for part, own in zip(arrays, label_of, strict=True)])
    whole = replace(arrays[0], name=_name(parts), input_N=input_N, label_N=label_N)
    return replace(whole, num_classes=len(union), digest=digest)


def joined_table(
    sizes: Sequence[int], weights: Sequence[float], batch_size: int, seed: int, start: int, stop: int
) -> np.ndarray:
    """The batches of a mixture, as positions in the whole.

    Args:
      sizes: examples of each part.
      weights: share of each in the batches, in any unit.
      batch_size: examples per step.
      seed: of the order.
      start: first step.
      stop: one past the last step.

    Returns:
      Integers [steps, batch]; see `mixture.mixture_table` for their order.

    Raises:
      TlxError: a weight is not a positive number, or too small.
    """
    part_SB, position_SB = mixture_table(sizes, weights, batch_size, seed, start, stop)
    begin_P = np.cumsum([0, *sizes[:-1]])
    table: np.ndarray = begin_P[part_SB] + position_SB
    return table


def _renamed(label_N: np.ndarray, label_of: Sequence[int]) -> np.ndarray:
    return np.asarray(label_of, np.int32)[label_N] if label_of else label_N


def _name(parts: Sequence[Arrays | OnDisk]) -> str:
    return " + ".join(part.name for part in parts)

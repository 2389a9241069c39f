"""A split that stays on disk: read batch by batch, in the order and with the bits that it would have in memory."""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlx import atomic
from tlx.data.bucket import local_dir
from tlx.data.pipeline import stream
from tlx.data.source import open_split, spans
from tlx.data.text import Tokenizer
from tlx.errors import FileError

_AT_ONCE = 256
Table = Callable[[int, int], Sequence[np.ndarray] | np.ndarray]


@dataclass(frozen=True)
class OnDisk:
    """A split of which little is in memory.

    Args:
      name: of the data set.
      split: as asked for.
      source: from `open_split`.
      reading: what `pipeline.stream` is told besides.
      input_shape: of one input.
      num_classes: how many classes there are, 0 without labels.
      digest: what `pipeline.Arrays` would have.
      tokenizer: digest of what made ids of the texts, empty for images.
    """

    name: str
    split: str
    source: Any
    reading: dict[str, Any]
    input_shape: tuple[int, ...]
    num_classes: int
    digest: str
    tokenizer: str

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.source)

    def at(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inputs and labels at some positions."""
        (batch,) = stream(self.source, lambda step: positions, 0, 1, **self.reading)
        return batch["input"], batch["label"]

    def batches(self, table: Table, steps: int) -> Callable[[int, int], Iterator[dict[str, np.ndarray]]]:
        """The batches of a run, read ahead of their use from one call to the next.

        Args:
          table: `(start, stop)` to the positions of each step's examples.
          steps: of the whole run.

        Returns:
          `(start, stop)` to an iterator over the batches of these steps.
        """
        expected = -1
        rest: Iterator[dict[str, np.ndarray]] = iter(())

        def between(start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
            nonlocal expected, rest
            if start != expected:
                rest = stream(self.source, lambda step: table(step, step + 1)[0], start, steps, **self.reading)
            expected = stop
            return itertools.islice(rest, stop - start)

        return between


def open_on_disk(
    name: str, split: str, data_dir: Path | str, tokenize: Tokenizer | None = None, target: str = "label", **fit: Any
) -> OnDisk:
    """A split, not read but for its digest, which is kept for the next time.

    Args:
      name: of a prepared data set.
      split: in TFDS's notation.
      data_dir: where it was prepared; digests are kept there, in `digests`.
      tokenize: makes token ids of texts; not used for images.
      target: `label`, or empty for none: labels are then 0.
      fit: `resize` and `crop`, as for `pipeline.load_arrays`.

    Raises:
      TlxError: the data set or split is unknown, or of texts and there is no tokenizer.
      FileError: it is not prepared, or an example is damaged.
    """
    source, reading = open_split(name, split, data_dir), {"tokenize": tokenize, "target": target, **fit}
    features = source.dataset_info.features
    made_by = tokenize.digest if tokenize and "text" in features else ""
    stamp = [made_by, tokenize.length if tokenize and made_by else 0, target, *(repr(fit[key]) for key in sorted(fit))]
    for file, begin, end in spans(name, split, data_dir):
        about = os.stat(file)
        stamp.append([os.path.basename(file), about.st_size, about.st_mtime_ns, begin, end])
    kept = local_dir(name, data_dir) / "digests" / f"{atomic.digest_json(stamp)}.json"
    facts = _kept(kept)
    if facts is None:
        facts = _facts(source, reading)
        atomic.write_json(kept, facts)
    shape = tuple(int(size) for size in facts["input_shape"])
    classes = int(features["label"].num_classes) if target else 0
    return OnDisk(name, split, source, reading, shape, classes, facts["digest"], made_by)


def _kept(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    found = atomic.read_json(path)
    if not isinstance(found, dict) or set(found) != {"digest", "input_shape"}:
        raise FileError(path, "is damaged; delete it")
    return found


def _facts(source: Any, reading: dict[str, Any]) -> dict[str, Any]:
    """Shape and digest by one pass over all examples, a few of them in memory at a time."""
    count = len(source)
    positions = np.arange(count)
    chunks = stream(source, lambda i: positions[i * _AT_ONCE : (i + 1) * _AT_ONCE], 0, -(-count // _AT_ONCE), **reading)
    sha: Any = None
    shape: tuple[int, ...] = ()
    labels = []
    for chunk in chunks:
        input_B = chunk["input"]
        if sha is None:
            shape = input_B.shape[1:]
            kind, stored = ("", "u1") if input_B.dtype == np.uint8 else ("tokens ", "<i4")
            sha = hashlib.sha256(f"{kind}{(count, *shape)!r}".encode())
        sha.update(np.ascontiguousarray(input_B, stored))
        labels.append(chunk["label"])
    assert sha is not None  # a split is never empty
    sha.update(np.ascontiguousarray(np.concatenate(labels), "<i4"))
    return {"digest": sha.hexdigest(), "input_shape": [int(size) for size in shape]}

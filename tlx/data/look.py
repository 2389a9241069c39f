"""Single examples as they are stored, to be looked at or compared; nothing here is trained on."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlx.data.decode import Decoder
from tlx.data.images import Fit
from tlx.data.source import open_split
from tlx.errors import FileError, TlxError

_AT_ONCE = 256


class Examples:
    """A split of a prepared data set, example by example.

    Args:
      name: as `source.prepare` takes it.
      split: in TFDS's notation.
      data_dir: where it was prepared.

    Raises:
      TlxError: the data set or split is unknown.
      FileError: it is not prepared, or damaged.
    """

    def __init__(self, name: str, split: str, data_dir: Path | str) -> None:
        self.name, self.split = name, split
        self._source = open_split(name, split, data_dir)
        features = self._source.dataset_info.features
        target = next((role for role in ("label", "score") if role in features), "")
        self._decode = Decoder(name, features, Fit(), target)
        self.is_text = self._decode.is_text
        self._names: Sequence[str] = getattr(features["label"], "names", ()) if target == "label" else ()
        self._has_labels = bool(target)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._source)

    def at(self, positions: Sequence[int]) -> list[tuple[Any, str]]:
        """Some of them.

        Args:
          positions: in the split.

        Returns:
          uint8 [H, W, C], or the text, of each, and its label in words.

        Raises:
          FileError: one is damaged.
        """
        found = []
        for position, example in zip(positions, self._source.__getitems__(list(positions)), strict=True):
            try:
                value, label = self._decode(example)
            except TlxError:
                raise
            except Exception as error:  # whatever the readers of PNGs and texts may raise
                reason = (str(error) or type(error).__name__).splitlines()[0]
                where = f"{self.name} {self.split}, example {position}"
                raise FileError(self._source.dataset_info.data_dir, f"{where} is damaged ({reason})") from error
            text = " ".join(value) if isinstance(value, tuple) else value
            found.append((text, self._words(label)))
        return found

    def __iter__(self) -> Iterator[Any]:
        """All images or texts, in order, without their labels."""
        for values in self._batches():
            yield from values

    def _batches(self) -> Iterator[list[Any]]:
        for start in range(0, len(self), _AT_ONCE):
            yield [value for value, _ in self.at(range(start, min(start + _AT_ONCE, len(self))))]

    def images(self) -> Iterator[np.ndarray]:
        """All images as uint8 [B, H, W, C], neighbours of one size together."""
        for values in self._batches():
            start = 0
            for i in range(1, len(values) + 1):
                if i == len(values) or values[i].shape != values[start].shape:
                    yield np.stack(values[start:i])
                    start = i

    def _words(self, label: Any) -> str:
        if not self._has_labels:
            return "no label"
        if isinstance(label, float):
            return f"{label:.2f}"
        return str(self._names[label]) if self._names else str(label)

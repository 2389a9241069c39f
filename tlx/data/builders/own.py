"""The user's own files as a TFDS builder: named by what was read, so that an edited file is prepared anew."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tlx.data.order import permutation
from tlx.data.schemes import Address
from tlx.data.stamp import stamp
from tlx.errors import FileError

# Goes into every name; to be raised when the same files are to give other examples.
_RULES = 1
# Far from the purposes of `tlx.data.order`.
_STORED = 1000
SPLITS = {"train": "train", "test": "test", "validation": "validation", "val": "validation"}


@dataclass(frozen=True)
class Part:
    """One split.

    Args:
      count: its number of examples.
      example: the features of the one at a position below `count`.
      labels: the class of each, or None where they have scores.
    """

    count: int
    example: Callable[[int], dict[str, Any]]
    labels: Sequence[int] | None = None


@dataclass(frozen=True)
class Content:
    """What lies in the user's files.

    Args:
      features: TFDS features by their role, as in `tlx.data.columns.roles`.
      parts: by the name of the split.
    """

    features: Mapping[str, Any]
    parts: Mapping[str, Part]


class Own(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[misc,call-arg]
    """Files of the user.

    Files are often sorted by class, of which a slice such as `train[:80%]` would then lack some. The examples are
    therefore stored as `stored_order` has them.

    Args:
      name: from `name_of`.
      content: what is in the files.
      data_dir: the folder of all data sets.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, name: str, content: Content, data_dir: str) -> None:
        self.name, self._content = name, content
        super().__init__(data_dir=data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="The user's own files.",
            features=tfds.features.FeaturesDict(dict(self._content.features)),
            disable_shuffling=True,  # the order is already shuffled, and must not depend on a hash
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        del dl_manager  # nothing is downloaded
        return {split: self._generate_examples(part) for split, part in self._content.parts.items()}

    def _generate_examples(self, part: Part) -> Iterator[tuple[int, Any]]:
        labels = np.zeros(part.count, int) if part.labels is None else np.asarray(part.labels)
        for key, position in enumerate(stored_order(labels).tolist()):
            yield key, part.example(position)


def stored_order(label_N: np.ndarray) -> np.ndarray:
    """A shuffled order of examples in whose every part the classes have nearly the same shares.

    Args:
      label_N: integer class of each example.

    Returns:
      int64 [N], a permutation that is the same everywhere.
    """
    shuffled_N = permutation(len(label_N), 0, _STORED)
    place_N = np.empty(len(label_N))
    for label in np.unique(label_N):
        members = shuffled_N[label_N[shuffled_N] == label]
        place_N[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled_N[np.argsort(place_N[shuffled_N], kind="stable")].astype(np.int64)


def prepared(folder: Path) -> Any:
    """The TFDS builder of a copy that was made, for which the user's files need not be read.

    Args:
      folder: of the copy's version.
    """
    return tfds.builder_from_directory(folder)


def name_of(address: Address, root: Path, files: list[Path]) -> str:
    """The name of the copy that is made of some files: another one once a file has changed.

    Args:
      address: as the user named them.
      root: what the paths are taken relative to.
      files: all that is read.

    Returns:
      E.g. `folder_flowers_0123456789abcdef`.

    Raises:
      FileError: a file is gone.
    """
    called = re.sub(r"\W+", "_", Path(address.rest).stem.lower(), flags=re.ASCII).strip("_")[:32]
    made = stamp([_RULES, address.scheme, address.options], root, files)
    return "_".join(word for word in (address.scheme, called, made) if word)


def class_label(where: Path, names: list[str]) -> Any:
    """The feature of classes that have names.

    Args:
      where: the file or folder they come from, for messages.
      names: in the order of their numbers.

    Raises:
      FileError: there are fewer than two, or one cannot be written on a line.
    """
    if len(names) < 2:
        raise FileError(where, f"expected at least two classes, found {len(names)}{f': {names[0]}' if names else ''}")
    for name in names:
        if name != name.strip() or len(name.splitlines()) != 1 or not _is_text(name):
            raise FileError(where, f"class {name!r}: expected a name that fits on a line, without spaces around it")
    return tfds.features.ClassLabel(names=names)


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:  # a file's name of bytes that are no UTF-8
        return False

"""Labels as files hold them, made into classes 0 to C - 1."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tlx.data.builders.own import class_label
from tlx.errors import FileError

_INTEGER = re.compile(r"0|[1-9][0-9]{0,8}")
# A number this large is an identifier, not a class.
_MOST_CLASSES = 1_000_000


def classes(where: Path, found: Mapping[str, Sequence[Any]]) -> tuple[Any, dict[str, list[int]]]:
    """Number the classes: names in alphabetical order, integers as they are.

    Args:
      where: the file or folder they come from, for messages.
      found: the labels of each split, each a non-empty string or an integer.

    Returns:
      The TFDS feature, and each split's labels from 0 to C - 1.

    Raises:
      FileError: an integer is negative, or a class has no example in `train`, or in the only split.
    """
    distinct = {label for labels in found.values() for label in labels}
    integers = all(isinstance(label, int) or _INTEGER.fullmatch(label) for label in distinct)
    if integers:
        numbers = {label: int(label) for label in distinct}
        _check_integers(where, set(numbers.values()))
        feature = tfds.features.ClassLabel(num_classes=max(numbers.values()) + 1)
        names = [str(number) for number in range(feature.num_classes)]
    else:
        names = sorted({str(label) for label in distinct})
        rank = {name: number for number, name in enumerate(names)}
        numbers = {label: rank[str(label)] for label in distinct}
        feature = class_label(where, names)
    numbered = {split: [numbers[label] for label in labels] for split, labels in found.items()}
    check_classes(where, names, numbered)
    return feature, numbered


def check_classes(where: Path, names: Sequence[str], label_of: Mapping[str, Sequence[int]]) -> None:
    """Refuse classes that nothing could be learned of.

    Args:
      where: the file or folder they come from, for messages.
      names: of the classes.
      label_of: each split's labels, from 0 to C - 1.

    Raises:
      FileError: a class has no example in `train`, or in the only split where that is another.
    """
    split = "train" if "train" in label_of else next(iter(label_of))
    count_C = np.bincount(np.asarray(label_of[split], np.int64), minlength=len(names))
    if not count_C.all():
        empty = names[int(np.argmin(count_C))]
        hint = "add some, or leave the class out everywhere (numbers run from 0 without a gap)"
        raise FileError(where, f"class {empty!r} has no example in {split}; {hint}")


def checked(value: Any, complain: Callable[[str], Exception]) -> str | int:
    """One label, as it was read.

    Args:
      value: anything.
      complain: makes the error that names the place.

    Returns:
      A non-empty string, or an integer.

    Raises:
      FileError: from `complain`.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise complain("has no label")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int):
        return value
    raise complain(f"label {value!r} is neither a text nor an integer; for a score, say target=COLUMN")


def _check_integers(where: Path, numbers: set[int]) -> None:
    if min(numbers) < 0:
        raise FileError(where, f"label {min(numbers)}: expected integers from 0, or names")
    if max(numbers) >= _MOST_CLASSES:
        raise FileError(where, f"label {max(numbers)}: expected integers from 0 without a gap, or names")
    if len(numbers) < 2 and max(numbers) == 0:
        raise FileError(where, "expected at least two classes, found only the label 0")

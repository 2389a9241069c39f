"""A table of texts with their labels or scores."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tlx.data.builders import labels
from tlx.data.builders.own import SPLITS, Content, Part, class_label
from tlx.data.builders.rows import ENDINGS, rows
from tlx.data.schemes import Address
from tlx.errors import FileError

Row = dict[str, Any]


def files(address: Address) -> tuple[Path, list[Path]]:
    """The files of a table.

    Args:
      address: of the table.

    Returns:
      The folder they are in, and the files.

    Raises:
      FileError: there is none.
    """
    parts = _files(address)
    return next(iter(parts.values())).parent, list(parts.values())


def content(address: Address) -> Content:
    """The texts and their labels. They are held in memory until they are prepared.

    Args:
      address: of a CSV, TSV, JSON Lines or parquet file, which is then all `train`, or of a folder with such files
        called train, test or validation. Its options name the columns: `text` and `label` where they are silent,
        `text2` for pairs, `target` for a score in place of a label, an empty `label` for neither.

    Raises:
      FileError: a column is missing, a row has no text or no label, a class has no example, or there are no rows.
    """
    column_of = {"text": "text"} | {role: c for role, c in address.options.items() if role != "target"}
    if "target" in address.options:
        column_of["score"] = address.options["target"]
    else:
        column_of.setdefault("label", "label")
        if not column_of["label"]:
            del column_of["label"]
    found = {split: _read(file, column_of) for split, file in _files(address).items()}
    return content_of(Path(address.rest), found, {role: tfds.features.Text() for role in column_of if "text" in role})


def content_of(
    where: Path, found: dict[str, list[Row]], inputs: dict[str, Any], names: list[str] | None = None
) -> Content:
    """Rows as content, their labels numbered.

    Args:
      where: for messages.
      found: the rows of each split, by role.
      inputs: the features of all roles but the label's and the score's.
      names: of the classes, where the labels are numbers of theirs; None makes classes of the labels.

    Raises:
      FileError: there are no rows, a class has no example, or an integer label is negative.
    """
    for split, part in found.items():
        if not part:
            raise FileError(where, f"holds no row of {split}; add some or take the file away")
    features = dict(inputs)
    label_of = {split: [row["label"] for row in part if "label" in row] for split, part in found.items()}
    if not any(label_of.values()):
        if any("score" in row for part in found.values() for row in part):
            features["score"] = tfds.features.Scalar(np.float32)
    elif names is not None:
        features["label"] = class_label(where, names)
        labels.check_classes(where, names, label_of)
    else:
        features["label"], numbered = labels.classes(where, label_of)
        for split, part in found.items():
            for row, label in zip(part, numbered[split], strict=True):
                row["label"] = label
    return Content(features, {split: _part(part) for split, part in found.items()})


def _part(rows: list[Row]) -> Part:
    return Part(len(rows), rows.__getitem__, [row["label"] for row in rows] if "label" in rows[0] else None)


def value(role: str, cell: Any, complain: Callable[[str], Exception]) -> Any:
    """One cell, as its role wants it.

    Args:
      role: `text`, `text2`, `label` or `score`.
      cell: as it was read.
      complain: makes the error that names the place.

    Raises:
      FileError: from `complain`.
    """
    if role == "label":
        return labels.checked(cell, complain)
    if role == "score":
        return _score(cell, complain)
    if not isinstance(cell, str) or not cell.strip():
        raise complain(f"has no {role}" if cell is None or cell == "" else f"{role}: expected words, got {cell!r:.40}")
    return cell


def _score(cell: Any, complain: Callable[[str], Exception]) -> np.float32:
    if cell is None or cell == "":
        raise complain("has no score")
    try:
        score = math.nan if isinstance(cell, bool) else np.float32(cell)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise complain(f"score: expected a number, got {cell!r:.40}")
    return np.float32(score)


def _read(file: Path, column_of: dict[str, str]) -> list[Row]:
    found = []
    for place, row in rows(file, list(dict.fromkeys(column_of.values()))):
        complain = partial(_complaint, file, place)
        found.append({role: value(role, row[column], complain) for role, column in column_of.items()})
    return found


def _complaint(file: Path, place: str, message: str) -> FileError:
    return FileError(file, f"{place} {message}")


def _files(address: Address) -> dict[str, Path]:
    """Split to file."""
    path = Path(address.rest).expanduser()
    if path.is_file():
        return {"train": path}
    if not path.is_dir():
        raise FileError(path, "there is no such file or folder")
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.stem not in SPLITS or file.suffix.lower() not in ENDINGS:
            continue
        if SPLITS[file.stem] in found:
            raise FileError(file, f"is the second file of the split {SPLITS[file.stem]}; expected one")
        found[SPLITS[file.stem]] = file
    if not found:
        raise FileError(path, f"holds no table called train, test or validation ({', '.join(ENDINGS)})")
    return found

"""A data set that the HF `datasets` library saved with `save_to_disk`, read with pyarrow alone."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from tlx.atomic import read_json
from tlx.data.builders.folder import common_shape, readable
from tlx.data.builders.own import SPLITS, Content, Part
from tlx.data.builders.table import Row, content_of, value
from tlx.data.images import verified
from tlx.data.schemes import Address
from tlx.errors import FileError

# Role to HF's type of column.
_KINDS = {"image": "Image", "text": "Value", "text2": "Value"}


def files(address: Address) -> tuple[Path, list[Path]]:
    """Every file of a saved data set that is read.

    Args:
      address: of the folder.

    Returns:
      The folder, and the files.

    Raises:
      FileError: it is not what `save_to_disk` leaves, or lacks a file.
    """
    root = Path(address.rest).expanduser()
    folders = _splits(root)
    listed = [folder / name for folder in folders.values() for name in ("dataset_info.json", "state.json")]
    listed += [file for folder in folders.values() for file in _arrow_files(folder)]
    return root, listed


def content(address: Address) -> Content:
    """The images or texts, and their labels or scores. Texts are held in memory until they are prepared.

    Args:
      address: of a folder that a `Dataset` was saved in, which is then all `train` unless it says otherwise, or a
        `DatasetDict`. Its options name the columns: `image` or `text`, and `label`, where they are silent.

    Raises:
      FileError: a column is missing or of another kind, an image is not inside but elsewhere, a row has no label, a
        class has no example, or a file is damaged.
    """
    root = Path(address.rest).expanduser()
    folders = _splits(root)
    declared = {split: _features(folder) for split, folder in folders.items()}
    first = next(iter(folders))
    for split, features in declared.items():
        if features != declared[first]:
            raise FileError(folders[split], f"has other features than {first}; expected the same in each split")
    column_of = _columns(folders[first], declared[first], address.options)
    names = declared[first][column_of["label"]].get("names") if "label" in column_of else None
    found = {split: list(_rows(folder, column_of, names)) for split, folder in folders.items()}
    inputs: dict[str, Any] = {role: tfds.features.Text() for role in column_of if role.startswith("text")}
    if "image" not in column_of:
        return content_of(root, found, inputs, names)
    images = [row["image"] for part in found.values() for row in part]
    inputs["image"] = tfds.features.Image(
        shape=common_shape((image.place, partial(_opened, image)) for image in images)
    )
    made = content_of(root, found, inputs, names)
    return Content(
        made.features, {split: replace(part, example=partial(_checked, part)) for split, part in made.parts.items()}
    )


@dataclass(frozen=True)
class _Image:
    """An image that is still in its file.

    Args:
      place: what it is called in a message.
      data_N: the bytes of its file's images, an Arrow array.
      position: in that.
    """

    place: str
    data_N: Any
    position: int

    def read(self) -> bytes:
        """The bytes."""
        return bytes(self.data_N[self.position].as_py())


def _checked(part: Part, position: int) -> Row:
    row = part.example(position)
    image = row["image"]
    return row | {"image": readable(image.place, lambda: verified(image.read()))}


def _opened(image: _Image) -> io.BytesIO:
    return io.BytesIO(image.read())


def _splits(root: Path) -> dict[str, Path]:
    """Split to the folder it lies in."""
    if (root / "dataset_dict.json").is_file():
        names = _object(root / "dataset_dict.json").get("splits")
        if not isinstance(names, list) or not names or not all(name in SPLITS for name in names):
            raise FileError(root / "dataset_dict.json", f"expected splits called {', '.join(SPLITS)}, got {names}")
        return {SPLITS[name]: root / name for name in names}
    if not (root / "state.json").is_file():
        raise FileError(root, "is not what the save_to_disk of HF datasets leaves: it lacks state.json")
    return {SPLITS.get(str(_object(root / "state.json").get("_split")), "train"): root}


def _arrow_files(folder: Path) -> list[Path]:
    state = _object(folder / "state.json")
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise FileError(folder, "holds a selection of rows; save it after flatten_indices()")
    listed = state.get("_data_files")
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in listed or []]
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise FileError(folder / "state.json", f"_data_files: expected names of files, got {name!r}")
    return [folder / str(name) for name in names]


def _features(folder: Path) -> dict[str, dict[str, Any]]:
    """Column to what HF says of it."""
    features = _object(folder / "dataset_info.json").get("features")
    if not isinstance(features, dict):
        raise FileError(folder / "dataset_info.json", "does not say what the columns are")
    # What is no dict is a list of something, which has no role here.
    return {column: kind if isinstance(kind, dict) else {} for column, kind in features.items()}


def _columns(folder: Path, declared: dict[str, dict[str, Any]], options: dict[str, str]) -> dict[str, str]:
    """Role to column."""
    inputs = [role for role in ("image", "text") if role in options]
    inputs = inputs or [role for role in ("image", "text") if role in declared]
    if not inputs:
        raise FileError(folder, f"no column is its image or text{_of(declared)}; say which with ?image=COLUMN")
    column_of: dict[str, str] = {inputs[0]: options.get(inputs[0], inputs[0])}
    if "text2" in options:
        column_of["text2"] = options["text2"]
    if "target" in options:
        column_of["score"] = options["target"]
    else:
        column_of["label"] = options.get("label", "label")
    for role, column in column_of.items():
        if column not in declared:
            raise FileError(folder, f"has no column {column!r} for {role}{_of(declared)}")
        kind = declared[column].get("_type")
        if kind != _KINDS.get(role, kind):
            raise FileError(folder, f"column {column!r}: expected {_KINDS[role]} for {role}, got {kind}")
    return column_of


def _rows(folder: Path, column_of: dict[str, str], names: list[str] | None) -> Iterator[Row]:
    number = 0
    for file in _arrow_files(folder):
        for batch in _batches(file):
            columns = {role: _column(file, batch, role, column) for role, column in column_of.items()}
            for position in range(batch.num_rows):
                number += 1
                place = f"{folder}, row {number}"
                found = {role: _value(place, role, column, position) for role, column in columns.items()}
                if names is not None and not 0 <= found["label"] < len(names):
                    hint = "-1 stands for unlabelled" if found["label"] == -1 else f"there are {len(names)} classes"
                    raise FileError(place, f"label {found['label']}: {hint}")
                yield found


def _column(file: Path, batch: Any, role: str, column: str) -> Any:
    """An Arrow array: of an image's column the bytes alone, of others the values."""
    try:
        return batch.column(column).field("bytes") if role == "image" else batch.column(column).to_pylist()
    except (KeyError, AttributeError):
        raise FileError(file, f"lacks the column {column!r}, or the bytes of its images") from None


def _value(place: str, role: str, column: Any, position: int) -> Any:
    if role != "image":
        return value(role, column[position], lambda message: FileError(place, message))
    if not column[position].is_valid:
        raise FileError(place, "does not hold its image, only where it was; save the data set with the bytes in it")
    return _Image(place, column, position)


def _batches(file: Path) -> Iterator[Any]:
    import pyarrow

    try:
        with pyarrow.memory_map(str(file)) as mapped, pyarrow.ipc.open_stream(mapped) as reader:
            yield from reader
    except OSError as error:
        raise FileError(file, f"cannot be read, or is damaged ({str(error).splitlines()[0]})") from None
    except pyarrow.ArrowException as error:
        raise FileError(file, f"is not Arrow's stream format, or is damaged ({str(error).splitlines()[0]})") from None


def _object(file: Path) -> dict[str, Any]:
    found = read_json(file)
    if not isinstance(found, dict):
        raise FileError(file, "expected a JSON object")
    return found


def _of(declared: dict[str, Any]) -> str:
    return f" (there are {', '.join(sorted(declared))})"

"""All of a work folder, in whatever state it is: what cannot be read is named, and costs nothing else."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlx import atomic
from tlx.errors import FileError, RecordError
from tlx.records.store import Records, known

Record = Mapping[str, Any]

# What a record and a planned cell must say of the cell's place in the grid.
_PLACE: Mapping[str, type | tuple[type, ...]] = {
    "source": (str, type(None)),
    "target": str,
    "entry": str,
    "arm": str,
    "method": dict,
    "budget": int,
    "seed": int,
}


@dataclass(frozen=True)
class Reading:
    """What was found in one work folder.

    Args:
      folder: the folder.
      manifest: `study`, `command`, `config` and `cells`; without a `study.json`, made up from the records.
      planned: ids of the cells that `study.json` names.
      records: by id, in the ids' order, those of cells that are not planned included.
      timings: by id, as far as known.
      failures: by id, why a cell without a record has none.
      damaged: by id, what is wrong with a record.
      unread: one line for each file that could not be used; it names the file and says why.
    """

    folder: Path
    manifest: Mapping[str, Any]
    planned: frozenset[str]
    records: Mapping[str, Record]
    timings: Mapping[str, Mapping[str, Any]]
    failures: Mapping[str, str]
    damaged: Mapping[str, str]
    unread: tuple[str, ...]


def read(folder: Path | str, leave_out: frozenset[str] = frozenset()) -> Reading:
    """Read the records of a work folder, the cells it plans, and what went wrong.

    Args:
      folder: of a study; it may be empty.
      leave_out: keys of the records that are not wanted, such as `curve`, to save memory.

    Returns:
      All that could be read, and a line for each file that could not.

    Raises:
      FileError: if there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(folder, "there is no such folder")
    unread: dict[Path, str] = {}

    def each(files: str, get: Callable[[Path], dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
        for path in sorted(folder.glob(files)):
            try:
                yield path.stem, get(path)
            except FileError as error:
                unread[path] = str(error).removeprefix(f"{path}: ")

    store = Records(folder)
    records = {
        name: {key: value for key, value in record.items() if key not in leave_out}
        for name, record in each("records/*.json", lambda path: _record(path, store))
    }
    damaged = {path.stem: reason for path, reason in unread.items()}
    timings = {name: timing for name, timing in each("timings/*.json", _timing) if name in records}
    notes = dict(each("failures/*.json", lambda path: known(path, atomic.read_json(path))))
    failures = {
        name: str(note.get("reason")) for name, note in notes.items() if name not in records.keys() | damaged.keys()
    }
    manifest = dict(each("study.json", _manifest)).get("study")
    planned = frozenset(item["id"] for item in manifest["cells"]) if manifest else frozenset()
    lines = tuple(f"{path}: {reason}" for path, reason in unread.items())
    return Reading(folder, manifest or _made_up(folder, records), planned, records, timings, failures, damaged, lines)


def _record(path: Path, store: Records) -> dict[str, Any]:
    record = store.get(path.stem)
    if not _is_place(record.get("cell")) or not isinstance(record.get("status"), str):
        raise RecordError(path, "does not say which cell it is of, so it is not ours")
    return record


def _timing(path: Path) -> dict[str, Any]:
    timing = atomic.read_json(path)
    if not isinstance(timing, dict):
        raise FileError(path, "is no timing of a cell")
    return timing


def _manifest(path: Path) -> dict[str, Any]:
    content = known(path, atomic.read_json(path))
    cells = content.get("cells")
    if not isinstance(cells, list) or not all(_is_cell(item) for item in cells):
        raise RecordError(path, "does not say which cells the study has, so it is not ours")
    return {"study": path.parent.name, "command": "", "config": {}, **content}


def _is_cell(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("id"), str) and _is_place(item.get("cell"))


def _is_place(cell: Any) -> bool:
    return isinstance(cell, dict) and all(isinstance(cell.get(name, ...), kind) for name, kind in _PLACE.items())


def _made_up(folder: Path, records: Mapping[str, Record]) -> dict[str, Any]:
    """A manifest of what is there, for a folder whose own is lost."""
    names = [record["study"] for record in records.values() if isinstance(record.get("study"), str)]
    cells = [{"id": name, "cell": record["cell"]} for name, record in records.items()]
    return {"study": names[0] if names else folder.name, "command": "", "config": {}, "cells": cells}

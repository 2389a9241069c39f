"""Streams of metrics: rows are only ever added, and damage to some of them never costs another.

A line is the length of a row in bytes and its CRC-32, each as 8 hex digits, then the row as canonical JSON. A reader
trusts lengths and checksums, not newlines, so that it finds every row that is whole, whatever lies in between.
"""

import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlx import atomic
from tlx.errors import FileError, RecordError

Row = dict[str, Any]

_HEAD = re.compile(rb"([0-9a-f]{8}) ([0-9a-f]{8}) ")
_CELL = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class Read:
    """What a stream holds.

    Args:
      rows: those that are whole, in their order.
      skipped: lines in which something else was found: torn rows, damaged ones, garbage.
    """

    rows: tuple[Row, ...]
    skipped: int


def append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows to a stream, made if it is missing, and return once they are on the disk.

    Args:
      path: of the stream; it has one writer at a time.
      rows: values that JSON can hold.

    Raises:
      FileError: if the system refuses; the rows that are there stay.
    """
    if rows:
        # What a kill has torn ends here, so that the next row has a line of its own.
        start = b"" if _ends_well(path) else b"\n"
        atomic.append(path, start + b"".join(map(_framed, rows)))


def read(path: Path) -> Read:
    """Every whole row of a stream.

    Args:
      path: of the stream; one that does not exist holds nothing.

    Raises:
      FileError: if it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Read((), 0)
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}") from None
    rows, skipped = [], 0
    for line in content.split(b"\n"):
        found = list(_rows_in(line))
        rows += [row for row, _ in found]
        skipped += sum(size for _, size in found) != len(line)
    return Read(tuple(rows), skipped)


def load(workdir: Path, cell: str) -> list[Row]:
    """The metrics of a cell's trials: what a record sums up, step by step.

    Args:
      workdir: of a study.
      cell: id of the cell; it may still be running.

    Returns:
      One row for each trial and step, in the order of the steps, trials in the order in which they were begun:
      `trial` and `peak_lr` name the trial; `step` counts updates done; `train_loss` is the mean since the row before,
      None where it was not finite; `lr` is that of the step; `seconds` were spent on it so far, or on all runs that
      are one program with it; `time` is the Unix time. The last row of a trial has `val_score` and `val_loss`, None
      where it diverged. What an interrupted run wrote and did again counts once.

    Raises:
      RecordError: the cell has no stream, or this is no id.
      FileError: it cannot be read.
    """
    path = path_of(workdir, cell)
    if not path.exists():
        raise RecordError(path, "there is no such stream; it is written while a cell runs")
    merged: dict[str, dict[int, Row]] = {}
    for row in read(path).rows:
        of_trial = merged.setdefault(row["trial"], {})
        of_trial[row["step"]] = of_trial.get(row["step"], {}) | row
    return [of_trial[step] for of_trial in merged.values() for step in sorted(of_trial)]


def path_of(workdir: Path, cell: str) -> Path:
    """The file of a cell's stream.

    Raises:
      RecordError: this is no cell's id.
    """
    path = Path(workdir) / "metrics" / f"{cell}.jsonl"
    if not _CELL.fullmatch(cell):
        raise RecordError(path, "is not named by the 16 hex digits of a cell's id")
    return path


def _framed(row: Mapping[str, Any]) -> bytes:
    data = atomic.canonical_json(dict(row), indent=None)[:-1]
    return b"%08x %08x %s\n" % (len(data), zlib.crc32(data), data)


def _ends_well(path: Path) -> bool:
    try:
        with Path(path).open("rb") as file:
            if not file.seek(0, os.SEEK_END):
                return True
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"
    except OSError:
        return True  # it does not exist, or the write will say what is wrong


def _rows_in(line: bytes) -> Iterator[tuple[Row, int]]:
    """Every whole row in a line, which garbage may come before or after, and its size with its head."""
    place = 0
    while head := _HEAD.search(line, place):
        size, checksum = (int(number, 16) for number in head.groups())
        data = line[head.end() : head.end() + size]
        # Of nothing the checksum is zero, so zeros could pass for a row.
        if data and len(data) == size and zlib.crc32(data) == checksum:
            yield json.loads(data), size + len(head[0])
            place = head.end() + size
        else:
            place = head.start() + 1

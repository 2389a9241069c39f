"""Data sets that TFDS prepared as TFRecord or parquet, copied example by example to array_record, without TensorFlow.

Neither format will do as it is: TFRecord can only be read from its beginning, and of parquet TFDS reads all where a
slice is asked for, so that `train[:80%]` and `train[80%:]` would be the same examples.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tlx.atomic import read_json, write_json
from tlx.data.crc32c import crc32c, masked
from tlx.errors import FileError

GOAL = "array_record"
_INFO = "dataset_info.json"
_NAME = re.compile(r"\w[\w\-.]*")
_ROWS = 64  # of parquet, read at once
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_AGAIN = "the file is damaged or was cut; get it anew"


def formats(folder: Path) -> list[str]:
    """The formats a prepared data set is there in, the one that TFDS would read first.

    Args:
      folder: with a `dataset_info.json` in it.

    Raises:
      FileError: the description is damaged.
    """
    info = _info(folder)
    others = info.get("alternativeFileFormats") or []
    # What was prepared before TFDS knew of several says nothing.
    return [str(name) for name in (info.get("fileFormat") or "tfrecord", *others)]


def readable_format(folder: Path) -> str:
    """The format of a prepared data set that is to be read.

    Args:
      folder: with a `dataset_info.json` in it.

    Returns:
      `array_record` if it is there, or else `tfrecord` or `parquet`.

    Raises:
      FileError: it is there in another format only.
    """
    there = formats(folder)
    for name in (GOAL, *_READERS):
        if name in there:
            return name
    raise FileError(folder, f"is prepared as {there[0]}, which cannot be read; prepare it as {GOAL}")


def reframe(folder: Path, goal: Path) -> None:
    """Copy a prepared data set, shard by shard, the examples and their order unchanged.

    Args:
      folder: a data set as TFRecord or parquet.
      goal: to be made.

    Raises:
      FileError: a shard is missing or damaged, or has another number of examples than the description says.
    """
    source = readable_format(folder)
    info = _info(folder)
    goal.mkdir(parents=True)
    for split in info["splits"]:
        lengths = split["shardLengths"]
        for number, length in enumerate(lengths):
            shard = f"{number:05d}-of-{len(lengths):05d}"
            name = f"{info['name']}-{split['name']}.{{}}-{shard}"
            _copy(folder / name.format(source), source, length, goal / name.format(GOAL))
    for file in folder.iterdir():
        if file.is_file() and f".{source}-" not in file.name and file.name != _INFO:
            shutil.copyfile(file, goal / file.name)
    splits = [
        split | {"filepathTemplate": _TEMPLATE, "shardLengths": [str(length) for length in split["shardLengths"]]}
        for split in info["splits"]
    ]
    kept = {key: value for key, value in info.items() if key != "alternativeFileFormats"}
    write_json(goal / _INFO, kept | {"fileFormat": GOAL, "splits": splits})


def tfrecords(file: Path) -> Iterator[bytes]:
    """The records of a TFRecord file.

    Each is framed by its length, a checksum of that, and a checksum of its content, all little endian.

    Args:
      file: not compressed.

    Yields:
      The records.

    Raises:
      FileError: a checksum is wrong, or the file ends within a record.
    """
    with file.open("rb") as stream:
        left = os.fstat(stream.fileno()).st_size
        number = 0
        while left:
            number += 1
            head = stream.read(12)
            if len(head) < 12 or masked(crc32c(head[:8])) != int.from_bytes(head[8:], "little"):
                raise FileError(file, f"record {number} has a length with a wrong checksum; {_AGAIN}")
            length = int.from_bytes(head[:8], "little")
            left -= 16 + length
            if left < 0:
                raise FileError(file, f"ends within record {number}; {_AGAIN}")
            content = stream.read(length)
            if masked(crc32c(content)) != int.from_bytes(stream.read(4), "little"):
                raise FileError(file, f"record {number} has a wrong checksum; {_AGAIN}")
            yield content


def parquet_rows(file: Path) -> Iterator[bytes]:
    """The records of a parquet file of TFDS's: those of its one column, `data`.

    Args:
      file: to read.

    Yields:
      The records.

    Raises:
      FileError: it is damaged, or is another table.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as table:
            if table.schema_arrow.names != ["data"]:
                columns = ", ".join(table.schema_arrow.names)
                raise FileError(file, f"expected the column 'data' alone, as TFDS writes it, got {columns}")
            for batch in table.iter_batches(_ROWS):
                yield from batch.column(0).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise FileError(file, f"cannot be read ({str(error).splitlines()[0]}); {_AGAIN}") from None


_READERS: dict[str, Callable[[Path], Iterator[bytes]]] = {"tfrecord": tfrecords, "parquet": parquet_rows}


def _copy(shard: Path, source: str, length: int, goal: Path) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(os.fspath(goal), "group_size:1")
    count = 0
    try:
        for record in _READERS[source](shard):
            writer.write(record)
            count += 1
    except FileNotFoundError:
        raise FileError(shard, "is missing; get it anew") from None
    finally:
        writer.close()
    if count != length:
        raise FileError(shard, f"holds {count} examples, {_INFO} says {length}; prepare it anew, as {GOAL}")


def _info(folder: Path) -> dict[str, Any]:
    """The description, what is used of it checked."""
    damaged = FileError(folder, "has a damaged description; delete it and prepare it again")
    try:
        info = read_json(folder / _INFO)
        names = [info["name"], *(split["name"] for split in info["splits"])]
        # They become names of files, which must not lie elsewhere.
        if not all(_NAME.fullmatch(name) for name in names):
            raise damaged
        for split in info["splits"]:
            split["shardLengths"] = [int(length) for length in split.get("shardLengths", [])]
    except (FileError, KeyError, TypeError, ValueError, AttributeError):
        raise damaged from None
    return dict(info)

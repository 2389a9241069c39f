"""Tables row by row, each row with the place that an error message names."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlx.errors import FileError

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
_LONGEST_CELL = 2**31 - 1  # characters; Python's own limit is 131,072
_PARQUET_ROWS = 4096  # read at once


def rows(file: Path, columns: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a table.

    Args:
      file: CSV or TSV with a header line, JSON Lines of objects, or parquet; text is UTF-8.
      columns: those wanted.

    Yields:
      Where the row is, e.g. `line 3`, and its value in each column.

    Raises:
      FileError: a column is missing, a row has another number of cells than the header, or the file is damaged.
    """
    readers = {".csv": _separated, ".tsv": _separated, ".jsonl": _json_lines, ".parquet": _parquet}
    if file.suffix.lower() not in readers:
        raise FileError(file, f"expected a file that ends in {', '.join(ENDINGS)}")
    try:
        yield from readers[file.suffix.lower()](file, columns)
    except UnicodeDecodeError as error:
        raise FileError(file, f"is not UTF-8 ({error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise FileError(file, f"cannot be read: {error.strerror or error}") from None


def _separated(file: Path, columns: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(_LONGEST_CELL)
    tabs = file.suffix.lower() == ".tsv"
    with file.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter="\t" if tabs else ",", strict=True)
        try:
            header = next(reader, None)
            if header is None:
                raise FileError(file, "is empty; expected a line with the names of the columns")
            place = {column: _place(file, column, header) for column in columns}
            for row in reader:
                if not row:
                    continue  # an empty line
                line = f"line {reader.line_num}"
                if len(row) != len(header):
                    hint = "a cell with a separator in it needs quotation marks"
                    raise FileError(file, f"{line} has {len(row)} cells, the header {len(header)}; {hint}")
                yield line, {column: row[place[column]] for column in columns}
        except csv.Error as error:
            raise FileError(file, f"line {reader.line_num} cannot be read: {error}") from None


def _place(file: Path, column: str, header: list[str]) -> int:
    if header.count(column) > 1:
        raise FileError(file, f"has {header.count(column)} columns called {column!r}; rename one")
    if column not in header:
        raise FileError(file, _missing(column, header))
    return header.index(column)


def _missing(column: str, there: list[str]) -> str:
    return f"has no column {column!r} (one of {', '.join(there)}); say which with ?text=COLUMN&label=COLUMN"


def _json_lines(file: Path, columns: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    with file.open(encoding="utf-8-sig", newline="\n") as text:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = str(error).splitlines()[0]
                raise FileError(file, f"line {number} is not JSON: {reason}") from None
            if not isinstance(row, dict):
                raise FileError(file, f"line {number}: expected an object, got {line.strip()[:40]}")
            for column in columns:
                if column not in row:
                    raise FileError(file, f"line {number} {_missing(column, list(row))}")
            yield f"line {number}", {column: row[column] for column in columns}


def _parquet(file: Path, columns: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as table:
            there = list(table.schema_arrow.names)
            for column in columns:
                _place(file, column, there)
            number = 0
            for batch in table.iter_batches(_PARQUET_ROWS, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except pyarrow.ArrowException as error:
        raise FileError(file, f"is not parquet, or is damaged ({str(error).splitlines()[0]})") from None

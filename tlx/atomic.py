"""The only durable writes: whatever dies whenever, the old content or the new is there, never a mixture.

A write goes to a temporary file beside its goal, is flushed to the disk, and is then renamed (or, to publish
once, linked) into place; only `append` adds to what is there. Every step is a call of `os`, so that tests can
enumerate the points of a crash.
"""

import errno
import hashlib
import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from tlx.errors import FileError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")


def canonical_json(value: Any, indent: int | None = 1) -> bytes:
    """The one way to write a value as JSON: sorted keys, UTF-8, a newline at the end.

    Args:
      value: dicts, lists, strings, finite numbers, booleans and None.
      indent: of nested lines; None for one line alone.

    Raises:
      ValueError: if a number is infinite or not a number; the message names its place.
    """
    try:
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError:
        for place, number in _nonfinite(value, ""):
            raise ValueError(f"{place or 'the value'} is {number}, which JSON cannot hold") from None
        raise
    return text.encode() + b"\n"


def digest_json(value: Any) -> str:
    """The SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
      FileError: if the file is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(Path(path).read_bytes(), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise FileError(path, "there is no such file") from None
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"is not JSON: {error}") from None


def write_json(path: Path, value: Any) -> None:
    """Put a value's canonical JSON in a file, replacing what is there."""
    write_bytes(path, canonical_json(value))


def write_bytes(path: Path, data: bytes) -> None:
    """Put bytes in a file, replacing what is there, and return once they are on the disk.

    Raises:
      FileError: if the system refuses; the earlier content is then untouched.
    """
    path = Path(path)
    with _explained(path, len(data)), _written(path, data) as temporary:
        os.replace(temporary, path)
        _flush(path.parent)


def append(path: Path, data: bytes) -> None:
    """Add bytes to the end of a file, made if it is missing, and return once they are on the disk.

    A kill in between can leave a part of them, so a reader must know whole pieces from torn ones.

    Raises:
      FileError: if the system refuses; the file is then as it was, as far as the system lets it.
    """
    path = Path(path)
    with _explained(path, len(data)):
        _make_folder(path.parent)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            before = os.fstat(file).st_size
            try:
                _write_all(file, data)
                os.fsync(file)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(file, before)
                raise
        finally:
            os.close(file)
        if not before:  # it may be new
            _flush(path.parent)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name when the block ends, or leaves nothing behind.

    Args:
      folder: to make; its parents are made, too.

    Yields:
      The folder under another name.

    Raises:
      FileError: the name is taken, or the system refuses.
    """
    folder = Path(folder).absolute()
    if folder.exists():
        raise FileError(folder, "exists already; delete it or choose another folder")
    temporary = temporary_beside(folder)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        commit_folder(temporary, folder)
    except OSError as error:
        raise FileError(folder, f"could not be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def publish(path: Path, data: bytes) -> bool:
    """Put bytes in a file that must never change afterwards, however many processes try.

    Returns:
      True if this call published it, False if the same bytes were there already.

    Raises:
      FileError: if other bytes are there already, or the system refuses.
    """
    path = Path(path)
    with _explained(path, len(data)), _written(path, data) as temporary:
        try:
            os.link(temporary, path)  # unlike a rename, fails when the name is taken
            published = True
        except FileExistsError:
            published = False
            if path.read_bytes() != data:
                raise FileError(path, "was published before with other content, which was kept") from None
        _flush(path.parent)  # also for the other's link, which may not be on the disk yet
        return published


def commit_folder(temporary: Path, final: Path) -> None:
    """Give a finished folder its final name, once all that is in it is on the disk.

    Raises:
      FileError: if the name is taken, or the system refuses.
    """
    final = Path(final)
    with _explained(final, 0):
        for folder, _, files in os.walk(temporary, topdown=False, onerror=_raise):
            for file in files:
                _flush(os.path.join(folder, file))
            _flush(folder)
        os.rename(temporary, final)
        _flush(final.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder at one stroke: a half-removed one is never seen under its name."""
    with _explained(folder, 0):
        os.rename(folder, temporary := temporary_beside(folder))
        shutil.rmtree(temporary)


def temporary_beside(path: Path) -> Path:
    """A fresh name in the same folder, which `clean_temporaries` knows."""
    path = Path(path)
    return path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")


def clean_temporaries(folder: Path, age: float = 3600.0) -> None:
    """Remove the temporary files and folders that killed writers left behind.

    Args:
      folder: where to look, not below.
      age: seconds since the last change; younger ones may belong to a live writer.
    """
    with _explained(folder, 0):
        if not os.path.isdir(folder):
            return
        for path in Path(folder).iterdir():
            with suppress(FileNotFoundError):  # removed by another process meanwhile
                if not _TEMPORARY.fullmatch(path.name) or time.time() - os.stat(path).st_mtime < age:
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    os.unlink(path)


@contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    """A temporary file beside `path` with the data on the disk; gone again afterwards, whatever happens."""
    _make_folder(path.parent)
    temporary = temporary_beside(path)
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            _write_all(file, data)
            os.fsync(file)
        finally:
            os.close(file)
        yield temporary
    finally:
        with suppress(OSError):  # a rename has taken it already
            os.unlink(temporary)


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _make_folder(folder: Path) -> None:
    if not os.path.isdir(folder):
        _make_folder(folder.parent)
        with suppress(FileExistsError):  # made by another process meanwhile
            os.mkdir(folder)
        _flush(folder.parent)


def _flush(path: str | Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def _explained(path: Path, size: int) -> Iterator[None]:
    """Errors of the system as one line that names the file."""
    try:
        yield
    except OSError as error:
        needed = f"; {size} bytes are needed" if error.errno in (errno.ENOSPC, errno.EDQUOT) and size else ""
        reason = error.strerror or type(error).__name__
        raise FileError(path, f"could not be written: {reason}{needed}") from error


def _nonfinite(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _nonfinite(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _nonfinite(item, f"{place}[{index}]")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _raise(error: OSError) -> NoReturn:
    raise error

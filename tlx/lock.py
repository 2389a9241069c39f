"""One writer a folder: a lock that the system takes back when its holder dies, however it dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tlx.errors import FileError


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder while something is written to it.

    Args:
      folder: made if it is missing; on one host, or on a file system that locks across hosts.

    Raises:
      FileError: another process holds it, or it cannot be made.
    """
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise FileError(folder, f"cannot be written to: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FileError(folder, "another process is at work here; wait for it, or choose --workdir") from None
        yield
    finally:
        os.close(handle)

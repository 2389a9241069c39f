"""Whether files are still those that were read."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tlx.atomic import digest_json
from tlx.errors import FileError

_DIGITS = 16


def stamp(about: Any, root: Path, files: Iterable[Path]) -> str:
    """A digest of each file's path, size and time of last change.

    The contents are not read, as they would have to be at every opening; what changes them changes the time, too. A
    copy that does not keep the times has another stamp, which costs a second preparation and gives the same examples.

    Args:
      about: what else decides what is made of the files; anything that JSON can hold.
      root: what the paths are taken relative to.
      files: all that is read.

    Returns:
      16 hex digits.

    Raises:
      FileError: a file is gone.
    """
    seen = []
    for file in files:
        try:
            stat = file.stat()
        except OSError as error:
            raise FileError(file, f"cannot be read: {error.strerror}") from None
        path = os.fsencode(file.relative_to(root)).hex()  # whatever bytes the name is made of
        seen.append([path, stat.st_size, stat.st_mtime_ns])
    return digest_json([about, sorted(seen)])[:_DIGITS]

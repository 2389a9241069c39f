"""Buckets, such as `gs://bucket/folder`, through fsspec; what goes wrong with one is one line."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tlx.errors import FileError, TlxError


def is_url(folder: Path | str) -> bool:
    """Whether a folder is in a bucket, such as `gs://bucket/data`."""
    return "://" in os.fspath(folder)


def mirror(url: str, kind: str) -> Path:
    """The folder of this machine that stands for one in a bucket: below `XDG_CACHE_HOME`, or else `~/.cache`.

    Args:
      url: of the bucket's folder.
      kind: what is in it, `data` or `work`.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "tlx" / kind / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]


@contextmanager
def opened(url: str) -> Iterator[tuple[Any, str]]:
    """The bucket's file system and the folder's name in it.

    Args:
      url: of the bucket's folder.

    Raises:
      TlxError: the package for this kind of bucket is missing.
      FileError: the bucket could not be used.
    """
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(url)
        files.invalidate_cache()  # other machines write, too
        yield files, str(root).rstrip("/")
    except TlxError:
        raise
    except (ImportError, ValueError) as error:
        hint = "run pip install 'tlx[gcs]'" if url.startswith("gs://") else str(error).splitlines()[0]
        raise TlxError(f"{url}: this kind of bucket needs a package; {hint}") from error
    except Exception as error:  # each kind of bucket has errors of its own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise FileError(url, f"the bucket could not be used ({reason})") from error

"""A study's records in a bucket: the truth for all machines, of which each has a copy to work with.

Only what is final goes there, so that a machine that is lost takes nothing with it but unfinished work.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tlx import atomic
from tlx.bucket import is_url, mirror, opened
from tlx.errors import FileError, RecordError

MANIFEST = "study.json"
# Timings first: a record is what says that a cell is done.
_KINDS = ("timings", "records")


def local_work(folder: str) -> Path:
    """The folder of this machine that a work folder is: itself, or the copy of one in a bucket, brought up to date.

    Args:
      folder: a path, or a URL.

    Raises:
      TlxError: the package for this kind of bucket is missing.
      FileError: the bucket cannot be read.
    """
    if not is_url(folder):
        return Path(folder)
    here = mirror(folder, "work")
    pull(folder, here)
    return here


def pull(url: str, here: Path) -> None:
    """Fetch every record that is not here yet, and what else tells of the study.

    Args:
      url: of the bucket's folder.
      here: work folder of this machine.

    Raises:
      TlxError: the package for this kind of bucket is missing.
      FileError: the bucket cannot be read, or the copies not be written.
    """
    with opened(url) as (files, root):
        for kind in (*_KINDS, "failures"):
            for name in _names(files, f"{root}/{kind}"):
                path = here / kind / name
                if kind == "failures" and (here / "records" / name).exists():
                    continue
                if not path.exists():
                    _keep(path, files.cat_file(f"{root}/{kind}/{name}"))
        if not (here / MANIFEST).exists() and files.exists(f"{root}/{MANIFEST}"):
            _keep(here / MANIFEST, files.cat_file(f"{root}/{MANIFEST}"))


def push(url: str, here: Path, ids: Iterable[str]) -> None:
    """Publish records of this machine, each once and for all.

    Args:
      url: of the bucket's folder.
      here: work folder of this machine.
      ids: of cells; those without a record here are passed over, but for a note why they failed.

    Raises:
      TlxError: the package for this kind of bucket is missing.
      FileError: the bucket cannot be written.
      RecordError: another machine published another result of the same cell.
    """
    with opened(url) as (files, root):
        for kind in (*_KINDS, "failures"):
            files.makedirs(f"{root}/{kind}", exist_ok=True)
        for cell in ids:
            name = f"{cell}.json"
            if not (here / "records" / name).exists():
                if (here / "failures" / name).exists():
                    files.pipe_file(f"{root}/failures/{name}", (here / "failures" / name).read_bytes())
                continue
            if (here / "timings" / name).exists():
                files.pipe_file(f"{root}/timings/{name}", (here / "timings" / name).read_bytes())
            _publish(files, f"{root}/records/{name}", (here / "records" / name).read_bytes())
            if files.exists(f"{root}/failures/{name}"):
                files.rm_file(f"{root}/failures/{name}")


def push_files(url: str, here: Path, names: Iterable[str]) -> None:
    """Copy files that may change, such as the manifest and the report, over those in the bucket.

    Args:
      url: of the bucket's folder.
      here: work folder of this machine.
      names: below both; those that are not here are passed over.

    Raises:
      TlxError: the package for this kind of bucket is missing.
      FileError: the bucket cannot be written.
    """
    with opened(url) as (files, root):
        files.makedirs(root, exist_ok=True)
        for name in names:
            if (here / name).is_file():
                files.pipe_file(f"{root}/{name}", (here / name).read_bytes())


def _publish(files: Any, there: str, data: bytes) -> None:
    """Write a file that must not be there yet, unless with the same content."""
    try:
        files.pipe_file(there, data, mode="create")
    except FileExistsError:
        if files.cat_file(there) != data:
            message = "another machine recorded this cell with another result; the first was kept"
            raise RecordError(there, message) from None


def _names(files: Any, there: str) -> list[str]:
    if not files.exists(there):
        return []
    names = [entry["name"].rpartition("/")[2] for entry in files.ls(there, detail=True)]
    return sorted(name for name in names if name.endswith(".json"))


def _keep(path: Path, data: bytes) -> None:
    try:
        atomic.publish(path, data)
    except FileError:
        if not path.exists():
            raise

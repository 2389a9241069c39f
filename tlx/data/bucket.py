"""A folder of all data sets that is a bucket: prepared ones are copied from and to a folder of this machine.

Records are read at random places, which over a network would starve the device, and array_record reads files only.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Any

from tlx import bucket
from tlx.atomic import commit_folder, remove_folder, temporary_beside
from tlx.data.builders import stored_as

_DESCRIPTION = "dataset_info.json"
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def mirror(url: str) -> Path:
    """The folder of this machine that stands for a bucket.

    Args:
      url: of the bucket's folder.
    """
    return bucket.mirror(url, "data")


def local_dir(name: str, data_dir: Path | str) -> Path:
    """The folder of this machine in which a dataset is looked for; one in a bucket is copied there before.

    Args:
      name: as given to `tlx.data.source.prepare`.
      data_dir: as given to `tlx.data.source.prepare`.

    Raises:
      TlxError: the name is unknown, or the bucket cannot be used.
    """
    if not bucket.is_url(data_dir):
        return Path(data_dir)
    url = os.fspath(data_dir)
    here = mirror(url)
    pull(url, *stored_as(name, here))
    return here


def pull(url: str, inside: str, version: str) -> None:
    """Copy a prepared data set from a bucket, unless the same is here already.

    Args:
      url: of the bucket's folder.
      inside: the data set's folder below it, without its version.
      version: the one wanted, or empty for the latest.

    Raises:
      TlxError: the package for this kind of bucket is missing.
      FileError: the bucket cannot be read, or the copy not be written.
    """
    with bucket.opened(url) as (files, root):
        there = f"{root}/{inside}"
        version = version or _latest(files, there)
        if not version or not files.exists(f"{there}/{version}/{_DESCRIPTION}"):
            return
        goal = mirror(url) / inside / version
        description = files.cat_file(f"{there}/{version}/{_DESCRIPTION}")
        if goal.exists():
            if (goal / _DESCRIPTION).is_file() and (goal / _DESCRIPTION).read_bytes() == description:
                return
            remove_folder(goal)  # prepared anew by another machine
        temporary = temporary_beside(goal)
        try:
            temporary.mkdir(parents=True)
            for entry in files.ls(f"{there}/{version}", detail=True):
                if entry["type"] == "file":
                    files.get_file(entry["name"], str(temporary / entry["name"].rpartition("/")[2]))
            commit_folder(temporary, goal)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def push(url: str, folder: Path) -> None:
    """Copy a prepared data set to a bucket, unless one is there; its description last, without which it is none.

    Args:
      url: of the bucket's folder.
      folder: below `mirror(url)`.

    Raises:
      TlxError: the package for this kind of bucket is missing.
      FileError: the bucket cannot be written.
    """
    with bucket.opened(url) as (files, root):
        there = f"{root}/{folder.relative_to(mirror(url)).as_posix()}"
        if files.exists(f"{there}/{_DESCRIPTION}"):
            return
        files.makedirs(there, exist_ok=True)
        names = sorted(
            (file.name for file in folder.iterdir() if file.is_file()), key=lambda name: name == _DESCRIPTION
        )
        for name in names:
            files.put_file(str(folder / name), f"{there}/{name}")


def _latest(files: Any, there: str) -> str:
    if not files.exists(there):
        return ""
    names = [entry["name"].rstrip("/").rpartition("/")[2] for entry in files.ls(there, detail=True)]
    versions = [name for name in names if _VERSION.fullmatch(name)]
    return max(versions, key=lambda name: [int(number) for number in name.split(".")], default="")

"""Data sets by the name that TFDS gives them, prepared by it or lying in the folder of all data sets already."""

import contextlib
import importlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from tlx.atomic import read_json
from tlx.data.builders.trouble import check_by_hand, check_network, one_line
from tlx.data.reframe import GOAL, readable_format, reframe
from tlx.data.schemes import Address
from tlx.data.stamp import stamp
from tlx.errors import FileError, TlxError, suggest

_NAME = re.compile(r"(?P<name>[A-Za-z]\w*)(/(?P<config>\w[^/:]*))?(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_DESCRIPTION = "dataset_info.json"
# TFDS's own, from the first that does not import everywhere.
_PACKAGES = (
    *("nearest_neighbors", "question_answering", "d4rl", "ranking", "recommendation", "rl_unplugged", "rlds.datasets"),
    *("robotics", "robomimic", "structured", "summarization", "text", "text_simplification", "time_series"),
    *("translate", "video", "vision_language"),
)


@dataclass(frozen=True)
class _Wanted:
    """What a name says, filled in from the builder's class or from what is on disk.

    Args:
      name: TFDS's.
      config: the builder's, or empty.
      version: as asked for or as the class has it; empty for any.
      exactly: whether the user asked for this version.
      made_by: the builder's class, or None where there is none.
    """

    name: str
    config: str
    version: str
    exactly: bool
    made_by: Any


def folder(address: Address, data_dir: Path) -> Path:
    """Where a data set's array_record files are, or go.

    Args:
      address: `tfds:NAME[/CONFIG][:VERSION]`.
      data_dir: the folder of all data sets.

    Raises:
      TlxError: TFDS knows none of this name, nor is one on disk.
      FileError: what is on disk is damaged, or in a format that cannot be read.
    """
    wanted = _wanted(address, data_dir)
    there = _stored(wanted, data_dir)
    if there is None:
        if wanted.made_by is None:
            raise TlxError(f"dataset {address.name}: {_unknown(wanted.name)}")
        return _root(wanted, data_dir) / wanted.version
    if readable_format(there) == GOAL:
        return there
    # No name that TFDS would take for a version.
    return there.with_name(f"{there.name}-{GOAL}-{stamp([], there, sorted(there.iterdir()))}")


def stored_as(address: Address, data_dir: Path) -> tuple[str, str]:
    """Where TFDS puts a data set below any folder of all data sets.

    Args:
      address: `tfds:NAME[/CONFIG][:VERSION]`.
      data_dir: the folder of all data sets.

    Returns:
      Its own folder, and the version in it, empty for the latest there is.

    Raises:
      TlxError: TFDS has no such config.
    """
    wanted = _wanted(address, data_dir)
    return _root(wanted, Path()).as_posix(), wanted.version


def builder(address: Address, data_dir: Path) -> Any:
    """The TFDS builder of a data set: of what is on disk, or else of its class.

    Args:
      address: `tfds:NAME[/CONFIG][:VERSION]`.
      data_dir: the folder of all data sets.

    Raises:
      TlxError: TFDS knows none of this name, nor is one on disk.
      FileError: what is on disk is damaged.
    """
    ours = folder(address, data_dir)
    wanted = _wanted(address, data_dir)
    there = ours if (ours / _DESCRIPTION).is_file() else _stored(wanted, data_dir)
    if there is None:
        return _made(address, wanted, data_dir)
    try:
        return tfds.builder_from_directory(there)
    except ModuleNotFoundError:
        with one_line(address.name):
            raise
    except Exception as error:  # TFDS lets the errors of its parsers through
        raise FileError(there, "has a damaged description; delete it and prepare it again") from error


def builder_class(address: Address) -> Any:
    """The TFDS builder class of a data set.

    Args:
      address: `tfds:NAME[/CONFIG][:VERSION]`.

    Raises:
      TlxError: TFDS has none of this name.
    """
    name = _parts(address)["name"]
    if (found := _class(address, name)) is None:
        raise TlxError(f"dataset {address.name}: {_unknown(name)}")
    return found


def write(address: Address, goal: Path, temporary: Path, data_dir: Path) -> None:
    """Prepare a data set that is not there as array_record: from its copy in another format, or from its raw data.

    Args:
      address: `tfds:NAME[/CONFIG][:VERSION]`.
      goal: `folder(address, data_dir)`, but below `temporary`.
      temporary: what stands for `data_dir` while it is written.
      data_dir: the folder of all data sets; raw data is kept in its `downloads`, and is looked for in
        `downloads/manual` where it may not be fetched.

    Raises:
      TlxError: TensorFlow, another package, a network or files fetched by hand are needed.
      FileError: the copy in another format is damaged.
    """
    wanted = _wanted(address, data_dir)
    there = _stored(wanted, data_dir)
    if there is not None:
        reframe(there, goal)
        return
    downloads = data_dir / "downloads"
    made = _made(address, wanted, temporary)
    check_by_hand(address.name, made, downloads / "manual")
    check_network(address.name, made, downloads)
    config = tfds.download.DownloadConfig(try_download_gcs=False, manual_dir=downloads / "manual")
    with one_line(address.name):
        made.download_and_prepare(file_format=GOAL, download_dir=downloads, download_config=config)


def _parts(address: Address) -> dict[str, str]:
    match = _NAME.fullmatch(address.rest)
    if match is None:
        raise TlxError(f"dataset {address.name!r}: expected tfds:NAME, tfds:NAME/CONFIG or tfds:NAME/CONFIG:1.0.0")
    return {key: value or "" for key, value in match.groupdict().items()}


def _wanted(address: Address, data_dir: Path) -> _Wanted:
    parts = _parts(address)
    made_by = _class(address, parts["name"])
    config, version = parts["config"], parts["version"]
    configs = made_by.builder_configs if made_by is not None else {}
    if configs and not config:
        config = made_by.default_builder_config.name
    elif made_by is None and not config:
        config = _usual_config(data_dir / parts["name"])
    if made_by is not None and config not in configs and (config or configs):
        # Configs that the class had once may still be on disk.
        if not _versions(data_dir / parts["name"] / config):
            raise TlxError(f"dataset {address.name}: TFDS has no config {config!r} of it{suggest(config, configs)}")
        made_by = None
    usual = "" if made_by is None else str((config and configs[config].version) or made_by.VERSION)
    return _Wanted(parts["name"], config, version or usual, bool(version), made_by)


def _class(address: Address, name: str) -> Any:
    for find_more in (lambda: None, _import_rest):
        find_more()
        try:
            with one_line(address.name):
                return tfds.builder_cls(name)
        except TlxError as error:
            if not isinstance(error.__cause__, tfds.core.DatasetNotFoundError):
                raise
    return None


@cache
def _import_rest() -> None:
    """Make TFDS know all its builders: it leaves out all packages after the first that lacks something, as h5py."""
    for package in _PACKAGES:
        with contextlib.suppress(ImportError):
            importlib.import_module(f"tensorflow_datasets.{package}")


def _usual_config(folder: Path) -> str:
    """The config that TFDS noted as the usual one when it prepared the first."""
    note = folder / ".config" / "metadata.json"
    if _versions(folder) or not note.is_file():
        return ""
    found = read_json(note)
    return str(found.get("default_config_name", "")) if isinstance(found, dict) else ""


def _stored(wanted: _Wanted, data_dir: Path) -> Path | None:
    """The folder of the version wanted, or else of the latest one; in whatever format."""
    root = _root(wanted, data_dir)
    there = _versions(root)
    if wanted.version in there:
        return root / wanted.version
    return root / there[-1] if there and not wanted.exactly else None


def _versions(root: Path) -> list[str]:
    names = [path.name for path in root.glob("*") if _VERSION.fullmatch(path.name) and (path / _DESCRIPTION).is_file()]
    return sorted(names, key=lambda name: [int(number) for number in name.split(".")])


def _root(wanted: _Wanted, data_dir: Path) -> Path:
    return data_dir / wanted.name / wanted.config


def _made(address: Address, wanted: _Wanted, data_dir: Path) -> Any:
    if wanted.made_by is None:
        raise TlxError(f"dataset {address.name}: {_unknown(wanted.name)}")
    with one_line(address.name):
        return wanted.made_by(
            data_dir=str(data_dir), config=wanted.config or None, version=wanted.version if wanted.exactly else None
        )


def _unknown(name: str) -> str:
    known = tfds.list_builders(with_community_datasets=False)
    return f"TFDS knows no {name!r}, nor is it prepared{suggest(name, known)}"

"""Datasets on disk: prepared once as array_record files, opened by name and split; no network needed."""

import contextlib
import io
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from tlx.atomic import clean_temporaries, commit_folder, temporary_beside
from tlx.bucket import is_url
from tlx.data import bucket
from tlx.data.builders import builder, named, prepared_folder, stored_as
from tlx.data.builders.trouble import one_line
from tlx.data.columns import View, roles
from tlx.data.schemes import parse
from tlx.errors import FileError, TlxError, suggest

# The folder, in that of a data set, of a tokenizer that was made for it.
TOKENIZER = "tokenizer"


def prepare(name: str, data_dir: Path | str) -> None:
    """Write a dataset below `data_dir`, unless it is there already.

    It is written under a temporary name and renamed when whole, so neither a kill nor a second
    process doing the same leaves a half-written one.

    Args:
      name: a key of `BUILDERS`, or a scheme and what follows it: `tfds:NAME`, `folder:PATH`, `table:FILE`, `npz:FILE`
        or `hf:PATH`.
      data_dir: the folder of all datasets; the dataset goes to `data_dir/name/version`, and raw data that has to be
        fetched is looked for and kept in `data_dir/downloads`. May be a bucket's URL, as a string.

    Raises:
      TlxError: the name is unknown, or a package that carries the raw data is missing.
      FileError: the folder cannot be written, or the user's own files cannot be read.
    """
    if is_url(data_dir):
        here = bucket.local_dir(name, data_dir)
        prepare(name, here)
        if (there := prepared_folder(name, here)).name == stored_as(name, here)[1]:  # no copy of what the bucket has
            bucket.push(os.fspath(data_dir), there)
        return
    data_dir = Path(data_dir)
    with contextlib.suppress(FileError):  # tidying up after the killed is a courtesy
        clean_temporaries(data_dir)
    goal = prepared_folder(name, data_dir)
    if goal.exists():
        return
    inside = goal.relative_to(data_dir)
    temporary = temporary_beside(data_dir / inside.parts[0])
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        _write(name, temporary, temporary / inside, data_dir)
        commit_folder(temporary / inside, goal)
    except OSError as error:
        raise FileError(data_dir, f"{name} could not be prepared here: {error.strerror or error}") from error
    except FileError:
        if not _is_prepared(goal):  # otherwise another process was quicker, and its files are as good
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_split(name: str, split: str, data_dir: Path | str) -> Any:
    """Random access to the examples of a split of a prepared dataset.

    Args:
      name: as given to `prepare`.
      split: in TFDS's notation, e.g. `train`, `train[:1000]`, `train[80%:]`.
      data_dir: as given to `prepare`.

    Returns:
      A TFDS data source of {'image': PNG or JPEG bytes, 'label': int} or {'text': UTF-8 bytes, 'label': int, ...}.

    Raises:
      TlxError: the name or the split is unknown, or the split is empty.
      FileError: the dataset is not prepared, a file of it is missing, or its description is damaged.
    """
    prepared = _prepared(name, bucket.local_dir(name, data_dir))
    _check_split(name, split, prepared.info.splits)
    for file, _, _ in _spans(prepared.info.splits[split]):
        if not os.path.isfile(file):
            raise FileError(file, f"is missing; delete {os.path.dirname(file)} and prepare it again")
    address = parse(name)
    found = roles(name, prepared.info, address.options if address.scheme == "tfds" else {}) if address.scheme else None
    image = found.get("image") if found else "image"
    # Pillow decodes, later: TFDS would pick OpenCV or Pillow by what is installed.
    decoders = {image: tfds.decode.SkipDecoding()} if image in prepared.info.features else None
    source = prepared.as_data_source(split, decoders=decoders, file_format="array_record")
    return View(name, source, found) if found else source


def own_tokenizer(name: str, data_dir: Path | str) -> Path | None:
    """The folder of the tokenizer that was made for a data set, where there is one.

    Args:
      name: as given to `prepare`.
      data_dir: as given to `prepare`.
    """
    folder = prepared_folder(name, bucket.local_dir(name, data_dir)) / TOKENIZER
    return folder if folder.is_dir() else None


def shared_examples(name: str, split: str, other: str, data_dir: Path | str) -> int:
    """How many examples two splits of a prepared dataset have in common.

    Args:
      name: as given to `prepare`.
      split: in TFDS's notation.
      other: in TFDS's notation.
      data_dir: as given to `prepare`.

    Returns:
      A number of examples, by their place on disk.

    Raises:
      TlxError: the name or a split is unknown.
      FileError: the dataset is not prepared, or its description is damaged.
    """
    splits = _prepared(name, bucket.local_dir(name, data_dir)).info.splits
    for each in (split, other):
        _check_split(name, each, splits)
    ours, theirs = _spans(splits[split]), _spans(splits[other])
    return sum(
        max(0, min(end, stop) - max(begin, start))
        for file, begin, end in ours
        for same, start, stop in theirs
        if file == same
    )


def spans(name: str, split: str, data_dir: Path | str) -> list[tuple[str, int, int]]:
    """Which examples of which files make up a split: file, first, and one past the last.

    Args:
      name: as given to `prepare`.
      split: in TFDS's notation.
      data_dir: as given to `prepare`.

    Raises:
      TlxError: the name or the split is unknown.
      FileError: the data set is not prepared, or its description is damaged.
    """
    splits = _prepared(name, bucket.local_dir(name, data_dir)).info.splits
    _check_split(name, split, splits)
    return _spans(splits[split])


def _spans(split: Any) -> list[tuple[str, int, int]]:
    """Which examples of which files make up a split."""
    spans = []
    for part in split.file_instructions:
        taken = part.examples_in_shard - part.skip if part.take == -1 else part.take
        spans.append((os.fspath(part.filename), part.skip, part.skip + taken))
    return spans


def _prepared(name: str, data_dir: Path) -> Any:
    there = prepared_folder(name, data_dir)
    if not _is_prepared(there):
        raise FileError(there, "is not a prepared dataset; delete it, if it is there, and prepare it")
    return builder(name, data_dir)


def _check_split(name: str, split: str, splits: Any) -> None:
    base = re.split(r"[\[+]", split)[0]
    if base not in splits:
        raise TlxError(f"split {split!r}: dataset {name} has no {base!r}{suggest(base, splits)}")
    try:
        examples = splits[split].num_examples
    except (ValueError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise TlxError(f"split {split!r} of dataset {name}: {reason}") from None
    if examples < 1:
        raise TlxError(f"split {split!r} of dataset {name}: there are no examples in it")


def _write(name: str, temporary: Path, goal: Path, data_dir: Path) -> None:
    """Prepare a dataset in a temporary folder that stands for `data_dir`."""
    downloads = data_dir / "downloads"
    address = parse(name)
    if address.scheme and sys.stderr.isatty():
        tfds.enable_progress_bar()  # it may take hours
    else:
        tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints what it is about to download
        if address.scheme == "tfds":
            named.write(address, goal, temporary, data_dir)
            return
        made = builder(name, temporary)
        if hasattr(made, "fetch"):
            made.fetch(downloads)
        config = tfds.download.DownloadConfig(try_download_gcs=False, manual_dir=downloads)
        with one_line(name) if address.scheme else contextlib.nullcontext():
            made.download_and_prepare(file_format="array_record", download_config=config)
        if hasattr(made, "write_tokenizer"):
            made.write_tokenizer(goal / TOKENIZER)
    if address.scheme and prepared_folder(name, temporary) != goal:
        raise FileError(address.rest, "was changed while it was read; prepare it again")


def _is_prepared(there: Path) -> bool:
    return (there / "dataset_info.json").is_file()

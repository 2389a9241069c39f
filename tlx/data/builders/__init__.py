"""The datasets that can be prepared, by name; each is imported only when asked for."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlx.data.builders import knobs
from tlx.data.schemes import Address, parse
from tlx.errors import FileError, TlxError, suggest

# The values' type is Callable[[], type[tfds.core.GeneratorBasedBuilder]], unsaid so as not to import tfds.
Builder = Callable[[], Any]


def _digits() -> Any:
    from tlx.data.builders.digits import Digits

    return Digits


def _mnist5k() -> Any:
    from tlx.data.builders.mnist5k import Mnist5k

    return Mnist5k


def _sentiment4() -> Any:
    from tlx.data.builders.sentiment4 import Sentiment4

    return Sentiment4


def _glyphs() -> Any:
    from tlx.data.builders.glyphs import Glyphs

    return Glyphs


def _blobs() -> Any:
    from tlx.data.builders.blobs import Blobs

    return Blobs


def _fractals() -> Any:
    from tlx.data.builders.fractals import Fractals

    return Fractals


def _set_copy() -> Any:
    from tlx.data.builders.synthetic_text import SetCopy

    return SetCopy


# Made-up data sets, each with presets and knobs of its own, which `knobs` takes out of a name.
_MADE: dict[str, Builder] = {"glyphs": _glyphs, "blobs": _blobs, "fractals": _fractals, "set_copy": _set_copy}

# What follows a "/" is the name of one of the builder's configs, as in TFDS.
BUILDERS: dict[str, Builder] = {
    "digits": _digits,
    "mnist5k": _mnist5k,
    "sentiment4/tweets": _sentiment4,
    "sentiment4/movies": _sentiment4,
    "sentiment4/products": _sentiment4,
    "sentiment4/editorials": _sentiment4,
    **{name: made for family, made in _MADE.items() for name in knobs.names(family)},
}


def spelled(name: str) -> str:
    """A data set's name as it goes into content ids: one spelling for equal knobs, and no place on a disk.

    Args:
      name: as the user wrote it. What the user's own files hold is told by the examples' digests.

    Raises:
      TlxError: as `parse`, or a knob is wrong.
    """
    address = parse(name)
    if address.scheme in ("", "tfds"):
        variant = knobs.parse(name)
        return variant.name if variant else name
    options = "&".join(f"{option}={value}" for option, value in sorted(address.options.items()))
    return f"{address.scheme}:{'?' if options else ''}{options}"


def builder_class(name: str) -> Any:
    """The TFDS builder class of a dataset.

    Args:
      name: a key of `BUILDERS`, or a scheme and what follows it, as `tlx.data.schemes` takes apart.

    Raises:
      TlxError: the name is unknown.
    """
    address = parse(name)
    if address.scheme == "tfds":
        return _named().builder_class(address)
    if address.scheme:
        return _own().Own
    if variant := knobs.parse(name):
        return _MADE[variant.family]()
    if name not in BUILDERS:
        raise TlxError(f"dataset {name!r}: there is no such dataset{suggest(name, BUILDERS)}")
    return BUILDERS[name]()


def prepared_folder(name: str, data_dir: Path) -> Path:
    """Where a dataset's array_record files are, or go once it is prepared.

    Args:
      name: as for `builder_class`.
      data_dir: the folder of all datasets.

    Raises:
      TlxError: the name is unknown.
      FileError: the user's own files are gone, or what is on disk is damaged.
    """
    address = parse(name)
    if address.scheme == "tfds":
        return Path(_named().folder(address, data_dir))
    if address.scheme:
        return data_dir / _own().name_of(address, *_kind(address).files(address)) / str(_own().Own.VERSION)
    return data_dir / knobs.folder(name) / str(builder_class(name).VERSION)


def builder(name: str, data_dir: Path) -> Any:
    """The TFDS builder of a dataset, with its config where it has several.

    Args:
      name: as for `builder_class`.
      data_dir: the folder of all datasets.

    Raises:
      TlxError: the name is unknown.
      FileError: it is prepared, but its description is damaged; or the user's own files cannot be read.
    """
    address = parse(name)
    if address.scheme == "tfds":
        return _named().builder(address, data_dir)
    there = prepared_folder(name, data_dir)
    try:
        if not address.scheme:
            config = name if knobs.parse(name) else name.partition("/")[2] or None
            return builder_class(name)(data_dir=os.fspath(data_dir), config=config)
        if (there / "dataset_info.json").is_file():
            return _own().prepared(there)
    except Exception as error:  # TFDS lets the errors of its parsers through
        raise FileError(there, "has a damaged description; delete it and prepare it again") from error
    return _own().Own(there.parent.name, _kind(address).content(address), os.fspath(data_dir))


def stored_as(name: str, data_dir: Path) -> tuple[str, str]:
    """Where a dataset lies below any folder of all datasets, known before that folder is looked into.

    Args:
      name: as for `builder_class`.
      data_dir: the folder of all datasets.

    Returns:
      Its own folder, and the version in it, empty for the latest there is.

    Raises:
      TlxError: the name is unknown.
      FileError: the user's own files are gone.
    """
    address = parse(name)
    if address.scheme == "tfds":
        inside, version = _named().stored_as(address, data_dir)
        return str(inside), str(version)
    goal = prepared_folder(name, data_dir)
    return goal.parent.relative_to(data_dir).as_posix(), goal.name


def _named() -> Any:
    from tlx.data.builders import named

    return named


def _own() -> Any:
    from tlx.data.builders import own

    return own


def _kind(address: Address) -> Any:
    """The module that reads files of one kind, each with `files(address)` and `content(address)`."""
    if address.scheme == "folder":
        from tlx.data.builders import folder

        return folder
    if address.scheme == "table":
        from tlx.data.builders import table

        return table
    if address.scheme == "npz":
        from tlx.data.builders import npz

        return npz
    from tlx.data.builders import hf

    return hf

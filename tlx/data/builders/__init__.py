"""The datasets that can be prepared, by name; each is imported only when asked for."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


# What follows a "/" is the name of one of the builder's configs, as in TFDS.
BUILDERS: dict[str, Builder] = {
    "digits": _digits,
    "mnist5k": _mnist5k,
    "sentiment4/tweets": _sentiment4,
    "sentiment4/movies": _sentiment4,
    "sentiment4/products": _sentiment4,
    "sentiment4/editorials": _sentiment4,
}


def builder_class(name: str) -> Any:
    """The TFDS builder class of a dataset.

    Args:
      name: a key of `BUILDERS`.

    Raises:
      TlxError: the name is unknown.
    """
    if name not in BUILDERS:
        raise TlxError(f"dataset {name!r}: there is no such dataset{suggest(name, BUILDERS)}")
    return BUILDERS[name]()


def builder(name: str, data_dir: Path) -> Any:
    """The TFDS builder of a dataset, with its config where it has several.

    Args:
      name: a key of `BUILDERS`.
      data_dir: the folder of all datasets; this one is, or goes to, `data_dir/name/version`.

    Raises:
      TlxError: the name is unknown.
      FileError: it is prepared, but its description is damaged.
    """
    made = builder_class(name)
    try:
        return made(data_dir=os.fspath(data_dir), config=name.partition("/")[2] or None)
    except Exception as error:  # TFDS lets the errors of its parsers through
        folder = Path(data_dir) / name / str(made.VERSION)
        raise FileError(folder, "has a damaged description; delete it and prepare it again") from error

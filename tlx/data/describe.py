"""What the examples of a data set look like, known before any of them is on disk."""

import os
from pathlib import Path

from tlx.data.builders import BUILDERS
from tlx.errors import TlxError, suggest


def describe(name: str, data_dir: Path) -> tuple[tuple[int, ...], int]:
    """Shape of one input and number of classes, as the data set's builder declares them.

    Args:
      name: a key of `BUILDERS`.
      data_dir: the folder of all data sets; nothing is written there.

    Returns:
      [rows, columns, channels] of an image, and the classes.

    Raises:
      TlxError: the name is unknown.
    """
    if name not in BUILDERS:
        raise TlxError(f"dataset {name!r}: there is no such dataset{suggest(name, BUILDERS)}")
    features = BUILDERS[name]()(data_dir=os.fspath(data_dir)).info.features
    return tuple(int(size) for size in features["image"].shape), int(features["label"].num_classes)

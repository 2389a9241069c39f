"""What the examples of a data set look like, known before any of them is on disk."""

from pathlib import Path
from typing import Any

from tlx.data.bucket import local_dir
from tlx.data.builders import builder
from tlx.data.columns import chosen, roles
from tlx.data.images import COLOURS, Fit, several_sizes
from tlx.data.schemes import parse


def describe(
    name: str,
    data_dir: Path | str,
    length: int,
    resize: tuple[int, int] | int | None = None,
    crop: tuple[int, int] | None = None,
) -> tuple[tuple[int | None, ...], int]:
    """Shape of one input and number of classes, as the data set's builder declares them.

    Args:
      name: as `tlx.data.source.prepare` takes it.
      data_dir: the folder of all data sets; nothing is written there.
      length: tokens that a text is cut or filled up to.
      resize: as for `tlx.data.pipeline.load_arrays`.
      crop: as for `tlx.data.pipeline.load_arrays`.

    Returns:
      [rows, columns, channels] of an image, rows and columns None where images differ, or [length] of a text; and the
      classes, 0 where there is a score in place of a label.

    Raises:
      TlxError: the name is unknown, or no feature is the image or text.
      FileError: the user's own files cannot be read.
    """
    features = features_of(name, data_dir)
    classes = int(features["label"].num_classes) if "label" in features else 0
    if "text" in features:
        return (length,), classes
    shape = features["image"].shape
    return (*Fit(resize, crop).size(shape), shape[-1] or COLOURS), classes


def fixed(name: str, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """The shape of an input that is the same for all of a data set, as a model needs it.

    Args:
      name: of the data set, for the message.
      shape: from `describe`.

    Raises:
      TlxError: it is not the same for all.
    """
    if None in shape:
        raise several_sizes(name)
    return tuple(size for size in shape if size is not None)


def is_text(name: str, data_dir: Path | str) -> bool:
    """Whether a data set's examples are texts, which a tokenizer must make token ids of.

    Args:
      name: as `tlx.data.source.prepare` takes it.
      data_dir: the folder of all data sets; nothing is written there.

    Raises:
      TlxError: the name is unknown, or no feature is the image or text.
      FileError: the user's own files cannot be read.
    """
    return "text" in features_of(name, data_dir)


def features_of(name: str, data_dir: Path | str) -> dict[str, Any]:
    """The TFDS features of a data set by their roles.

    Args:
      name: as `tlx.data.source.prepare` takes it.
      data_dir: the folder of all data sets; nothing is written there.

    Returns:
      `image`, or `text` and perhaps `text2`; and `label`, `score` or both.

    Raises:
      TlxError: the name is unknown, or no feature is the image or text.
      FileError: the user's own files cannot be read.
    """
    address = parse(name)
    info = builder(name, local_dir(name, data_dir)).info
    return chosen(info, roles(name, info, address.options if address.scheme == "tfds" else {}))

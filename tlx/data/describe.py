"""What the examples of a data set look like, known before any of them is on disk."""

from pathlib import Path

from tlx.data.builders import builder


def describe(name: str, data_dir: Path, length: int) -> tuple[tuple[int, ...], int]:
    """Shape of one input and number of classes, as the data set's builder declares them.

    Args:
      name: a key of `BUILDERS`.
      data_dir: the folder of all data sets; nothing is written there.
      length: tokens that a text is cut or filled up to.

    Returns:
      [rows, columns, channels] of an image or [length] of a text, and the classes.

    Raises:
      TlxError: the name is unknown.
    """
    features = builder(name, data_dir).info.features
    shape = (length,) if "text" in features else tuple(int(size) for size in features["image"].shape)
    return shape, int(features["label"].num_classes)


def is_text(name: str, data_dir: Path) -> bool:
    """Whether a data set's examples are texts, which a tokenizer must make token ids of.

    Args:
      name: a key of `BUILDERS`.
      data_dir: the folder of all data sets; nothing is written there.

    Raises:
      TlxError: the name is unknown.
    """
    return "text" in builder(name, data_dir).info.features

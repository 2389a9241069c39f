"""Texts one after another in rows of one length, for models that learn from text alone."""

from pathlib import Path

import numpy as np

from tlx.data.look import Examples
from tlx.data.packing import concatenated
from tlx.data.pipeline import Arrays, digest
from tlx.data.text import Tokenizer
from tlx.errors import TlxError


def load_running_text(name: str, split: str, data_dir: Path | str, tokenize: Tokenizer) -> Arrays:
    """A whole split of texts, cut into rows wherever a row ends.

    Args:
      name: of a prepared data set of texts.
      split: in TFDS's notation.
      data_dir: where it was prepared.
      tokenize: its length is that of a row. What its rules put around a text, or else its end token, keeps texts apart.

    Returns:
      Full rows with labels of 0, without classes; what is left of the last one is dropped.

    Raises:
      TlxError: the examples are no texts, or too few for one row.
      FileError: one is damaged.
    """
    examples = Examples(name, split, data_dir)
    if not examples.is_text:
        raise TlxError(f"dataset {name} is of images, which cannot be put into rows of text")
    rows = concatenated(tokenize.whole(list(examples)), tokenize.length, tokenize.end).id_NT
    label_N = np.zeros(len(rows), np.int32)
    return Arrays(name, split, rows, label_N, 0, digest(rows, label_N), tokenizer=tokenize.digest)

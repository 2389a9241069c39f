"""Samples of a data set as a model gets them, from a study's own preprocessing."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from tlx import atomic
from tlx.data.look import Examples
from tlx.data.pipeline import stream
from tlx.data.preprocess import normalised
from tlx.data.source import open_split
from tlx.data.text import Tokenizer
from tlx.report import contact
from tlx.report.canvas import DPI
from tlx.report.contact import SampleText
from tlx.study.spec import Preprocess, Study

# Shape suffixes: R rows of the sheet, K draws of each, B = R examples, H rows, W columns, C channels.

ROWS, DRAWS = 8, 4


def spread(examples: Examples) -> list[int]:
    """Positions of a few examples from all over a split, as neighbours may be alike.

    Args:
      examples: the split.
    """
    return [i * len(examples) // ROWS for i in range(min(ROWS, len(examples)))]


def sheet(examples: Examples, positions: Sequence[int], data_dir: Path | str, study: Study | None, seed: int) -> Figure:
    """A contact sheet: images as they are stored, and as training batches hold them.

    Args:
      examples: the split.
      positions: which of them.
      data_dir: where it was prepared.
      study: whose preprocessing; None for none.
      seed: of what the ops draw.

    Raises:
      TlxError: images of several sizes, and nothing gives them one; or the ops cannot be done to them.
    """
    preprocess = study.preprocess if study else Preprocess()
    source = open_split(examples.name, examples.split, data_dir)
    (batch,) = stream(source, lambda step: np.array(positions), 0, 1, **preprocess.fit)
    classes = int(source.dataset_info.features["label"].num_classes)
    ops = study.pipeline(classes) if study and preprocess.ops else None
    placed = jax.tree.map(jnp.asarray, batch)
    steps = range(DRAWS if ops and ops.random else 1)
    draws = [(ops(placed, seed, step) if ops else placed)["input"] for step in steps]
    draws_RKHWC = np.stack([np.asarray(normalised(image_BHWC)) for image_BHWC in draws], axis=1)
    shown = examples.at(positions)
    says = ", ".join(name for name, _ in preprocess.ops) or "no ops"
    title = f"{examples.name} {examples.split}: {says}"
    return contact.draw([image for image, _ in shown], draws_RKHWC, [label for _, label in shown], title)


def texts(examples: Examples, positions: Sequence[int], tokenize: Tokenizer) -> list[SampleText]:
    """Texts with their tokens.

    Args:
      examples: the split.
      positions: which of them.
      tokenize: what a study would use.
    """
    shown = examples.at(positions)
    return contact.sample_texts([text for text, _ in shown], [label for _, label in shown], tokenize)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG.

    Args:
      figure: what to write.
      path: where; folders are made.

    Raises:
      FileError: the system refuses.
    """
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    atomic.write_bytes(path, png.getvalue())


def pairs(found: Any, ours: Examples, theirs: Examples, most: int = 10) -> Figure:
    """The closest pairs of two sets of images, side by side.

    Args:
      found: from `tlx.data.overlap.image_overlap`.
      ours: the first set.
      theirs: the second set.
      most: how many.
    """
    from tlx.report import overlap

    closest = found.near.closest[:most]
    first = [image for image, _ in ours.at([pair.ours for pair in closest])]
    second = [image for image, _ in theirs.at([pair.theirs for pair in closest])]
    title = f"{ours.name} {ours.split} | {theirs.name} {theirs.split}: the closest pairs"
    return overlap.draw(found, first, np.stack(second), title)

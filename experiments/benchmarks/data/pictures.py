"""The examples that both sides read: small images as one array, and JPEGs as large as photographs are decoded.

Shape suffixes: N examples, H rows, W columns, C channels.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tlx.data.builders import knobs
from tlx.data.builders.canvas import draw
from tlx.data.builders.strokes import strokes

SIDE, QUALITY, CLASSES = 256, 90, 10
_COARSE, _GRAIN = 16, 12  # cells of the large shapes, and gray levels of the fine ones


def small(examples: int) -> tuple[np.ndarray, np.ndarray]:
    """Glyphs of 28 x 28 pixels.

    Returns:
      uint8 [N, 28, 28, 1] and int32 labels [N].
    """
    variant = knobs.parse(f"glyphs?side=28&train={examples}")
    assert variant
    images, labels = zip(*draw(strokes(variant.settings, 0), variant.settings, 0), strict=True)
    return np.concatenate(images)[..., None], np.concatenate(labels).astype(np.int32)


def write_jpegs(folder: Path, examples: int) -> None:
    """Pictures with large shapes and fine grain, `0.jpg` and so on, about as large as photographs of their size."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(examples):
        coarse = Image.fromarray(rng.integers(0, 256, (_COARSE, _COARSE, 3), np.uint8))
        picture_HWC = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), float)
        picture_HWC = picture_HWC + rng.normal(0, _GRAIN, picture_HWC.shape)
        file = folder / f"{i}.jpg"
        Image.fromarray(np.clip(picture_HWC, 0, 255).astype(np.uint8)).save(file, quality=QUALITY)


class Pictures(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """The JPEGs of a folder as tlx reads them."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER: Path

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(num_classes=CLASSES),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        del dl_manager
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, Any]]:
        for i in range(len(list(self.FOLDER.glob("*.jpg")))):
            yield i, {"image": (self.FOLDER / f"{i}.jpg").read_bytes(), "label": i % CLASSES}


def prepared(jpegs: Path, data_dir: Path) -> Any:
    """The same JPEGs as a source for `tlx.data.pipeline.stream`."""
    tfds.disable_progress_bar()
    Pictures.FOLDER = jpegs
    made = Pictures(data_dir=data_dir)
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints what it is about to write
        made.download_and_prepare(file_format="array_record")
    return made.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})

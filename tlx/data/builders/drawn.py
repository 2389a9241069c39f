"""What the builders of drawn data sets share: gray images as PNG, with labels."""

import io
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tlx.data.builders.canvas import Ink, draw
from tlx.data.builders.made import Made
from tlx.data.builders.presets import SPLITS


class Drawn(Made, skip_registration=True):  # type: ignore[call-arg]
    """Images that a formula draws; a subclass says how, and what they show."""

    ABOUT: ClassVar[str]

    def ink(self, split: int) -> Ink:
        """What draws the examples of a split.

        Args:
          split: place in `SPLITS`.
        """
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        knob = self.builder_config.settings
        image = tfds.features.Image(shape=(knob["side"], knob["side"], 1), encoding_format="png")
        return self._made_info(
            {"image": image, "label": tfds.features.ClassLabel(num_classes=knob["classes"])}, self.ABOUT
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        del dl_manager  # nothing is downloaded
        return {name: self._generate_examples(split) for split, name in enumerate(SPLITS)}

    def _generate_examples(self, split: int) -> Iterator[tuple[int, Any]]:
        key = 0
        for image_NHW, label_N in draw(self.ink(split), self.builder_config.settings, split):
            for image_HW, label in zip(image_NHW, label_N, strict=True):
                yield key, {"image": _png(image_HW), "label": int(label)}
                key += 1


def _png(image_HW: np.ndarray) -> bytes:
    file = io.BytesIO()  # TFDS would need TensorFlow to encode an array, but takes a PNG as it is
    Image.fromarray(image_HW).save(file, format="png")
    return file.getvalue()

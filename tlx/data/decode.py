"""Stored examples to what a batch is made of."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tlx.data.images import MODES, Fit, decode
from tlx.errors import TlxError


class Decoder:
    """Makes pixels or text, and a label or score, of one stored example.

    Args:
      name: of the data set, for messages.
      features: TFDS features by their roles.
      fit: gives images one size.
      target: `label`, `score`, or empty for neither.

    Raises:
      TlxError: the images are no bytes, or have neither 1, 3 nor 4 channels.
    """

    def __init__(self, name: str, features: Mapping[str, Any], fit: Fit, target: str) -> None:
        self.is_text, self.pair = "text" in features, "text2" in features
        self.target, self.dtype = target, np.dtype(np.float32 if target == "score" else np.int32)
        self.num_classes = features["label"].num_classes if target == "label" else 0
        if self.is_text:
            return
        image = features["image"]
        self.shape, self.fit = tuple(image.shape), fit
        if np.dtype(image.np_dtype) != np.uint8 or self.shape[-1] not in (*MODES, None):
            found = f"{np.dtype(image.np_dtype)} {self.shape}"
            raise TlxError(f"dataset {name}: expected uint8 images of 1, 3 or 4 channels, got {found}")

    def __call__(self, example: Mapping[str, Any]) -> tuple[Any, Any]:
        """One example.

        Args:
          example: of a TFDS data source, images as bytes.

        Returns:
          uint8 [H, W, C], a text or a pair of texts; and an integer or a float, 0 where neither is wanted.

        Raises:
          ValueError: the label is none of the classes', or the image has another size than declared.
          OSError, SyntaxError: the image is damaged.
        """
        target = self._target(example)
        if self.is_text:
            text = example["text"].decode()
            return (text, example["text2"].decode()) if self.pair else text, target
        return decode(example["image"], self.shape, self.fit), target

    def _target(self, example: Mapping[str, Any]) -> float:
        if not self.target:
            return 0
        return float(example["score"]) if self.target == "score" else self._label(int(example["label"]))

    def _label(self, label: int) -> int:
        if not 0 <= label < self.num_classes:
            hint = ": the split is not labelled" if label == -1 else ""
            raise ValueError(f"label {label} is not below {self.num_classes}{hint}")
        return label

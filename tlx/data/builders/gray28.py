"""What the digit datasets share: 28 x 28 gray images as PNG, two splits, an order fixed for good."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tlx.data.order import stratified_split

SPLIT_SEED = 0


def info(builder: tfds.core.GeneratorBasedBuilder, **about: str) -> tfds.core.DatasetInfo:
    """The features and the description of one dataset.

    Args:
      builder: whose it is.
      about: `description`, `homepage`, `citation` and `license`.
    """
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(28, 28, 1), encoding_format="png"),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
    )
    return tfds.core.DatasetInfo(
        builder=builder,
        features=features,
        supervised_keys=("image", "label"),
        disable_shuffling=True,  # the order is already shuffled, and must not depend on a hash
        **about,
    )


def splits(image_NHW: np.ndarray, label_N: np.ndarray, held_out: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Split examples into `train` and `test`, class by class, the same way everywhere.

    Args:
      image_NHW: uint8, 28 x 28 pixels.
      label_N: integer classes.
      held_out: examples in `test`.

    Returns:
      Images and labels of each split.
    """
    train, test = stratified_split(label_N, held_out, SPLIT_SEED)
    parts = {"train": train, "test": test}
    return {name: (image_NHW[part], label_N[part]) for name, part in parts.items()}


def examples(image_NHW: np.ndarray, label_N: np.ndarray) -> Iterator[tuple[int, Any]]:
    """The (key, example) pairs of one split.

    Args:
      image_NHW: uint8, 28 x 28 pixels.
      label_N: integer classes.

    Yields:
      Position, and a PNG with its label.
    """
    for key, (image_HW, label) in enumerate(zip(image_NHW, label_N, strict=True)):
        file = io.BytesIO()  # TFDS would need TensorFlow to encode an array, but takes a PNG as it is
        Image.fromarray(image_HW).save(file, format="png")
        yield key, {"image": file.getvalue(), "label": int(label)}

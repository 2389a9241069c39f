"""Stored examples decoded: pixels and labels, and what is none."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tlx.data.decode import Decoder
from tlx.data.describe import fixed
from tlx.data.images import Fit
from tlx.errors import TlxError

LABEL = tfds.features.ClassLabel(num_classes=3)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="png")
    return file.getvalue()


def test_images_and_labels() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    decode = Decoder("x", {"image": tfds.features.Image(shape=(3, 4, 1)), "label": LABEL}, Fit(), "label")
    found, label = decode({"image": png(pixels), "label": np.int64(2)})
    assert np.array_equal(found, pixels[..., None])
    assert (label, decode.dtype, decode.is_text) == (2, np.int32, False)
    for wrong, hint in ((3, "$"), (-1, ": the split is not labelled$")):
        with pytest.raises(ValueError, match=rf"^label {wrong} is not below 3{hint}"):
            decode({"image": png(pixels), "label": wrong})


def test_texts_pairs_and_scores() -> None:
    text = tfds.features.Text()
    decode = Decoder("x", {"text": text, "score": tfds.features.Scalar(np.float32)}, Fit(), "score")
    assert decode({"text": "Ä".encode(), "score": np.float32(0.5)}) == ("Ä", 0.5)
    decode = Decoder("x", {"text": text, "text2": text, "label": LABEL}, Fit(), "label")
    assert decode({"text": b"a", "text2": b"b", "label": 1}) == (("a", "b"), 1)


@pytest.mark.parametrize(("shape", "kind"), [((2, 2, 1), np.uint16), ((2, 2, 1), np.float32), ((2, 2, 2), np.uint8)])
def test_images_that_are_no_bytes(shape: tuple[int, ...], kind: type) -> None:
    image = tfds.features.Image(shape=shape, dtype=kind, encoding_format="png")
    with pytest.raises(TlxError, match=r"^dataset x: expected uint8 images of 1, 3 or 4 channels, got "):
        Decoder("x", {"image": image, "label": LABEL}, Fit(), "label")


def test_a_shape_that_a_model_can_take() -> None:
    assert fixed("x", (3, 4, 1)) == (3, 4, 1)
    with pytest.raises(TlxError, match="^dataset x has images of several sizes"):
        fixed("x", (None, None, 3))

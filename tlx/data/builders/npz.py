"""Images as arrays in a file of numpy's."""

import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tlx.data.builders.labels import check_classes
from tlx.data.builders.own import Content, Part
from tlx.data.images import png
from tlx.data.schemes import Address
from tlx.errors import FileError

_PAIRS = {split: (f"x_{split}", f"y_{split}") for split in ("train", "test", "validation")}
_ALONE = ("image", "label")


def files(address: Address) -> tuple[Path, list[Path]]:
    """The one file.

    Args:
      address: of the file.

    Returns:
      The folder it is in, and the file.

    Raises:
      FileError: there is no such file.
    """
    file = Path(address.rest).expanduser()
    if not file.is_file():
        raise FileError(file, "there is no such file")
    return file.parent, [file]


def content(address: Address) -> Content:
    """The images and their labels.

    Args:
      address: of a file with the arrays `x_train`, `y_train` and perhaps the same of test and validation, as Keras
        names them, or with `image` and `label`, which are then all `train`. Images are uint8 [N, H, W] or
        [N, H, W, C] with C 1 or 3, labels integers [N] or [N, 1].

    Raises:
      FileError: an array is missing or of another shape or type, or a class has no example.
    """
    file = files(address)[1][0]
    found = {split: _pair(file, arrays) for split, arrays in _arrays(file).items()}
    shape = next(iter(found.values()))[0].shape[1:]
    for split, (image_NHWC, _) in found.items():
        if image_NHWC.shape[1:] != shape:
            raise FileError(file, f"{split} has images of {image_NHWC.shape[1:]}, the first split of {shape}")
    num_classes = 1 + max(int(label_N.max()) for _, label_N in found.values())
    if num_classes < 2:
        raise FileError(file, "expected at least two classes, found only the label 0")
    names = [str(label) for label in range(num_classes)]
    check_classes(file, names, {split: label_N.tolist() for split, (_, label_N) in found.items()})
    features = {
        "image": tfds.features.Image(shape=shape, encoding_format="png"),
        "label": tfds.features.ClassLabel(num_classes=num_classes),
    }
    parts = {split: Part(len(pair[1]), partial(_example, *pair), pair[1].tolist()) for split, pair in found.items()}
    return Content(features, parts)


def _example(image_NHWC: np.ndarray, label_N: np.ndarray, position: int) -> dict[str, Any]:
    image_HWC = image_NHWC[position]
    pixels = image_HWC[..., 0] if image_HWC.shape[-1] == 1 else image_HWC
    return {"image": png(Image.fromarray(pixels)), "label": int(label_N[position])}


def _arrays(file: Path) -> dict[str, dict[str, np.ndarray]]:
    """Split to name to array."""
    try:
        # Pickled arrays would run what is in them.
        with file.open("rb") as opened:
            arrays = np.load(opened, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array without a name")
            names = list(arrays)
            pairs = {split: pair for split, pair in _PAIRS.items() if set(pair) & set(names)}
            if not pairs and set(_ALONE) & set(names):
                pairs = {"train": _ALONE}
            if not pairs:
                hint = f"expected x_train and y_train, or image and label; found {', '.join(names) or 'nothing'}"
                raise FileError(file, hint)
            for name in (name for pair in pairs.values() for name in pair):
                if name not in names:
                    raise FileError(file, f"lacks the array {name!r}")
            return {split: {name: arrays[name] for name in pair} for split, pair in pairs.items()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise FileError(file, f"is not a .npz file of plain arrays, or is damaged ({reason})") from None


def _pair(file: Path, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N, H, W, C] and int64 [N], checked."""
    (images, image_NHWC), (labels, label_N) = arrays.items()
    if image_NHWC.dtype != np.uint8:
        raise FileError(file, f"{images}: expected uint8 pixels from 0 to 255, got {image_NHWC.dtype}")
    if image_NHWC.ndim == 3:
        image_NHWC = image_NHWC[..., None]
    if image_NHWC.ndim != 4 or image_NHWC.shape[-1] not in (1, 3) or not image_NHWC.size:
        expected = "[N, rows, columns], or that with 1 or 3 channels at the end"
        raise FileError(file, f"{images}: expected {expected}, got {arrays[images].shape}")
    if label_N.ndim == 2 and label_N.shape[1] == 1:
        label_N = label_N[:, 0]  # as Keras has those of CIFAR
    if label_N.dtype.kind not in "iu" or label_N.shape != image_NHWC.shape[:1]:
        expected = f"an integer for each of the {len(image_NHWC)} images"
        raise FileError(file, f"{labels}: expected {expected}, got {label_N.dtype} {arrays[labels].shape}")
    if label_N.min() < 0 or label_N.max() >= len(label_N) + 1_000_000:
        wrong = label_N.min() if label_N.min() < 0 else label_N.max()
        raise FileError(file, f"{labels}: expected integers from 0 without a gap, got {wrong}")
    return image_NHWC, label_N.astype(np.int64)

"""From examples on disk to arrays in memory: at once for small datasets, batch by batch for large ones."""

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import numpy as np
from PIL import Image

from tlx.data.source import open_split
from tlx.errors import FileError

_CHUNK = 256  # examples read at once by load_arrays
_THREADS = 2


@dataclass(frozen=True)
class Arrays:
    """A whole split in memory.

    Args:
      name: of the dataset.
      split: as asked for.
      image_NHWC: uint8 pixels.
      label_N: int32 classes.
      num_classes: how many classes there are.
      digest: SHA-256 of the shape, the pixels and the labels, in hex.
    """

    name: str
    split: str
    image_NHWC: np.ndarray
    label_N: np.ndarray
    num_classes: int
    digest: str


def load_arrays(name: str, split: str, data_dir: Path) -> Arrays:
    """Read a whole split into memory.

    Args:
      name: of a prepared dataset.
      split: in TFDS's notation.
      data_dir: where it was prepared.

    Returns:
      The decoded examples, in the order in which they are stored.

    Raises:
      TlxError: the dataset or split is unknown or not prepared, or an example is damaged.
    """
    source = open_split(name, split, data_dir)
    chunks = -(-len(source) // _CHUNK)
    position_N = np.arange(len(source))
    read = list(stream(source, lambda i: position_N[i * _CHUNK : (i + 1) * _CHUNK], 0, chunks, _THREADS))
    image_NHWC = np.concatenate([batch["image"] for batch in read])
    label_N = np.concatenate([batch["label"] for batch in read])
    num_classes = source.dataset_info.features["label"].num_classes
    return Arrays(name, split, image_NHWC, label_N, num_classes, digest(image_NHWC, label_N))


def stream(
    source: Any, indices: Callable[[int], np.ndarray], start: int, stop: int, num_threads: int = _THREADS
) -> Iterator[dict[str, np.ndarray]]:
    """Read the batches of steps `start` to `stop - 1` from disk, a few ahead of their use.

    Args:
      source: from `open_split`.
      indices: the positions in the source of a step's examples, [B] integers.
      start: first step; nothing is read of those before it.
      stop: one past the last step.
      num_threads: how many batches are read at the same time.

    Yields:
      {'image': uint8 [B, H, W, C], 'label': int32 [B]} of each step in turn.

    Raises:
      FileError: an example is damaged.
    """
    if start >= stop:
        return
    steps = grain.MapDataset.range(start, stop)
    batches = steps.map(lambda step: _read(source, indices(step).tolist()))
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    yield from batches.to_iter_dataset(options)


def digest(image_NHWC: np.ndarray, label_N: np.ndarray) -> str:
    """The SHA-256 of examples: of their shape, pixels and labels, the same on every machine.

    Args:
      image_NHWC: uint8.
      label_N: integers.

    Returns:
      64 hex digits.
    """
    sha = hashlib.sha256(repr(image_NHWC.shape).encode())
    sha.update(np.ascontiguousarray(image_NHWC, np.uint8))
    sha.update(np.ascontiguousarray(label_N, "<i4"))
    return sha.hexdigest()


def _read(source: Any, positions: list[int]) -> dict[str, np.ndarray]:
    features = source.dataset_info.features
    try:
        examples = [_decoded(example, features) for example in source.__getitems__(positions)]
    except Exception as error:  # whatever the readers of records, protos and PNGs may raise
        if len(positions) > 1:
            for position in positions:
                _read(source, [position])  # the damaged one names itself
        where = f"{source.dataset_info.name} {source.split}, example {positions[0]}"
        reason = (str(error) or type(error).__name__).splitlines()[0]
        hint = "delete the folder and prepare it again"
        raise FileError(source.dataset_info.data_dir, f"{where} is damaged ({reason}); {hint}") from error
    images, labels = zip(*examples, strict=True)
    return {"image": np.stack(images), "label": np.array(labels, np.int32)}


def _decoded(example: dict[str, Any], features: Any) -> tuple[np.ndarray, int]:
    label, num_classes = int(example["label"]), features["label"].num_classes
    if not 0 <= label < num_classes:
        raise ValueError(f"label {label} is not below {num_classes}")
    with Image.open(io.BytesIO(example["image"])) as image:
        return np.asarray(image, np.uint8).reshape(features["image"].shape), label

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
from tlx.data.text import Tokenizer
from tlx.errors import FileError, TlxError

_CHUNK = 256  # examples read at once by load_arrays
_THREADS = 2


@dataclass(frozen=True)
class Arrays:
    """A whole split in memory.

    Args:
      name: of the dataset.
      split: as asked for.
      input_N: uint8 pixels [N, H, W, C], or int32 token ids [N, T].
      label_N: int32 classes.
      num_classes: how many classes there are.
      digest: SHA-256 of the shape, the pixels or ids, and the labels, in hex.
      tokenizer: digest of what made ids of the texts, empty for images.
    """

    name: str
    split: str
    input_N: np.ndarray
    label_N: np.ndarray
    num_classes: int
    digest: str
    tokenizer: str = ""


def load_arrays(name: str, split: str, data_dir: Path, tokenize: Tokenizer | None = None) -> Arrays:
    """Read a whole split into memory.

    Args:
      name: of a prepared dataset.
      split: in TFDS's notation.
      data_dir: where it was prepared.
      tokenize: makes token ids of texts; not used for images.

    Returns:
      The decoded examples, in the order in which they are stored.

    Raises:
      TlxError: the dataset or split is unknown or not prepared, an example is damaged, or it is of texts and there is
        no tokenizer.
    """
    source = open_split(name, split, data_dir)
    chunks = -(-len(source) // _CHUNK)
    position_N = np.arange(len(source))
    read = list(stream(source, lambda i: position_N[i * _CHUNK : (i + 1) * _CHUNK], 0, chunks, _THREADS, tokenize))
    input_N = np.concatenate([batch["input"] for batch in read])
    label_N = np.concatenate([batch["label"] for batch in read])
    features = source.dataset_info.features
    made_by = tokenize.digest if tokenize and "text" in features else ""
    return Arrays(
        name, split, input_N, label_N, features["label"].num_classes, digest(input_N, label_N), tokenizer=made_by
    )


def stream(
    source: Any,
    indices: Callable[[int], np.ndarray],
    start: int,
    stop: int,
    num_threads: int = _THREADS,
    tokenize: Tokenizer | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Read the batches of steps `start` to `stop - 1` from disk, a few ahead of their use.

    Args:
      source: from `open_split`.
      indices: the positions in the source of a step's examples, [B] integers.
      start: first step; nothing is read of those before it.
      stop: one past the last step.
      num_threads: how many batches are read at the same time.
      tokenize: makes token ids of texts; not used for images.

    Yields:
      {'input': uint8 [B, H, W, C] or int32 [B, T], 'label': int32 [B]} of each step in turn.

    Raises:
      FileError: an example is damaged.
      TlxError: the examples are texts, and there is no tokenizer.
    """
    if tokenize is None and "text" in source.dataset_info.features:
        raise TlxError(f"dataset {_name(source)} is of texts, which need a tokenizer")
    if start >= stop:
        return
    steps = grain.MapDataset.range(start, stop)
    batches = steps.map(lambda step: _read(source, indices(step).tolist(), tokenize))
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    yield from batches.to_iter_dataset(options)


def digest(input_N: np.ndarray, label_N: np.ndarray) -> str:
    """The SHA-256 of examples: of their shape, contents and labels, the same on every machine.

    Args:
      input_N: uint8 pixels, or int32 token ids.
      label_N: integers.

    Returns:
      64 hex digits; pixels and ids never have the same.

    Raises:
      TypeError: the inputs are of another type.
    """
    kinds = {np.dtype(np.uint8): ("", "u1"), np.dtype(np.int32): ("tokens ", "<i4")}
    if input_N.dtype not in kinds:
        raise TypeError(f"expected uint8 pixels or int32 token ids, got {input_N.dtype}")
    kind, stored = kinds[input_N.dtype]
    sha = hashlib.sha256(f"{kind}{input_N.shape!r}".encode())
    sha.update(np.ascontiguousarray(input_N, stored))
    sha.update(np.ascontiguousarray(label_N, "<i4"))
    return sha.hexdigest()


def _read(source: Any, positions: list[int], tokenize: Tokenizer | None) -> dict[str, np.ndarray]:
    features = source.dataset_info.features
    try:
        examples = [_decoded(example, features) for example in source.__getitems__(positions)]
    except Exception as error:  # whatever the readers of records, protos and PNGs may raise
        if len(positions) > 1:
            for position in positions:
                _read(source, [position], tokenize)  # the damaged one names itself
        where = f"{_name(source)} {source.split}, example {positions[0]}"
        reason = (str(error) or type(error).__name__).splitlines()[0]
        hint = "delete the folder and prepare it again"
        raise FileError(source.dataset_info.data_dir, f"{where} is damaged ({reason}); {hint}") from error
    inputs, labels = zip(*examples, strict=True)
    input_B = tokenize(inputs) if tokenize and "text" in features else np.stack(inputs)
    return {"input": input_B, "label": np.array(labels, np.int32)}


def _decoded(example: dict[str, Any], features: Any) -> tuple[np.ndarray | str, int]:
    label, num_classes = int(example["label"]), features["label"].num_classes
    if not 0 <= label < num_classes:
        raise ValueError(f"label {label} is not below {num_classes}")
    if "text" in features:
        return example["text"].decode(), label
    with Image.open(io.BytesIO(example["image"])) as image:
        return np.asarray(image, np.uint8).reshape(features["image"].shape), label


def _name(source: Any) -> str:
    """As `BUILDERS` calls it."""
    info = source.dataset_info
    return f"{info.name}/{info.config_name}" if info.config_name else str(info.name)

"""From examples on disk to arrays in memory: at once for small datasets, batch by batch for large ones."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grain
import numpy as np

from tlx.data.decode import Decoder
from tlx.data.images import Fit, several_sizes
from tlx.data.source import open_split
from tlx.data.text import Tokenizer
from tlx.errors import FileError, TlxError, suggest

_CHUNK = 256  # examples read at once by load_arrays
_THREADS = 2


@dataclass(frozen=True)
class Arrays:
    """A whole split in memory.

    Args:
      name: of the dataset.
      split: as asked for.
      input_N: uint8 pixels [N, H, W, C], or int32 token ids [N, T].
      label_N: int32 classes, or float32 scores.
      num_classes: how many classes there are, 0 for scores.
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

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input."""
        return tuple(int(size) for size in self.input_N.shape[1:])

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.label_N)

    def at(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inputs and labels at some positions."""
        return self.input_N[positions], self.label_N[positions]


def taken(arrays: Arrays, positions: np.ndarray) -> Arrays:
    """Some examples of a split, in the given order, with a digest of their own.

    Args:
      arrays: the split.
      positions: integers in range(N).
    """
    input_N, label_N = arrays.input_N[positions], arrays.label_N[positions]
    return replace(arrays, input_N=input_N, label_N=label_N, digest=digest(input_N, label_N))


def load_arrays(
    name: str,
    split: str,
    data_dir: Path | str,
    tokenize: Tokenizer | None = None,
    resize: tuple[int, int] | int | None = None,
    crop: tuple[int, int] | None = None,
    target: str = "label",
) -> Arrays:
    """Read a whole split into memory.

    Args:
      name: of a prepared dataset.
      split: in TFDS's notation.
      data_dir: where it was prepared.
      tokenize: makes token ids of texts; not used for images.
      resize: rows and columns every image gets, or the length of its shorter side; not used for texts.
      crop: rows and columns cut out of the middle afterwards.
      target: `label`, `score` for float32 scores in place of classes, or empty for neither: labels are then 0.

    Returns:
      The decoded examples, in the order in which they are stored.

    Raises:
      TlxError: the dataset or split is unknown or not prepared, an example is damaged, or it is of texts and there is
        no tokenizer, or of images of several sizes and there is neither `resize` nor `crop` to make them one.
    """
    source = open_split(name, split, data_dir)
    features = source.dataset_info.features
    fit = Fit(resize, crop)
    if "text" not in features and None in fit.size(features["image"].shape):
        raise several_sizes(name)
    chunks = -(-len(source) // _CHUNK)
    position_N = np.arange(len(source))

    def indices(chunk: int) -> np.ndarray:
        return position_N[chunk * _CHUNK : (chunk + 1) * _CHUNK]

    read = list(stream(source, indices, 0, chunks, _THREADS, tokenize, resize, crop, target))
    input_N = np.concatenate([batch["input"] for batch in read])
    label_N = np.concatenate([batch["label"] for batch in read])
    made_by = tokenize.digest if tokenize and "text" in features else ""
    num_classes = features["label"].num_classes if target == "label" else 0
    return Arrays(name, split, input_N, label_N, num_classes, digest(input_N, label_N), tokenizer=made_by)


def stream(
    source: Any,
    indices: Callable[[int], np.ndarray],
    start: int,
    stop: int,
    num_threads: int = _THREADS,
    tokenize: Tokenizer | None = None,
    resize: tuple[int, int] | int | None = None,
    crop: tuple[int, int] | None = None,
    target: str = "label",
) -> Iterator[dict[str, np.ndarray]]:
    """Read the batches of steps `start` to `stop - 1` from disk, a few ahead of their use.

    Args:
      source: from `open_split`.
      indices: the positions in the source of a step's examples, [B] integers.
      start: first step; nothing is read of those before it.
      stop: one past the last step.
      num_threads: how many batches are read at the same time.
      tokenize: makes token ids of texts; not used for images.
      resize: rows and columns every image gets, or the length of its shorter side; not used for texts.
      crop: rows and columns cut out of the middle afterwards.
      target: `label`, `score` for float32 scores in place of classes, or empty for neither: labels are then 0.

    Yields:
      {'input': uint8 [B, H, W, C] or int32 [B, T], 'label': int32 [B] or float32 [B]} of each step in turn.

    Raises:
      FileError: an example is damaged.
      TlxError: the examples are texts, and there is no tokenizer; or they have no such target.
    """
    features = source.dataset_info.features
    if tokenize is None and "text" in features:
        raise TlxError(f"dataset {_name(source)} is of texts, which need a tokenizer")
    if target and (target not in ("label", "score") or target not in features):
        raise TlxError(f"dataset {_name(source)} has no {target}{suggest(target, {'label', 'score'} & set(features))}")
    if start >= stop:
        return
    decode = Decoder(_name(source), features, Fit(resize, crop), target)
    steps = grain.MapDataset.range(start, stop)
    batches = steps.map(lambda step: _read(source, indices(step).tolist(), decode, tokenize))
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    yield from batches.to_iter_dataset(options)


def digest(input_N: np.ndarray, label_N: np.ndarray) -> str:
    """The SHA-256 of examples: of their shape, contents and labels, the same on every machine.

    Args:
      input_N: uint8 pixels, or int32 token ids.
      label_N: integers, or floating-point scores.

    Returns:
      64 hex digits; pixels and ids never have the same, nor do classes and scores.

    Raises:
      TypeError: the inputs are of another type.
    """
    kinds = {np.dtype(np.uint8): ("", "u1"), np.dtype(np.int32): ("tokens ", "<i4")}
    if input_N.dtype not in kinds:
        raise TypeError(f"expected uint8 pixels or int32 token ids, got {input_N.dtype}")
    kind, stored = kinds[input_N.dtype]
    scores = label_N.dtype.kind == "f"
    sha = hashlib.sha256(f"{'scores ' if scores else ''}{kind}{input_N.shape!r}".encode())
    sha.update(np.ascontiguousarray(input_N, stored))
    sha.update(np.ascontiguousarray(label_N, "<f4" if scores else "<i4"))
    return sha.hexdigest()


def _read(source: Any, positions: list[int], decode: Decoder, tokenize: Tokenizer | None) -> dict[str, np.ndarray]:
    try:
        examples = [decode(example) for example in source.__getitems__(positions)]
    except TlxError:  # what is asked for does not fit the example, which is as it should be
        raise
    except Exception as error:  # whatever the readers of records, protos and PNGs may raise
        if len(positions) > 1:
            for position in positions:
                _read(source, [position], decode, tokenize)  # the damaged one names itself
        where = f"{_name(source)} {source.split}, example {positions[0]}"
        reason = (str(error) or type(error).__name__).splitlines()[0]
        hint = "delete the folder and prepare it again"
        raise FileError(source.dataset_info.data_dir, f"{where} is damaged ({reason}); {hint}") from error
    inputs, labels = zip(*examples, strict=True)
    input_B = tokenize(inputs) if tokenize and decode.is_text else _stacked(source, inputs)
    return {"input": input_B, "label": np.array(labels, decode.dtype)}


def _stacked(source: Any, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
    if len({image_HWC.shape for image_HWC in inputs}) > 1:
        raise several_sizes(_name(source))
    return np.stack(inputs)


def _name(source: Any) -> str:
    """As `prepare` calls it."""
    info = source.dataset_info
    return f"{info.name}/{info.config_name}" if info.config_name else str(info.name)

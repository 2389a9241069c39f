"""Where a source's weights come from when tlx does not train them: a released checkpoint, or one of ours."""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from tlx import tree
from tlx.artifact import model_from
from tlx.checkpoint import is_artifact, load_artifact
from tlx.errors import CheckpointError
from tlx.interop.released import Released, recognise
from tlx.models.registry import Model
from tlx.surgery import transplant

HEAD, POOL = ("params/head/.*",), ("params/pool/.*",)
# What of a folder says what its weights are; a page about them does not.
_COUNTS = (".json", ".safetensors", ".bin", ".pth", ".pt", ".npz")
# What we call our own format, and the trees in it that are whole models.
OURS, MERGED, RELEASED = "tlx", "merged", "released"


@dataclass(frozen=True)
class Weights:
    """A checkpoint whose architecture is known; its leaves are read when asked for.

    Args:
      path: folder or file.
      model: the architecture it describes, at its own input size.
      format: what wrote it, `tlx` for ours.
      has_head: whether it holds a head of its own.
      released: the foreign checkpoint, or None for ours.
    """

    path: Path
    model: Model
    format: str
    has_head: bool
    released: Released | None

    def load(self, model: Model) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
        """The leaves for an architecture that may differ in what changes no parameter, or in its input size.

        Args:
          model: with the study's settings and inputs, and this checkpoint's classes.

        Returns:
          The leaves; a row for each leaf and tensor, in plain values; and the same in one line.

        Raises:
          FileError: the file is damaged, or does not hold what it describes.
        """
        if self.released is not None:
            # A layout knows the tensors of other heads, and what it does not find of its own head is fresh.
            leaves, report = self.released.load(model, () if self.reads_as(model) else _heads(model))
            return leaves, report.as_dict(), report.line()
        # No other leaves fit: the architecture is the one that was saved.
        fresh = model.init(0)
        kept = load_artifact(self.path).tree
        leaves, copied = transplant(kept, fresh, unlike(kept, fresh, self.has_head and self.reads_as(model)))
        rows = [{"ours": p, "theirs": p, "what": "copied", "shape": list(_at(leaves, p).shape)} for p in copied.copied]
        return leaves, rows, copied.line()

    def reads_as(self, model: Model) -> bool:
        """Whether a model has the kind of head that this checkpoint describes."""
        return dict(model.settings).get("head") == dict(self.model.settings).get("head")

    def for_study(self, settings: Sequence[tuple[str, Any]], input_shape: tuple[int, ...], classes: int) -> Model:
        """The architecture with a study's settings and inputs.

        Args:
          settings: a value for each field.
          input_shape: of one input of the targets.
          classes: outputs of the head where the checkpoint has none.
        """
        settings = tuple(settings)
        own = (
            self.model.num_classes
            if self.has_head and self.reads_as(replace(self.model, settings=settings))
            else classes
        )
        return replace(self.model, settings=settings, input_shape=input_shape, num_classes=own)


def open_weights(path: str) -> Weights:
    """What a checkpoint holds, by its own description; nothing is named twice.

    Args:
      path: a folder as Hugging Face, timm or `tlx convert` write it, or a `.safetensors`, `.npz` or `.pth` file.

    Raises:
      FileError: there is nothing there, it is damaged, or nothing knows it.
    """
    folder = Path(path)
    files = sorted(folder.iterdir()) if folder.is_dir() else [folder] if folder.exists() else []
    return _opened(folder, tuple((file.name, file.stat().st_mtime_ns) for file in files))


@functools.cache
def _opened(folder: Path, files: tuple[tuple[str, int], ...]) -> Weights:
    """Opened once for as long as the files stay as they are."""
    if is_artifact(folder):
        meta = load_artifact(folder).meta
        if meta.get("kind") not in (MERGED, RELEASED):
            raise CheckpointError(folder, "holds no whole model; merge what was adapted with `tlx merge` first")
        return Weights(folder, model_from(folder, meta.get("model")), OURS, bool(meta.get("has_head", True)), None)
    released = recognise(folder)
    return Weights(folder, released.model, released.format.name, released.has_head, released)


def content_digest(weights: Weights) -> str:
    """The SHA-256 of what a checkpoint holds, wherever it lies.

    Args:
      weights: the checkpoint.

    Returns:
      64 hex digits: of the leaves of ours, of the weights and JSON files of others.
    """
    path = weights.path
    if weights.released is None:
        return load_artifact(path).digest
    sha = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.suffix in _COUNTS) if path.is_dir() else [path]
    for file in files:
        sha.update(file.relative_to(path).as_posix().encode() if path.is_dir() else b"")
        with file.open("rb") as content:
            sha.update(hashlib.file_digest(content, "sha256").digest())
    return sha.hexdigest()


def moved(leaves: dict[str, Any], fresh: dict[str, Any], keep_head: bool = False) -> dict[str, Any]:
    """The leaves in another tree of the same backbone.

    Args:
      leaves: nested dict of arrays.
      fresh: the other tree, as initialised; it keeps its head, and a pooling that the leaves lack.
      keep_head: whether the head comes along, too.
    """
    return transplant(leaves, fresh, unlike(leaves, fresh, keep_head))[0]


def unlike(leaves: dict[str, Any], fresh: dict[str, Any], keep_head: bool = False) -> tuple[str, ...]:
    """Patterns for what two trees of one backbone do not share: their heads, and a pooling that only one of them has.

    Args:
      leaves: nested dict of arrays.
      fresh: likewise.
      keep_head: whether the head is shared.
    """
    has_head = any("head" in each["params"] for each in (leaves, fresh))
    pools = [tree.flatten(each["params"].get("pool", {})).keys() for each in (leaves, fresh)]
    rules = HEAD if has_head and not keep_head else ()
    return (*rules, *(POOL if pools[0] != pools[1] else ()))


def _heads(model: Model) -> tuple[str, ...]:
    """A pattern for a model's head, if it has leaves of its own."""
    return HEAD if "head" in jax.eval_shape(model.init, 0)["params"] else ()


def _at(leaves: dict[str, Any], path: str) -> Any:
    return functools.reduce(lambda node, name: node[name], path.split("/"), leaves)

"""From a released checkpoint to a model and its leaves, and back to files that other libraries load."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from tlx import tree
from tlx.errors import ConfigError, FileError
from tlx.fields import check_fields
from tlx.interop import layout as layouts
from tlx.interop.files import Checkpoint, open_checkpoint
from tlx.interop.format import Format
from tlx.interop.formats import FORMATS
from tlx.interop.report import Report
from tlx.models import stack
from tlx.models.registry import MODELS, Model

# A checkpoint without a head still needs a model with one; its outputs mean nothing until it is trained.
_NO_HEAD = 2


@dataclass(frozen=True)
class Released:
    """A checkpoint whose architecture is known; its weights are not read yet.

    Args:
      checkpoint: the files.
      format: what wrote them.
      model: the architecture.
      has_head: whether the file holds a head of its own.
    """

    checkpoint: Checkpoint
    format: Format
    model: Model
    has_head: bool

    def load(self, model: Model | None = None, reset: Sequence[str] = ()) -> tuple[dict[str, Any], Report]:
        """The leaves.

        Args:
          model: the architecture with other settings, such as a dropout rate or an image size, or None for its own.
          reset: patterns over our paths that keep fresh values, such as `params/head/.*`; blocks are named apart, also
            where they are to be scanned.

        Returns:
          Float32 leaves, and what became of every tensor.

        Raises:
          FileError: the file does not hold what its config promises.
          RuleError: a pattern matches no leaf.
        """
        model = model or self.model
        if dict(model.settings).get("scan"):
            loaded, report = self.load(resized(model, scan=False), reset)
            return stack.stacked(loaded), report
        fresh = jax.eval_shape(model.init, 0)
        layout = self.format.layout(dict(model.settings), model.num_classes)
        if not self.has_head:
            reset = (*reset, "params/head/.*")
        loaded, report = layouts.load(layout, self.checkpoint.path, self.checkpoint.tensors, fresh, reset)
        fresh_paths = [path for path, leaf in tree.flatten(loaded).items() if isinstance(leaf, jax.ShapeDtypeStruct)]
        if fresh_paths:
            # Compiled with these alone as its results, so that nothing else is drawn.
            drawn = jax.jit(lambda: {path: tree.flatten(model.init(0))[path] for path in fresh_paths})()
            loaded = tree.unflatten({**tree.flatten(loaded), **drawn})
        return loaded, report


def recognise(path: Path | str, name: str = "") -> Released:
    """What a checkpoint holds, by its own description.

    Args:
      path: a folder or file that `files.open_checkpoint` opens.
      name: of the only format that may recognise it, as one that holds several models is of several formats; empty
        for the first that does.

    Returns:
      The model it describes.

    Raises:
      FileError: nothing recognises it, or it describes something that the model cannot compute.
    """
    checkpoint = open_checkpoint(path)
    for format in FORMATS:
        if name in ("", format.name) and format.recognises(checkpoint):
            return _described(checkpoint, format)
    kind = checkpoint.config.get("model_type") or checkpoint.config.get("architecture")
    what = f"a {kind!r} model" if isinstance(kind, str) else "these tensors"
    known = name or ", ".join(format.name for format in FORMATS)
    raise FileError(checkpoint.path, f"{what} is of no known architecture (one of {known})")


def _described(checkpoint: Checkpoint, format: Format) -> Released:
    found = format.describe(checkpoint)
    try:
        settings = check_fields("settings", MODELS[format.model].fields, found.settings)
        MODELS[format.model].check(settings, found.input_shape)
    except ConfigError as error:
        raise FileError(checkpoint.path, f"describes a {format.model} that cannot be: {error}") from None
    classes = found.num_classes or _NO_HEAD
    model = Model(format.model, tuple(sorted(settings.items())), classes, found.input_shape)
    return Released(checkpoint, format, model, has_head=bool(found.num_classes))


def resized(model: Model, **changes: Any) -> Model:
    """The model with other settings."""
    return replace(model, settings=tuple(sorted({**dict(model.settings), **changes}.items())))

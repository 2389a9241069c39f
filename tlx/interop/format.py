"""A format: how one architecture's weights are written by others, and how to tell that a file is one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tlx.errors import FileError
from tlx.interop.files import Checkpoint
from tlx.interop.layout import Layout
from tlx.models.registry import Model

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Description:
    """The architecture that a checkpoint's own config, or its tensors' shapes, describe.

    Args:
      settings: of the registered model, as far as the checkpoint says; the rest keep their defaults.
      num_classes: outputs of its head, 0 where it has none.
      input_shape: of one input: [rows, columns, channels] or [length]; the checkpoint's own, other sizes may do.
    """

    settings: Mapping[str, Any]
    num_classes: int
    input_shape: tuple[int, ...]


@dataclass(frozen=True)
class Format:
    """A registered format.

    Args:
      name: what reports call it, e.g. `hf-bert`.
      model: the registered architecture it holds.
      recognises: whether a checkpoint is of this format, by its config or its tensors' names.
      describe: checkpoint to description; may raise FileError where a setting is one that the model lacks.
      layout: `(settings, num_classes)` to the layout; settings are complete.
      config: model to the `config.json` that makes the other library load what is written, or None where the
        format is only read.
      beside: model to what further JSON files of the folder hold, by their paths in it.
      in_memory: pairs of a pattern and a template, applied in turn to a tensor's name on disk: to the one that the
        newest release of the other library has in memory, and so in adapter files; empty where they agree.
    """

    name: str
    model: str
    recognises: Callable[[Checkpoint], bool]
    describe: Callable[[Checkpoint], Description]
    layout: Callable[[Settings, int], Layout]
    config: Callable[[Model], dict[str, Any]] | None = None
    beside: Callable[[Model], dict[str, Any]] = lambda model: {}
    in_memory: tuple[tuple[str, str], ...] = ()


def wanted(checkpoint: Checkpoint, name: str, kind: type, default: Any = None) -> Any:
    """A value of the checkpoint's config, of the type it must have.

    Args:
      checkpoint: whose config.
      name: key.
      kind: `int`, `float`, `str` or `bool`; an integer will do for a float.
      default: where the config is silent; None where it must not be.

    Raises:
      FileError: it is missing or of another type.
    """
    value = checkpoint.config.get(name, default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        where = checkpoint.path / "config.json"
        words = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}[kind]
        raise FileError(where, f"{name}: expected {words}, got {value!r}")
    return value


def only(checkpoint: Checkpoint, name: str, allowed: tuple[Any, ...], default: Any) -> Any:
    """A value of the checkpoint's config that must be one of those the model can compute.

    Args:
      checkpoint: whose config.
      name: key.
      allowed: values the model knows.
      default: what a silent config means.

    Raises:
      FileError: it is another one.
    """
    value = checkpoint.config.get(name, default)
    if value not in allowed:
        where = checkpoint.path / "config.json"
        raise FileError(where, f"{name}: {value!r} is not supported (one of {', '.join(map(str, allowed))})")
    return value

"""What sentence-transformers puts beside an encoder: how its tokens become one embedding."""

from pathlib import PurePosixPath
from typing import Any

from tlx import atomic
from tlx.errors import FileError
from tlx.interop.files import Checkpoint
from tlx.models.registry import Model

POOLING = "1_Pooling/config.json"
# Their names of poolings, and the model's.
POOLS = {"mean": "mean", "mean_tokens": "mean", "cls": "first_token", "cls_token": "first_token"}
MODULES = ("Transformer", "Pooling", "Normalize")


def pooling(checkpoint: Checkpoint) -> dict[str, Any]:
    """The settings `pool` and `normalise`, or none where no such file is there.

    Raises:
      FileError: the embedding is made in a way that the model cannot compute.
    """
    config = checkpoint.beside(POOLING)
    if not config:
        return {}
    flags = {key.removeprefix("pooling_mode_"): value for key, value in config.items() if "pooling_mode_" in key}
    chosen = [name for name, value in flags.items() if value] or [str(config.get("pooling_mode"))]
    if len(chosen) != 1 or chosen[0] not in POOLS:
        what = " and ".join(chosen)
        raise FileError(checkpoint.path / POOLING, f"pooling {what!r} is not supported (one of {', '.join(POOLS)})")
    return {"pool": POOLS[chosen[0]], "normalise": "Normalize" in _modules(checkpoint)}


def files(model: Model) -> dict[str, Any]:
    """What must lie beside an encoder for the settings `pool` and `normalise` to be read again.

    Args:
      model: of pooling `mean` or `first_token`.

    Returns:
      Path in the folder to the JSON there.
    """
    settings = dict(model.settings)
    names = [*MODULES[:2], *(MODULES[2:] if settings["normalise"] else ())]
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{name}" if i else "", "type": f"sentence_transformers.models.{name}"}
        for i, name in enumerate(names)
    ]
    flags = {"cls_token": "first_token", "mean_tokens": "mean"}
    modes: dict[str, Any] = {f"pooling_mode_{name}": settings["pool"] == pool for name, pool in flags.items()}
    return {"modules.json": modules, POOLING: {"word_embedding_dimension": settings["width"], **modes}}


def length(checkpoint: Checkpoint) -> int:
    """The longest sentence it was made for, in tokens; 0 where it does not say.

    Raises:
      FileError: it says something that is no length.
    """
    found = checkpoint.beside("sentence_bert_config.json").get("max_seq_length") or 0
    if type(found) is not int or found < 0:
        path = checkpoint.path / "sentence_bert_config.json"
        raise FileError(path, f"max_seq_length: expected an integer, got {found!r}")
    return found


def _modules(checkpoint: Checkpoint) -> list[str]:
    """The modules' classes, in the order in which they are applied."""
    path = checkpoint.path / "modules.json"
    listed = atomic.read_json(path) if path.is_file() else []
    if not isinstance(listed, list) or not all(isinstance(module, dict) for module in listed):
        raise FileError(path, "expected a list of modules")
    names = [PurePosixPath(str(module.get("type")).replace(".", "/")).name for module in listed]
    for name in names:
        if name not in MODULES:
            raise FileError(path, f"module {name!r} is not supported (one of {', '.join(MODULES)})")
    return names

"""Files that other libraries load: safetensors, in shards where they are large, and the config that names them."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tlx import atomic
from tlx.errors import FileError
from tlx.interop import layout as layouts
from tlx.interop.format import Format
from tlx.models import stack
from tlx.models.registry import Model

# As transformers shards; a file system's limit on one file is far above it, a download's patience is not.
SHARD_BYTES = 5 * 10**9
_HEAD = "params/head/"
# What else a folder of weights needs to be used, and is copied as it is.
BESIDE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "preprocessor_config.json",
)


def save_released(
    folder: Path,
    format: Format,
    model: Model,
    variables: dict[str, Any],
    *,
    with_head: bool = True,
    beside: Path | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, str]:
    """Write a model as another library writes it; the folder appears whole or not at all.

    Args:
      folder: to make; does not exist yet.
      format: one that has a config to write.
      model: the architecture.
      variables: its leaves.
      with_head: whether the head is written; without, the other library draws a fresh one.
      beside: a folder whose tokenizer and preprocessor are copied, or None.
      shard_bytes: size from which tensors are spread over several files.

    Returns:
      Tensor to the file it is in.

    Raises:
      FileError: the folder exists, the format is only read, or the system refuses.
    """
    folder = Path(folder).absolute()
    if format.config is None:
        raise FileError(folder, f"{format.name} is only read, not written")
    tensors = _tensors(format, model, variables, with_head)
    shards = _shards(tensors, shard_bytes)
    places = {key: name for name, names in shards.items() for key in names}
    with atomic.new_folder(folder) as temporary:
        for name, names in shards.items():
            save_file({key: tensors[key] for key in names}, temporary / name, metadata={"format": "pt"})
            # It is written for its owner alone, unlike all else.
            (temporary / name).chmod(0o644)
        if len(shards) > 1:
            total = sum(tensor.nbytes for tensor in tensors.values())
            index = {"metadata": {"total_size": total}, "weight_map": places}
            atomic.write_json(temporary / "model.safetensors.index.json", index)
        for name, content in {"config.json": format.config(model), **format.beside(model)}.items():
            (temporary / name).parent.mkdir(exist_ok=True)
            atomic.write_json(temporary / name, content)
        for name in BESIDE:
            if beside and (beside / name).is_file():
                shutil.copyfile(beside / name, temporary / name)
    return places


def _tensors(format: Format, model: Model, variables: dict[str, Any], with_head: bool) -> dict[str, np.ndarray]:
    settings = dict(model.settings)
    if settings.get("scan"):
        # Others keep the blocks of a stack apart.
        settings, variables = {**settings, "scan": False}, stack.apart(variables)
    layout = format.layout(settings, model.num_classes)
    tensors = layouts.save(layout, variables)
    heads = [t.theirs for t in layout.tensors if all(path.startswith(_HEAD) for path in t.ours)]
    return tensors if with_head else {name: tensors[name] for name in tensors if name not in heads}


def _shards(tensors: Mapping[str, np.ndarray], limit: int) -> dict[str, list[str]]:
    """File to the tensors in it, in the order given; one larger than the limit has a file of its own."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        if groups[-1] and size + tensor.nbytes > limit:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += tensor.nbytes
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    return {f"model-{i:05}-of-{len(groups):05}.safetensors": group for i, group in enumerate(groups, 1)}

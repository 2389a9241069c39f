"""Adapters of ours as files that Hugging Face PEFT loads without a key missing or left over."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from tlx import atomic, tree
from tlx.adapt.adapted import Adapted
from tlx.errors import ConfigError
from tlx.interop.format import Format
from tlx.interop.peft_base import Base
from tlx.interop.peft_config import CONFIG, HEADS, WEIGHTS
from tlx.interop.peft_written import WRITERS, Names, Written
from tlx.interop.released import resized
from tlx.models import stack
from tlx.partition import FROZEN

# What PEFT calls the task of a class, by the end of the class's name.
_TASKS = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
}


def save_adapter(
    folder: Path | str,
    adapted: Adapted,
    variables: Mapping[str, Any],
    format: Format,
    base: str | None = None,
    newest: bool = True,
) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`.

    Args:
      folder: does not exist.
      adapted: the model and its method.
      variables: all leaves.
      format: how the other library writes the base model.
      base: name or path of the base model, for the config; None to leave it out.
      newest: whether modules are called as in the newest release of the other library, where that differs from the
        names on disk, which are those of older ones.

    Raises:
      ConfigError: the method, or what else moves, has no form in PEFT's files.
      FileError: the folder is there, or the system refuses.
    """
    if adapted.method not in WRITERS:
        known = ", ".join(WRITERS)
        raise ConfigError("name", f"{adapted.method!r} has no form in PEFT's files ({known} have); merge it first")
    for method, _ in adapted.parts[1:]:
        if method.interceptor or method.around or method.rewrite or method.grow:
            raise ConfigError("also", f"{method.name!r} computes something that no file of PEFT has a place for")
    moved = {path for path, label in {**adapted.labels(), **adapted.stat_labels()}.items() if label != FROZEN}
    if dict(adapted.model.settings).get("scan"):
        # Their files know of blocks one by one only.
        variables, moved = stack.apart(variables), _apart(moved, dict(adapted.model.settings)["depth"])
        adapted = replace(adapted, model=resized(adapted.model, scan=False))
    leaves = {path: np.asarray(leaf) for path, leaf in tree.flatten(dict(variables)).items()}
    names, task = Names(Base(format, adapted.model), newest), _task(format, adapted)
    written = WRITERS[adapted.method](adapted, leaves, names, task)
    tensors, saved = _saved(moved, leaves, names, written, task)
    config = {
        **written.fields,
        "peft_type": written.kind,
        "task_type": task,
        "base_model_name_or_path": base,
        "revision": None,
        "auto_mapping": None,
        "inference_mode": True,
        "modules_to_save": saved or None,
    }
    _write(Path(folder), config, {**written.tensors, **tensors})


def _task(format: Format, adapted: Adapted) -> str | None:
    classes = format.config(adapted.model).get("architectures", []) if format.config else []
    return next((task for end, task in _TASKS.items() for name in classes if name.endswith(end)), None)


def _apart(paths: set[str], depth: int) -> set[str]:
    """Paths of scanned leaves as those of each block."""
    return {path.replace("/blocks/", f"/block_{i}/", 1) for path in paths for i in range(depth)}


def _saved(
    moved: set[str], leaves: Mapping[str, np.ndarray], names: Names, written: Written, task: str | None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The base's own tensors that moved, by their names in the file, and the modules they belong to."""
    if any(path.startswith("batch_stats/") for path in moved):
        raise ConfigError("batch_stats", "no file of PEFT has a place for running statistics that were updated")
    modules = {
        tensor.theirs.rpartition(".")[0]
        for tensor in names.base.layout.tensors
        if any(path in moved or path.startswith("params/head/") for path in tensor.ours)
    }
    if task in ("SEQ_CLS", "TOKEN_CLS"):
        # PEFT takes these whole, whatever of them moved.
        modules = {module for module in modules if module.partition(".")[0] not in HEADS} | {*HEADS}
    tensors = {}
    for tensor in names.base.layout.tensors:
        if any(tensor.theirs.startswith(f"{module}.") for module in modules):
            tensors[written.prefix + names.tensor(tensor.theirs)] = tensor.write([leaves[path] for path in tensor.ours])
    for module in written.modules:
        if any(f"{module}.".startswith(f"{one}.") for one in modules):
            raise ConfigError("target", f"{module!r} has an adapter and is trained itself, which PEFT cannot load")
    present = [module for module in sorted(modules) if module not in HEADS or task is not None or module in names.tops]
    return tensors, [names.module(module) for module in present]


def _write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    # safetensors writes the memory of a transposed view as it lies, which reads back as something else.
    data = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, {"format": "pt"})
    with atomic.new_folder(folder) as temporary:
        atomic.write_bytes(temporary / WEIGHTS, data)
        atomic.write_json(temporary / CONFIG, dict(config))

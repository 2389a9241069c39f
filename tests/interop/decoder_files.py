"""Folders of small decoders as Hugging Face writes them, made without it."""

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

from tlx import tree
from tlx.fields import check_fields
from tlx.interop import layout as layouts
from tlx.interop.format import Format
from tlx.models.decoder import FIELDS
from tlx.models.registry import Model

VOCAB, CLASSES, LENGTH = 50, 3, 16
SIZES = {"vocab": VOCAB, "positions": LENGTH, "width": 16, "depth": 2, "heads": 4, "hidden": 24}
LLAMA = {"position": "rotary", "norm": "rms", "mlp": "swiglu", "bias": "none", "kv_heads": 2}

Arrays = dict[str, np.ndarray]
Change = Callable[[dict[str, Any], Arrays], None]


def decoder(**changes: Any) -> Model:
    """A small decoder, GPT-2 but for the changes."""
    settings = check_fields("model", FIELDS, {**SIZES, **changes})
    classes = VOCAB if settings["head"] == "lm" else CLASSES
    return Model("decoder", tuple(sorted(settings.items())), classes, (LENGTH,))


@functools.cache
def leaves(model: Model) -> dict[str, Any]:
    """Random leaves, so that no two tensors are alike."""
    rng = np.random.default_rng(0)
    shapes = tree.flatten(jax.eval_shape(model.init, 0))
    return tree.unflatten({path: rng.normal(size=leaf.shape).astype(np.float32) for path, leaf in shapes.items()})


def tensors_of(format: Format, model: Model) -> Arrays:
    return layouts.save(format.layout(dict(model.settings), model.num_classes), leaves(model))


def written(folder: Path, format: Format, model: Model, change: Change = lambda config, tensors: None) -> Path:
    """The folder of a model after a change of its config or its tensors."""
    assert format.config is not None
    config, tensors = format.config(model), tensors_of(format, model)
    change(config, tensors)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def renamed(tensors: Arrays, pattern: str, template: str) -> None:
    for name in list(tensors):
        tensors[re.sub(pattern, template, name)] = tensors.pop(name)


def config_with(**values: Any) -> Change:
    """A change of the config alone; a value of `...` takes a name away."""

    def change(config: dict[str, Any], tensors: Arrays) -> None:
        for name, value in values.items():
            if value is ...:
                config.pop(name, None)
            else:
                config[name] = value

    return change

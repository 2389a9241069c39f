"""Adapter files as PEFT writes them, made of random tensors under the names that PEFT gives them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file
from tiny import CLASSES, tiny_model

from tlx.fields import check_fields
from tlx.models.registry import MODELS, Model

Tensors = dict[str, np.ndarray]

BERT = tiny_model("bert")
VIT = tiny_model("vit", pool="class")
DECODER = {"vocab": 20, "positions": 16, "width": 8, "depth": 2, "heads": 2, "hidden": 12, "head": "lm"}
GPT2 = Model("decoder", tuple(sorted(check_fields("model", MODELS["decoder"].fields, DECODER).items())), 20, (6,))
WIDTH, HIDDEN, VOCAB, DEPTH = 16, 32, 50, 2

# What the config of every adapter of a classifier says.
CLASSIFY = {"base_model_name_or_path": "somewhere/bert", "task_type": "SEQ_CLS", "inference_mode": True}
CLASSIFY |= {"modules_to_save": ["classifier", "score"]}
LORA = {**CLASSIFY, "peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["query", "value"]}


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Random numbers, other ones for each shape and seed."""
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


def put(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Path:
    """An adapter's two files."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(
        {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / "adapter_model.safetensors"
    )
    return folder


def in_bert(layer: int, name: str) -> str:
    """A module of BERT in an adapter file."""
    return f"base_model.model.bert.encoder.layer.{layer}.{name}"


def head(prefix: str = "base_model.model.", classes: int = CLASSES) -> Tensors:
    """The head of a classifier."""
    return {f"{prefix}classifier.weight": numbers(classes, WIDTH), f"{prefix}classifier.bias": numbers(classes)}


def low_rank(module: str, rank: int = 2, inputs: int = WIDTH, outputs: int = WIDTH, seed: int = 0) -> Tensors:
    """A and B beside a linear layer."""
    a, b = numbers(rank, inputs, seed=seed), numbers(outputs, rank, seed=seed + 1)
    return {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}


def bert_lora() -> Tensors:
    """What `LORA` promises."""
    tensors = head()
    for i in range(DEPTH):
        tensors |= low_rank(in_bert(i, "attention.self.query"), seed=10 * i)
        tensors |= low_rank(in_bert(i, "attention.self.value"), seed=10 * i + 5)
    return tensors


def random_leaves(model: Model, seed: int = 0) -> dict[str, Any]:
    """Leaves for a base model."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, 0)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)

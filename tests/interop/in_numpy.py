"""Layers as PyTorch lays them out, in numpy and double precision, and files of random tensors."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

Arrays = Mapping[str, np.ndarray]
erf = np.vectorize(math.erf)


def drawn(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Float32 tensors of these shapes, none at a trivial value."""
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-0.6, 0.6, shape).astype(np.float32) for name, shape in shapes.items()}


def layer(name: str, *shape: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's weight and bias."""
    return {f"{name}.weight": shape, **({f"{name}.bias": shape[:1]} if bias else {})}


def write(folder: Path, config: dict[str, Any] | None, tensors: Arrays) -> Path:
    """A checkpoint's folder."""
    folder.mkdir(exist_ok=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def linear(x: np.ndarray, t: Arrays, name: str) -> np.ndarray:
    y = x @ t[f"{name}.weight"].astype(np.float64).T
    return y + t[f"{name}.bias"] if f"{name}.bias" in t else y


def norm(x: np.ndarray, t: Arrays, name: str, epsilon: float) -> np.ndarray:
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * t[f"{name}.weight"] + t[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def quick_gelu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-1.702 * x))


def attend(q_TD: np.ndarray, k_TD: np.ndarray, v_TD: np.ndarray, heads: int, causal: bool = False) -> np.ndarray:
    """Softmax(QKᵀ/√K)V head by head and token by token."""
    width = q_TD.shape[1] // heads
    out_TD = np.zeros_like(q_TD)
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        for t in range(len(q_TD)):
            asked = slice(0, t + 1 if causal else None)
            score = np.exp(k_TD[asked, own] @ q_TD[t, own] / math.sqrt(width))
            out_TD[t, own] = score / score.sum() @ v_TD[asked, own]
    return out_TD


def patches(x_HWC: np.ndarray, t: Arrays, name: str) -> np.ndarray:
    """A convolution [D, C, P, P] by its own side."""
    kernel = t[f"{name}.weight"].astype(np.float64)
    side, bias = kernel.shape[-1], t.get(f"{name}.bias", 0.0)
    corners = [(i, j) for i in range(0, x_HWC.shape[0], side) for j in range(0, x_HWC.shape[1], side)]
    return np.stack([np.einsum("dcpq,pqc->d", kernel, x_HWC[i : i + side, j : j + side]) + bias for i, j in corners])

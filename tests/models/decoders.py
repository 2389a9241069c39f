"""Small decoders for tests, and what they compute written out in numpy, one text and one token at a time."""

import math
from typing import Any

import numpy as np
from formulas import Leaves, below, layer_norm

from tlx.fields import check_fields
from tlx.models.decoder import FIELDS
from tlx.models.registry import Model

VOCAB, CLASSES, LENGTH = 50, 3, 6
SIZES = {"vocab": VOCAB, "positions": 16, "width": 16, "depth": 2, "heads": 4, "hidden": 24}
ROTARY = {"position": "rotary", "norm": "rms", "mlp": "swiglu", "bias": "none", "kv_heads": 2, "rope_theta": 50.0}
# One for each family, and one with what else there is.
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "llama": ROTARY,
    "mixed": {**ROTARY, "norm": "layer", "mlp": "gelu", "bias": "attention", "window": 2, "head_width": 6},
}


def decoder(family: str = "gpt2", **changes: Any) -> Model:
    """A small decoder of a family; `changes` replace settings."""
    settings = check_fields("model", FIELDS, {**SIZES, **FAMILIES[family], **changes})
    classes = settings["vocab"] if settings["head"] == "lm" else CLASSES
    return Model("decoder", tuple(sorted(settings.items())), classes, (LENGTH,))


def expected(model: Model, p: Leaves, id_T: np.ndarray, factor: float = 1.0) -> np.ndarray:
    """Features [T, D] after the final norm of a text without padding; `factor` stands for each dropout."""
    s = dict(model.settings)
    x_TD = p["embed/word/embedding"][id_T]
    if s["position"] == "learned":
        x_TD = x_TD + p["embed/position/embedding"][: len(id_T)]
    x_TD = factor * x_TD
    for i in range(s["depth"]):
        own = below(p, f"block_{i}/")
        y_TD = normed(s, x_TD, own, "norm1")
        x_TD = x_TD + factor * dense(attended(s, y_TD, below(own, "attention/"), factor), own, "attention/out")
        x_TD = x_TD + factor * mlp(s, normed(s, x_TD, own, "norm2"), below(own, "mlp/"))
    return normed(s, x_TD, p, "pool/norm")


def dense(x: np.ndarray, p: Leaves, name: str) -> np.ndarray:
    return x @ p[f"{name}/kernel"] + p.get(f"{name}/bias", np.zeros(1))


def normed(s: dict[str, Any], x: np.ndarray, p: Leaves, name: str) -> np.ndarray:
    if s["norm"] == "layer":
        return layer_norm(x, p, name, s["epsilon"])
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + s["epsilon"]) * p[f"{name}/scale"]


def mlp(s: dict[str, Any], x: np.ndarray, p: Leaves) -> np.ndarray:
    h = dense(x, p, "up")
    if s["mlp"] == "swiglu":
        gate = dense(x, p, "gate")
        return dense(gate / (1 + np.exp(-gate)) * h, p, "down")
    if s["mlp"] == "gelu":
        return dense(0.5 * h * (1 + np.vectorize(math.erf)(h / math.sqrt(2))), p, "down")
    return dense(0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))), p, "down")


def attended(s: dict[str, Any], x_TD: np.ndarray, p: Leaves, factor: float) -> np.ndarray:
    """What each token hears from those it may ask, all heads in a row."""
    heads, groups = s["heads"], s["kv_heads"] or s["heads"]
    q, k, v = (dense(x_TD, p, name) for name in ("query", "key", "value"))
    width = q.shape[1] // heads
    heard = np.zeros_like(q)
    for head in range(heads):
        asking = slice(head * width, (head + 1) * width)
        group = head // (heads // groups)
        asked = slice(group * width, (group + 1) * width)
        for t in range(len(x_TD)):
            first = max(0, t - s["window"] + 1) if s["window"] else 0
            scores = [
                turned(s, q[t, asking], t) @ turned(s, k[n, asked], n) / math.sqrt(width) for n in range(first, t + 1)
            ]
            weights = np.exp(scores) / np.exp(scores).sum()
            heard[t, asking] = factor * weights @ v[first : t + 1, asked]
    return heard


def turned(s: dict[str, Any], x_K: np.ndarray, position: int) -> np.ndarray:
    """A query or key, each pair of channels turned by its own angle."""
    if s["position"] == "learned":
        return x_K
    half = len(x_K) // 2
    out = np.zeros_like(x_K)
    for f in range(half):
        angle = position * s["rope_theta"] ** (-f / half)
        out[f] = x_K[f] * math.cos(angle) - x_K[f + half] * math.sin(angle)
        out[f + half] = x_K[f + half] * math.cos(angle) + x_K[f] * math.sin(angle)
    return out

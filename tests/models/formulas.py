"""Layers written out in numpy, in double precision, one example and one head at a time."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx import tree

Leaves = dict[str, np.ndarray]
erf = np.vectorize(math.erf)


def randomised(module: Any, *args: Any, seed: int = 0, **kwargs: Any) -> dict[str, Any]:
    """Variables of a module with every leaf drawn anew, so that biases, norms and statistics count too."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *args, **kwargs))

    def draw(path: str, leaf: Any) -> jax.Array:
        low, high = (0.5, 2.0) if path.endswith("/var") else (-0.7, 0.7)
        return jnp.asarray(rng.uniform(low, high, leaf.shape), jnp.float32)

    return tree.unflatten({path: draw(path, leaf) for path, leaf in tree.flatten(shapes).items()})


def double(nested: Any) -> Leaves:
    return {path: np.asarray(leaf, np.float64) for path, leaf in tree.flatten(nested).items()}


def below(p: Leaves, prefix: str) -> Leaves:
    """The leaves under a prefix, by the rest of their path."""
    return {path.removeprefix(prefix): leaf for path, leaf in p.items() if path.startswith(prefix)}


def dense(x: np.ndarray, p: Leaves, name: str) -> np.ndarray:
    return x @ p[f"{name}/kernel"] + p[f"{name}/bias"]


def layer_norm(x: np.ndarray, p: Leaves, name: str, epsilon: float = 1e-6) -> np.ndarray:
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * p[f"{name}/scale"] + p[f"{name}/bias"]


def attend(q_TD: np.ndarray, k_SD: np.ndarray, v_SD: np.ndarray, heads: int, factor: float = 1.0) -> np.ndarray:
    """Softmax(QKᵀ/√K)V head by head; `factor` multiplies the weights."""
    k = q_TD.shape[1] // heads
    mixed_TD = np.zeros_like(q_TD)
    for head in range(heads):
        own = slice(head * k, (head + 1) * k)
        score_TS = q_TD[:, own] @ k_SD[:, own].T / math.sqrt(k)
        weight_TS = np.exp(score_TS) / np.exp(score_TS).sum(axis=1, keepdims=True)
        mixed_TD[:, own] = factor * weight_TS @ v_SD[:, own]
    return mixed_TD


def attention(
    x_BTD: np.ndarray, p: Leaves, heads: int, mask_BT: np.ndarray | None = None, factor: float = 1.0
) -> np.ndarray:
    """Self-attention in which masked tokens are left out; `factor` stands for each dropout."""
    out_BTD = np.zeros_like(x_BTD)
    for b, x_TD in enumerate(x_BTD):
        asked = np.ones(len(x_TD), bool) if mask_BT is None else mask_BT[b].astype(bool)
        q, k, v = (dense(x_TD, p, name) for name in ("query", "key", "value"))
        out_BTD[b] = factor * dense(attend(q, k[asked], v[asked], heads, factor), p, "out")
    return out_BTD


def mlp(x: np.ndarray, p: Leaves, exact: bool = False) -> np.ndarray:
    h = dense(x, p, "up")
    if exact:
        return dense(0.5 * h * (1 + erf(h / math.sqrt(2))), p, "down")
    return dense(0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))), p, "down")


def convolution(x_BHWC: np.ndarray, kernel: np.ndarray, stride: int, margin: int) -> np.ndarray:
    """Cross-correlation with `margin` zeros on all four sides."""
    images, rows, columns, _ = x_BHWC.shape
    side, _, channels, features = kernel.shape
    padded = np.pad(x_BHWC, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    h, w = ((size + 2 * margin - side) // stride + 1 for size in (rows, columns))
    out = np.zeros((images, h, w, features))
    for row in range(h):
        for column in range(w):
            for i in range(side):
                for j in range(side):
                    for c in range(channels):
                        pixel_B = padded[:, row * stride + i, column * stride + j, c]
                        out[:, row, column] += np.outer(pixel_B, kernel[i, j, c])
    return out


def batch_norm(x: np.ndarray, p: Leaves, name: str, train: bool = False, epsilon: float = 1e-5) -> np.ndarray:
    """By the batch in training, by the running statistics otherwise."""
    mean, variance = p[f"batch_stats/{name}/mean"], p[f"batch_stats/{name}/var"]
    if train:
        mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    return (x - mean) / np.sqrt(variance + epsilon) * p[f"params/{name}/scale"] + p[f"params/{name}/bias"]


def doubled_dropout(layer: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """An interceptor that doubles what a dropout layer is given, in training, to show where the layer stands."""
    if type(context.module).__name__ == "Dropout" and context.method_name == "__call__":
        return args[0] if kwargs["deterministic"] else 2.0 * args[0]
    return layer(*args, **kwargs)

"""A block of the ViT written out in NumPy and float64, with a place to change what any of its modules does."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from einops import rearrange

from tlx import tree

Layer = Callable[[np.ndarray], np.ndarray]
# (path below the block, the module, its input) to what stands in place of its output.
Call = Callable[[str, Layer, np.ndarray], np.ndarray]


def unchanged(path: str, layer: Layer, x: np.ndarray) -> np.ndarray:
    """The module as it is."""
    return layer(x)


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """Its approximation with tanh."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_erf(x: np.ndarray) -> np.ndarray:
    """x times the standard normal's distribution function."""
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def float64(nested: Any, below: str = "") -> dict[str, np.ndarray]:
    """Leaves by path below a prefix, in float64."""
    leaves = {path: np.asarray(leaf, np.float64) for path, leaf in tree.flatten(nested).items()}
    return {path.removeprefix(below): leaf for path, leaf in leaves.items() if path.startswith(below)}


def vit_block(leaves: dict[str, np.ndarray], x_BTD: np.ndarray, heads: int, call: Call = unchanged) -> np.ndarray:
    """A pre-norm block.

    Args:
      leaves: parameters by path below the block.
      x_BTD: what flows in.
      heads: number of attention heads.
      call: stands around every module.
    """

    def dense(path: str, x: np.ndarray) -> np.ndarray:
        return call(path, lambda x: x @ leaves[f"{path}/kernel"] + leaves[f"{path}/bias"], x)

    def norm(path: str, x: np.ndarray) -> np.ndarray:
        def layer(x: np.ndarray) -> np.ndarray:
            centred = x - x.mean(-1, keepdims=True)
            return centred / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * leaves[f"{path}/scale"] + leaves[f"{path}/bias"]

        return call(path, layer, x)

    def attention(x: np.ndarray) -> np.ndarray:
        parts = [dense(f"attention/{name}", x) for name in ("query", "key", "value")]
        q, k, v = (rearrange(part, "b t (n k) -> b n t k", n=heads) for part in parts)
        weight = np.exp(np.einsum("bntk,bnsk->bnts", q, k) / math.sqrt(q.shape[-1]))
        mixed = np.einsum("bnts,bnsk->bntk", weight / weight.sum(-1, keepdims=True), v)
        return dense("attention/out", rearrange(mixed, "b n t k -> b t (n k)"))

    def mlp(x: np.ndarray) -> np.ndarray:
        return dense("mlp/down", gelu_tanh(dense("mlp/up", x)))

    x_BTD = x_BTD + call("attention", attention, norm("norm1", x_BTD))
    return x_BTD + call("mlp", mlp, norm("norm2", x_BTD))


def slope(
    f: Callable[[dict[str, np.ndarray]], float], at: dict[str, np.ndarray], along: dict[str, np.ndarray]
) -> float:
    """Derivative of f along a direction, by central differences in float64."""
    step = 1e-5
    ahead, behind = ({path: at[path] + sign * step * along[path] for path in at} for sign in (1, -1))
    return (f(ahead) - f(behind)) / (2 * step)


def stacked(nested: Any) -> dict[str, Any]:
    """Leaves of `block_0`, `block_1`, ... as those of the scanned `blocks`, with an axis for the blocks in front."""
    leaves = tree.flatten(nested)
    found: dict[str, Any] = {path: leaf for path, leaf in leaves.items() if "/block_" not in path}
    for path in leaves:
        if "/block_0/" in path:
            each = [leaf for i in range(99) if (leaf := leaves.get(path.replace("block_0", f"block_{i}"))) is not None]
            found[path.replace("block_0", "blocks")] = np.stack(each)
    return tree.unflatten(found)

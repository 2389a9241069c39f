"""Adapted models away from their start, run between stages, and pieces of BERT written out in NumPy and float64."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from by_hand import gelu_erf
from einops import rearrange
from tiny import variables

from tlx import tree
from tlx.adapt.adapted import Adapted

Leaves = dict[str, np.ndarray]


@functools.cache
def away(adapted: Adapted) -> dict[str, Any]:
    """The variables with noise on parameters and adapters."""
    rng = np.random.default_rng(3)
    leaves = tree.flatten(variables(adapted))
    noise = {path: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32) for path, leaf in leaves.items()}
    return tree.unflatten(
        {path: leaf if path.startswith("batch_stats/") else leaf + noise[path] for path, leaf in leaves.items()}
    )


def run(
    adapted: Adapted, leaves: Any, x: Any, first: int = 0, last: int | None = None, scale: float | None = None
) -> Any:
    """What stages `first` to `last` give; the scale is traced if there is one."""
    if scale is None:
        return _compiled(adapted, first, last)(leaves, x)
    return _scaled(adapted, first, last)(leaves, x, jnp.float32(scale))


@functools.cache
def _compiled(adapted: Adapted, first: int, last: int | None) -> Callable[..., Any]:
    return jax.jit(lambda leaves, x: adapted.apply(leaves, x, first=first, last=last)[0])


@functools.cache
def _scaled(adapted: Adapted, first: int, last: int | None) -> Callable[..., Any]:
    return jax.jit(lambda leaves, x, scale: adapted.apply(leaves, x, first=first, last=last, scale=scale)[0])


def tokens_of(flow: Any) -> np.ndarray:
    """The tokens [B, T, D] of what flows, in float64."""
    return np.asarray(flow["hidden"] if isinstance(flow, dict) else flow, np.float64)


def layer_norm(leaves: Leaves, path: str, x: np.ndarray, epsilon: float = 1e-12) -> np.ndarray:
    """Over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(x.var(-1, keepdims=True) + epsilon) * leaves[f"{path}/scale"] + leaves[f"{path}/bias"]


def dense(leaves: Leaves, path: str, x: np.ndarray) -> np.ndarray:
    """x W + b."""
    return x @ leaves[f"{path}/kernel"] + leaves[f"{path}/bias"]


def bert_embed(leaves: Leaves, word_BTD: np.ndarray, positions: range) -> np.ndarray:
    """What the embedding gives for the vectors that stand in place of its words."""
    table_PD, type_D = leaves["embed/position/embedding"], leaves["embed/type/embedding"][0]
    return layer_norm(leaves, "embed/norm", word_BTD + table_PD[list(positions)] + type_D)


def attention(
    leaves: Leaves, path: str, x_BTD: np.ndarray, allowed_BS: np.ndarray, heads: int, prefix: Any = None
) -> np.ndarray:
    """Multi-head attention; `prefix` is a pair of keys and values [P, D] that every example has in front of its own."""
    q, k, v = (dense(leaves, f"{path}/{name}", x_BTD) for name in ("query", "key", "value"))
    if prefix is not None:
        front = [np.broadcast_to(part, (len(x_BTD), *part.shape)) for part in prefix]
        k, v = np.concatenate([front[0], k], 1), np.concatenate([front[1], v], 1)
    q, k, v = (rearrange(part, "b t (n k) -> b n t k", n=heads) for part in (q, k, v))
    weight = np.exp(np.einsum("bntk,bnsk->bnts", q, k) / math.sqrt(q.shape[-1]))
    weight = weight * rearrange(allowed_BS, "b s -> b 1 1 s")
    mixed = np.einsum("bnts,bnsk->bntk", weight / weight.sum(-1, keepdims=True), v)
    return dense(leaves, f"{path}/out", rearrange(mixed, "b n t k -> b t (n k)"))


def bert_block(
    leaves: Leaves, path: str, x_BTD: np.ndarray, allowed_BS: np.ndarray, heads: int, prefix: Any = None
) -> np.ndarray:
    """A post-norm block."""
    mixed = attention(leaves, f"{path}/attention", x_BTD, allowed_BS, heads, prefix)
    x_BTD = layer_norm(leaves, f"{path}/norm1", x_BTD + mixed)
    hidden = gelu_erf(dense(leaves, f"{path}/mlp/up", x_BTD))
    return layer_norm(leaves, f"{path}/norm2", x_BTD + dense(leaves, f"{path}/mlp/down", hidden))

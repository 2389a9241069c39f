"""Ops as the shared tests use them: small settings for those whose defaults are for large images or say too little."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx.data.ops.op import Op
from tlx.data.ops.registry import OPS
from tlx.models.inputs import TOKENS

CLASSES = 5
VOCAB = 50
SETTINGS: dict[str, dict[str, Any]] = {
    "resize": {"side": 5},
    "center_crop": {"side": 5},
    "pad_crop": {"padding": 2},
    "random_erasing": {"probability": 1.0},
    "mixup": {"alpha": 1.0},
    "normalise": {"mean": (0.4,), "std": (0.2,)},
    "mask_tokens": {"mask": 4, "vocab": VOCAB, "special": (0, 2, 3), "probability": 0.5},
    "next_token": {"pad": 0},
}


def small(name: str, **changes: Any) -> Op:
    """An op for images of 8×6 or rows of 12 tokens."""
    return OPS[name](**SETTINGS.get(name, {}) | changes)


def keys(count: int, seed: int = 0) -> jax.Array:
    """As many keys as there are examples."""
    return jax.random.split(jax.random.key(seed), count)


def examples(op: Op, channels: int = 3, dtype: Any = jnp.uint8, size: int = 4) -> dict[str, jax.Array]:
    """A batch that the op takes: smooth images with some noise, or token ids with padding at their ends."""
    rng = np.random.default_rng(0)
    label = jnp.arange(size, dtype=jnp.int32) % CLASSES
    if op.takes == TOKENS:
        id_BT = rng.integers(5, VOCAB, (size, 12)).astype(np.int32)
        id_BT[:, 0], id_BT[:, 8], id_BT[:, 9:] = 2, 3, 0
        return {"input": jnp.asarray(id_BT), "label": label}
    slope = np.add.outer(np.arange(8) * 20, np.arange(6) * 15)[None, :, :, None]
    level = np.clip(slope + rng.integers(0, 60, (size, 8, 6, channels)), 0, 255).astype(np.uint8)
    x = jnp.asarray(level) if dtype == jnp.uint8 else jnp.asarray(level / 127.5 - 1, jnp.float32)
    return {"input": x, "label": jax.nn.one_hot(label, CLASSES, dtype=jnp.float32) if op.mixes else label}

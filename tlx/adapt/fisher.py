"""The diagonal of the Fisher information, from examples.

Shape suffixes: N examples, B examples in a batch, M examples at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx import tree
from tlx.losses import cross_entropy

# Every example's gradient is held at once: at most 2**28 numbers of 4 bytes, or a single example's.
MOST_NUMBERS, MOST_EXAMPLES = 2**28, 64

Batches = Sequence[tuple[Any, Any]]


def diagonal_fisher(logits: Callable[[Any, Any], jax.Array], leaves: Any, batches: Batches) -> Any:
    """The mean over examples of the squared gradient of the label's log-probability.

    Args:
      logits: `(leaves, x)` to logits [M, C].
      leaves: nested dict of arrays that the gradient is taken of.
      batches: inputs [B, ...] and integer labels [B], or [B, T] where tokens have labels; at least one example.

    Returns:
      A tree like `leaves`, float32, F = (1/N) Σ (∂ log p(y|x) / ∂θ)²; an example's tokens are taken together.

    Source: Kirkpatrick et al. (2017), who draw the labels from the model, and Sung et al. (2021), who take the true
      ones. That is the caller's choice.
    """
    largest = max(len(label_B) for _, label_B in batches)
    at_once = max(1, min(MOST_EXAMPLES, MOST_NUMBERS // tree.count(leaves), largest))

    def squares(leaves: Any, x: jax.Array, label: jax.Array) -> Any:
        def unlikely(leaves: Any) -> jax.Array:
            # A label of no class has no target mass, so tokens without one add nothing.
            return -jnp.sum(cross_entropy(logits(leaves, x[None]), label[None])[0])

        grads = jax.grad(unlikely)(leaves)
        return jax.tree.map(lambda grad: jnp.square(grad.astype(jnp.float32)), grads)

    @jax.jit
    def add(total: Any, leaves: Any, x_M: jax.Array, label_M: jax.Array, counts_M: jax.Array) -> Any:
        each = jax.vmap(squares, in_axes=(None, 0, 0))(leaves, x_M, label_M)
        return jax.tree.map(lambda sum_, square: sum_ + jnp.einsum("m,m...->...", counts_M, square), total, each)

    total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), leaves)
    for x_B, label_B in batches:
        for start in range(0, len(label_B), at_once):
            # The last part is filled up with an example that counts nothing, so that one program serves all.
            position_M = np.arange(start, start + at_once)
            index_M = np.minimum(position_M, len(label_B) - 1)
            counts_M = (position_M < len(label_B)).astype(np.float32)
            total = add(total, leaves, x_B[index_M], label_B[index_M], counts_M)
    examples = float(sum(len(label_B) for _, label_B in batches))
    return jax.tree.map(lambda leaf: leaf / examples, total)

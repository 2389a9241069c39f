"""Task2Vec: tasks as the Fisher information they give the filters of one probe network.

Shape suffixes: F filters, B examples at once.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from tlx import tree
from tlx.measure.transferability.inputs import Numbers

EPSILON, TRIVIAL_SHARE = 1e-8, 0.15


def task2vec(source_F: ArrayLike, target_F: ArrayLike) -> Numbers:
    """How near a source's task is to a target's: the negative of their distance.

    Args:
      source_F: [F] or [S, F], the source tasks' embeddings.
      target_F: [F], the target task's, on the same probe.

    Returns:
      One number or [S], -1 to 0.

    Raises:
      ValueError: the embeddings are not of one probe, or not what `embedding` gives.
    """
    return np.asarray(-distance(source_F, target_F))


def distance(one_F: ArrayLike, other_F: ArrayLike) -> Numbers:
    """The cosine distance of both embeddings, each divided by their sum.

    Args:
      one_F: [F] or [S, F], not negative.
      other_F: [F], not negative.

    Returns:
      One number or [S], 0 to 1.

    Raises:
      ValueError: the lengths differ, or a number is negative or not finite.

    Source: Achille et al. 2019, "Task2Vec: task embedding for meta-learning", equation 3.
    """
    one, other = np.asarray(one_F, np.float64), np.asarray(other_F, np.float64)
    if other.ndim != 1 or one.ndim not in (1, 2) or one.shape[-1] != other.size or not other.size:
        raise ValueError(f"embeddings: expected [F] or [S, F] and [F], got shapes {one.shape} and {other.shape}")
    if not all(np.all(np.isfinite(x)) and x.min() >= 0 for x in (one, other)):
        raise ValueError("embeddings: expected finite numbers that are not negative")
    total = one + other + EPSILON
    a, b = one / total, other / total
    length = np.sqrt(np.sum(a**2, axis=-1) * np.sum(b**2, axis=-1))
    cosine = np.sum(a * b, axis=-1) / np.where(length > 0, length, 1.0)
    return np.asarray(1 - np.minimum(cosine, 1.0))


def asymmetric(one_F: ArrayLike, other_F: ArrayLike, trivial_F: ArrayLike) -> Numbers:
    """The distance less 0.15 times that from the first to a trivial task, so that harder sources are nearer.

    Args:
      one_F: [F] or [S, F], the source's.
      other_F: [F], the target's.
      trivial_F: [F], of a task that needs nothing of the probe.

    Returns:
      One number or [S].

    Raises:
      ValueError: as `distance`.

    Source: Achille et al. 2019, section 3.2.
    """
    return np.asarray(distance(one_F, other_F) - TRIVIAL_SHARE * distance(one_F, trivial_F))


def embedding(
    logits: Callable[[Any, Any], jax.Array],
    leaves: Any,
    inputs: Any,
    *,
    seed: int,
    head: str = r"(.*/)?head/.*",
    batch: int = 32,
) -> Numbers:
    """The diagonal Fisher information of a probe whose head was fitted to the task, one number for each filter.

    The label of each example is drawn from the model's own predictions. The mean is over examples, and over all
    weights that make one output of a layer; vectors, such as biases, and the head are left out.

    Args:
      logits: `(leaves, x_B)` to logits [B, C].
      leaves: nested dict of arrays, all that `logits` reads.
      inputs: [N, ...], at least one example.
      seed: of the labels.
      head: pattern over whole paths of leaves that are not part of the embedding.
      batch: examples whose gradients are held at once.

    Returns:
      [F], filters in the order of their paths.

    Raises:
      ValueError: there is no example, or no leaf with filters.

    Source: Achille et al. 2019, section 2; labels drawn as in the awslabs code, F = E_x E_y~p(y|x) (∂ log p(y|x)/∂w)².
    """
    paths = [p for p, leaf in tree.flatten(leaves).items() if np.ndim(leaf) > 1 and not tree.matches(head, p)]
    if not len(inputs) or not paths:
        raise ValueError("inputs and leaves: expected an example, and a leaf below the head with filters")
    rest = {path: leaf for path, leaf in tree.flatten(leaves).items() if path not in paths}

    def squares(moving: dict[str, jax.Array], rest: Any, x: Any, key: jax.Array) -> dict[str, jax.Array]:
        def unlikely(moving: dict[str, jax.Array]) -> jax.Array:
            log_C = jax.nn.log_softmax(logits(tree.unflatten({**rest, **moving}), x[None])[0])
            return -log_C[jax.random.categorical(key, jax.lax.stop_gradient(log_C))]

        return jax.tree.map(_per_filter, jax.grad(unlikely)(moving))

    @jax.jit
    def summed(moving: dict[str, jax.Array], rest: Any, x_B: Any, key_B: jax.Array) -> dict[str, jax.Array]:
        each = jax.vmap(squares, in_axes=(None, None, 0, 0))(moving, rest, x_B, key_B)
        return jax.tree.map(lambda square_BF: jnp.sum(square_BF, axis=0), each)

    key_N = jax.random.split(jax.random.key(seed), len(inputs))
    moving = {path: tree.flatten(leaves)[path] for path in paths}
    batches = [slice(i, i + batch) for i in range(0, len(inputs), batch)]
    parts = [summed(moving, rest, inputs[part], key_N[part]) for part in batches]
    total = {path: np.sum([np.asarray(part[path], np.float64) for part in parts], axis=0) for path in paths}
    return np.asarray(np.concatenate([total[path] for path in sorted(paths)]) / len(inputs))


def _per_filter(gradient: jax.Array) -> jax.Array:
    """The mean square over all axes but the last, which numbers a layer's outputs."""
    return jnp.mean(jnp.square(gradient), axis=tuple(range(gradient.ndim - 1)))

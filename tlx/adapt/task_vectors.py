"""Task vectors: what tuning changed, as a tree that can be scaled, added up, trimmed and thinned out.

Shape suffixes: T tuned trees, N entries of all float leaves together, K entries that are kept.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from einops import pack, unpack

from tlx import seeds, tree
from tlx.adapt.combining import difference, matched, moved, numbered
from tlx.errors import ConfigError

Vector = dict[str, jax.Array]


def task_vector(start: Any, tuned: Any) -> dict[str, Any]:
    """The difference tuned - start.

    Args:
      start: nested dict of arrays.
      tuned: nested dict of arrays with the same leaves.

    Returns:
      A tree of the same leaves and dtypes, so that the difference is rounded where a leaf has less than 32 bits;
      the functions below take theirs in float32. Integers are passed through, not subtracted.

    Raises:
      RuleError: the trees differ in a leaf, a shape, a dtype or an integer.

    Source: Ilharco et al. (2022), "Editing models with task arithmetic", section 2.
    """
    kept, base, [vector] = _differences(start, {"tuned": tuned})
    return tree.unflatten(kept | {path: vector[path].astype(leaf.dtype) for path, leaf in base.items()})


def task_arithmetic(start: Any, tuned_trees: Sequence[Any], scale: jax.Array | float) -> dict[str, Any]:
    """The start plus the scaled sum of the task vectors.

    Args:
      start: nested dict of arrays.
      tuned_trees: nested dicts of arrays with the same leaves.
      scale: factor λ on the sum, negative to unlearn; may be traced.

    Returns:
      A tree of the same leaves; those that no tree changed keep their bits.

    Raises:
      RuleError: no tuned tree, or trees that differ in a leaf, a shape, a dtype or an integer.

    Source: Ilharco et al. (2022), "Editing models with task arithmetic", section 2: addition and negation.
    """
    kept, base, vectors = _differences(start, numbered("tuned_trees", tuned_trees))
    return _apply(kept, base, _sum(vectors), scale)


def ties(start: Any, tuned_trees: Sequence[Any], density: float, scale: jax.Array | float) -> dict[str, Any]:
    """The start plus the task vectors merged without interference: trim, elect a sign, mean of those that agree.

    Args:
      start: nested dict of arrays.
      tuned_trees: nested dicts of arrays with the same leaves.
      density: share of each task vector that is kept, from 0 to 1; static under `jit`.
      scale: factor λ on the merged vector; may be traced.

    Returns:
      A tree of the same leaves.

    Raises:
      RuleError: no tuned tree, or trees that differ in a leaf, a shape, a dtype or an integer.

    Source: Yadav et al. (2023), "TIES-Merging", algorithm 1. Exactly `round(density · N)` entries of the whole
      vector are kept, of equal magnitudes those that come first by path and place; the authors' code keeps all that
      equal the smallest kept one. Where the elected sum is zero nothing moves; their code takes the sign most
      entries have elsewhere.
    """
    kept, base, vectors = _differences(start, numbered("tuned_trees", tuned_trees))
    packed, shapes = zip(*(pack(list(vector.values()), "*") for vector in vectors), strict=True)
    trimmed_TN = jnp.stack([_trimmed(vector_N, density) for vector_N in packed])
    sign_1N = jnp.sign(jnp.sum(trimmed_TN, axis=0, keepdims=True))
    # "Not at most zero" rather than "above zero": what is not a number stays one, instead of vanishing here.
    agrees_TN = ~(trimmed_TN * sign_1N <= 0)
    count_N = jnp.maximum(jnp.sum(agrees_TN, axis=0), 1).astype(jnp.float32)
    merged_N = jnp.sum(jnp.where(agrees_TN, trimmed_TN, 0.0), axis=0) / count_N
    return _apply(kept, base, dict(zip(base, unpack(merged_N, shapes[0], "*"), strict=True)), scale)


def dare(start: Any, tuned: Any, drop: float, key: jax.Array) -> dict[str, Any]:
    """The tuned tree with a random share of its changes taken back and the others enlarged to make up for it.

    Args:
      start: nested dict of arrays.
      tuned: nested dict of arrays with the same leaves.
      drop: probability p that an entry goes back to the start, from 0 to below 1; static under `jit`.
      key: randomness; what a leaf draws depends on it and on the leaf's path and shape alone.

    Returns:
      A tree of the same leaves whose expectation is `tuned`.

    Raises:
      ConfigError: `drop` is 1, which leaves nothing to enlarge.
      RuleError: the trees differ in a leaf, a shape, a dtype or an integer.

    Source: Yu et al. (2023), "Language models are super Mario": drop with probability p, rescale by 1 / (1 - p).
    """
    kept, base, [vector] = _differences(start, {"tuned": tuned})
    return _apply(kept, base, _thinned(vector, drop, key), 1.0)


def dare_merge(
    start: Any, tuned_trees: Sequence[Any], drop: float, scale: jax.Array | float, key: jax.Array
) -> dict[str, Any]:
    """Task arithmetic over thinned task vectors.

    Args:
      start: nested dict of arrays.
      tuned_trees: nested dicts of arrays with the same leaves.
      drop: probability p that an entry of a task vector is dropped, from 0 to below 1; static under `jit`.
      scale: factor λ on the sum; may be traced.
      key: randomness; the tree at index i is thinned as by `dare` with `jax.random.fold_in(key, i)`.

    Returns:
      A tree of the same leaves whose expectation is that of `task_arithmetic`.

    Raises:
      ConfigError: `drop` is 1, which leaves nothing to enlarge.
      RuleError: no tuned tree, or trees that differ in a leaf, a shape, a dtype or an integer.

    Source: Yu et al. (2023), "Language models are super Mario": DARE before task arithmetic.
    """
    kept, base, vectors = _differences(start, numbered("tuned_trees", tuned_trees))
    thinned = [_thinned(vector, drop, jax.random.fold_in(key, i)) for i, vector in enumerate(vectors)]
    return _apply(kept, base, _sum(thinned), scale)


def _differences(start: Any, tuned: Mapping[str, Any]) -> tuple[dict[str, Any], Vector, list[Vector]]:
    """Leaves of integers, the start's float leaves, and a float32 task vector for each tuned tree."""
    kept, floats = matched({"start": start} | dict(tuned))
    base = {path: leaves[0] for path, leaves in floats.items()}
    vectors = [{path: difference(base[path], floats[path][i]) for path in floats} for i in range(1, len(tuned) + 1)]
    return kept, base, vectors


def _apply(kept: dict[str, Any], base: Vector, vector: Vector, scale: jax.Array | float) -> dict[str, Any]:
    factor = jnp.asarray(scale, jnp.float32)
    return tree.unflatten(kept | {path: moved(leaf, factor * vector[path]) for path, leaf in base.items()})


def _sum(vectors: Sequence[Vector]) -> Vector:
    return {path: jnp.sum(jnp.stack([vector[path] for vector in vectors]), axis=0) for path in vectors[0]}


def _trimmed(vector_N: jax.Array, density: float) -> jax.Array:
    # Of equal values `top_k` takes those with the lower index.
    _, kept_K = jax.lax.top_k(jnp.abs(vector_N), round(density * vector_N.size))
    return jnp.zeros_like(vector_N).at[kept_K].set(vector_N[kept_K])


def _thinned(vector: Vector, drop: float, key: jax.Array) -> Vector:
    if drop >= 1:
        raise ConfigError("drop", f"expected less than 1, got {drop!r}")
    thinned = {}
    for path, leaf in vector.items():
        stays = jax.random.bernoulli(jax.random.fold_in(key, seeds.derive(0, path)), 1 - drop, leaf.shape)
        thinned[path] = jnp.where(stays, leaf / (1 - drop), 0.0)
    return thinned

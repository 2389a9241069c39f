"""WiSE-FT: the weighted mean, its ends, and many weights in one program."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import differing

from tlx import tree
from tlx.adapt.interpolate import interpolate

anything = st.floats(width=32)
ordinary = st.floats(-1e3, 1e3, width=32)


def nest(values: list[float], dtype: Any = np.float32) -> dict[str, Any]:
    return {"block": {"kernel": jnp.array(values[:4], dtype)}, "head": jnp.array(values[4], dtype)}


def numbers(each: st.SearchStrategy[float]) -> st.SearchStrategy[list[float]]:
    return st.lists(each, min_size=5, max_size=5)


def test_by_hand() -> None:
    start = {"a": jnp.array([1.0, 2.0, -4.0]), "b": {"c": jnp.array(8.0)}}
    tuned = {"a": jnp.array([3.0, -2.0, -4.0]), "b": {"c": jnp.array(0.0)}}
    mixed = interpolate(start, tuned, 0.25)
    # 0.75 * 1 + 0.25 * 3, 0.75 * 2 - 0.25 * 2, unchanged; 0.75 * 8.
    assert mixed["a"].tolist() == [1.5, 1.0, -4.0]
    assert mixed["b"]["c"].tolist() == 6.0


@settings(max_examples=60, deadline=None)
@given(start=numbers(anything), tuned=numbers(anything), whole=st.booleans())
def test_the_ends_are_the_trees_bit_for_bit(start: list[float], tuned: list[float], whole: bool) -> None:
    """Whatever is in them: infinities, what is not a number, signs of zero, numbers below the smallest normal one."""
    one, other = nest(start), nest(tuned)
    assert differing(one, interpolate(one, other, 0 if whole else 0.0)) == set()
    assert differing(other, interpolate(one, other, 1 if whole else 1.0)) == set()


@settings(max_examples=60, deadline=None)
@given(start=numbers(ordinary), tuned=numbers(ordinary), alpha=st.floats(-0.5, 1.5, width=32))
def test_it_is_the_weighted_mean(start: list[float], tuned: list[float], alpha: float) -> None:
    one, other = nest(start), nest(tuned)
    mixed = tree.flatten(interpolate(one, other, alpha))
    for path, leaf in tree.flatten(one).items():
        a, b = np.asarray(leaf, np.float64), np.asarray(tree.flatten(other)[path], np.float64)
        want = (1 - alpha) * a + alpha * b
        # Three roundings, each at most 2^-24 of the largest number on the way.
        np.testing.assert_allclose(mixed[path], want, rtol=0, atol=3 * 2**-24 * 2 * np.max(np.abs([a, b])) + 1e-37)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_rounded_once_at_the_end(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    one, other = ({"a": jnp.asarray(rng.normal(size=500), dtype)} for _ in range(2))
    a, b = (np.asarray(each["a"], np.float64) for each in (one, other))
    want = jnp.asarray((0.7 * a + 0.3 * b).astype(np.float32)).astype(dtype)
    assert np.mean(np.asarray(interpolate(one, other, 0.3)["a"] == want)) > 0.995


def test_many_weights_share_one_program() -> None:
    one, other = nest([1, 2, 3, 4, 5]), nest([2, 2, 5, 8, -5])
    alphas_A = jnp.linspace(0, 1, 5)
    together = jax.jit(jax.vmap(interpolate, in_axes=(None, None, 0)))(one, other, alphas_A)
    for i, alpha in enumerate([0.0, 0.25, 0.5, 0.75, 1.0]):
        np.testing.assert_allclose(together["head"][i], 5 - 10 * alpha, rtol=1e-6)
        at = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        assert i not in (0, 4) or differing(at, (one, other)[i // 4]) == set()

"""Named leaves: paths there and back, sizes without arrays, digests that notice everything."""

import doctest
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tlx.tree
from tlx.errors import RuleError
from tlx.tree import count, digest, digest_inventory, flatten, inventory, matches, nbytes, unflatten


class Moments(NamedTuple):
    step: Any
    mu: Any


def tree() -> dict[str, Any]:
    return {
        "params": {
            "block_0": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)},
            "block": {"scale": np.float32(2)},
        },
        "step": np.int32(7),
    }


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(tlx.tree)
    assert result.attempted >= 8 and result.failed == 0


def test_paths_come_in_jax_order() -> None:
    nested = tree()
    flat = flatten(nested)
    assert list(flat) == ["params/block/scale", "params/block_0/bias", "params/block_0/kernel", "step"]
    assert all(a is b for a, b in zip(flat.values(), jax.tree.leaves(nested), strict=True))


def test_there_and_back() -> None:
    back = unflatten(flatten(tree()))
    assert jax.tree.structure(back) == jax.tree.structure(tree())
    assert digest(back) == digest(tree())


def test_tuples_and_fields_have_names() -> None:
    state = (Moments(np.int32(1), {"a": np.zeros(2)}), ())
    assert list(flatten(state)) == ["0/step", "0/mu/a"]


def test_a_slash_in_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="'a/b' contains '/'"):
        flatten({"a/b": 1})


@pytest.mark.parametrize("order", [["a", "a/b"], ["a/b", "a"], ["a", "a/b/c"], ["a/b/c", "a"]])
def test_a_leaf_has_nothing_below_it(order: list[str]) -> None:
    with pytest.raises(ValueError, match="'a' is a leaf"):
        unflatten({path: 1 for path in order})


def test_sizes_need_no_arrays() -> None:
    abstract = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, tree()))
    assert count(abstract) == count(tree()) == 11
    assert nbytes(abstract) == nbytes(tree()) == 44
    assert count({}) == nbytes({}) == 0


def test_digest_is_the_same_for_numpy_and_jax() -> None:
    assert digest(tree()) == digest(jax.tree.map(jnp.asarray, tree()))
    assert digest(tree()) == digest_inventory(inventory(tree()))
    transposed = {"a": np.asfortranarray(np.arange(6).reshape(2, 3))}
    assert digest(transposed) == digest({"a": np.arange(6).reshape(2, 3)})


@pytest.mark.parametrize(
    "step",
    [
        np.int32(8),
        np.uint32(7),
        np.asarray([7], np.int32),
    ],
    ids=["value", "dtype", "shape"],
)
def test_digest_notices_one_leaf(step: np.ndarray) -> None:
    assert digest({**tree(), "step": step}) != digest(tree())


def test_digest_notices_names_and_swaps() -> None:
    one, two = np.zeros(2, np.float32), np.ones(2, np.float32)
    seen = [{"a": one, "b": two}, {"a": two, "b": one}, {"a": one, "c": two}, {"a": one}, {"a": {"b": one}}]
    assert len({digest(t) for t in seen}) == len(seen)


def test_digest_of_bfloat16() -> None:
    assert digest({"a": jnp.ones(3, jnp.bfloat16)}) != digest({"a": jnp.ones(3, jnp.float16)})


def test_patterns_match_whole_paths() -> None:
    assert matches("params/.*/kernel", "params/block_0/kernel")
    assert not matches("block_0", "params/block_0/kernel")
    assert not matches("params", "params\n")


def test_a_bad_pattern_is_named() -> None:
    with pytest.raises(RuleError, match=r"the rule '\(head' is not a regular expression: missing \)"):
        matches("(head", "head/kernel")

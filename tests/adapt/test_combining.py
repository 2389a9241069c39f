"""What every way of combining trees promises: which trees it takes, which leaves stay as they are, that it compiles."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import differing

from tlx import tree
from tlx.adapt.combining import matched, moved, numbered
from tlx.adapt.interpolate import interpolate
from tlx.adapt.soup import greedy_soup, uniform_soup
from tlx.adapt.task_vectors import dare, dare_merge, task_arithmetic, task_vector, ties
from tlx.errors import RuleError

KEY = jax.random.key(3)
Combine = Callable[[list[Any]], dict[str, Any]]
COMPILED: dict[str, Combine] = {
    "interpolate": lambda trees: interpolate(trees[0], trees[1], 0.3),
    "uniform_soup": uniform_soup,
    "task_vector": lambda trees: task_vector(trees[0], trees[1]),
    "task_arithmetic": lambda trees: task_arithmetic(trees[0], trees[1:], -0.4),
    "ties": lambda trees: ties(trees[0], trees[1:], 0.5, 0.7),
    "dare": lambda trees: dare(trees[0], trees[1], 0.5, KEY),
    "dare_merge": lambda trees: dare_merge(trees[0], trees[1:], 0.5, 0.3, KEY),
}
WAYS: dict[str, Combine] = {
    **COMPILED,
    "greedy_soup": lambda trees: greedy_soup(trees, [0.0] * len(trees), lambda soup: 0.0)[0],
}
OF_LISTS: dict[str, Combine] = {
    "uniform_soup": uniform_soup,
    "greedy_soup": lambda trees: greedy_soup(trees, [], lambda soup: 0.0)[0],
    "task_arithmetic": lambda trees: task_arithmetic(model(0), trees, 1.0),
    "ties": lambda trees: ties(model(0), trees, 0.5, 1.0),
    "dare_merge": lambda trees: dare_merge(model(0), trees, 0.5, 1.0, KEY),
}


def model(seed: int) -> dict[str, Any]:
    """Leaves of several dtypes and shapes; `stem` and the integers are the same for every seed."""
    rng = np.random.default_rng(seed)
    return {
        "params": {
            "stem": {"kernel": jnp.array([[0.1, -0.0], [1e-40, 0.7]], jnp.float32)},
            "block": {
                "kernel": jnp.asarray(rng.normal(size=(4, 5)), jnp.float32),
                "bias": jnp.asarray(rng.normal(size=5), jnp.bfloat16),
                "none": jnp.zeros((0, 3), jnp.float32),
            },
            "head": {"scale": jnp.asarray(rng.normal(), jnp.float16)},
        },
        "order": {"index": jnp.array([3, 1, 2], jnp.int32), "used": np.array([True, False])},
    }


def changed(path: str, leaf: Any, seed: int = 1) -> dict[str, Any]:
    """The model with another leaf at a path, or without it where the leaf is None."""
    leaves = {**tree.flatten(model(seed)), path: leaf}
    return tree.unflatten({p: value for p, value in leaves.items() if value is not None})


@pytest.mark.parametrize("name", WAYS)
def test_shapes_and_dtypes_stay(name: str) -> None:
    trees = [model(seed) for seed in range(3)]
    before = [tree.digest(each) for each in trees]
    made, start = tree.flatten(WAYS[name](trees)), tree.flatten(trees[0])
    assert {path: (leaf.shape, leaf.dtype) for path, leaf in made.items()} == {
        path: (leaf.shape, leaf.dtype) for path, leaf in start.items()
    }
    assert [tree.digest(each) for each in trees] == before


@pytest.mark.parametrize("name", sorted(WAYS.keys() - {"task_vector"}))
def test_what_no_tree_changed_keeps_its_bits(name: str) -> None:
    """A shared stem, with a -0 and a number below the smallest normal one in it, and all integers."""
    start = model(0)
    moves = differing(start, WAYS[name]([start, model(1), model(2)]))
    assert "params/block/kernel" in moves
    assert moves <= {"params/block/kernel", "params/block/bias", "params/head/scale"}


def test_a_task_vector_passes_integers_through() -> None:
    vector = task_vector(model(0), model(1))
    assert differing(model(0)["order"], vector["order"]) == set()
    assert not np.any(vector["params"]["stem"]["kernel"])


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_equals_eager(name: str) -> None:
    """To a rounding of each dtype; the integers are traced too."""
    trees = [model(seed) for seed in range(3)]
    eager, compiled = WAYS[name](trees), jax.jit(COMPILED[name])(trees)
    assert differing(eager["order"], compiled["order"]) == set()
    for path, leaf in tree.flatten(eager["params"]).items():
        got = tree.flatten(compiled)[f"params/{path}"]
        assert got.dtype == leaf.dtype
        apart = np.abs(np.asarray(got, np.float64) - np.asarray(leaf, np.float64))
        assert np.all(apart <= 2 * float(jnp.finfo(leaf.dtype).eps)), path


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize(
    ("path", "leaf", "message"),
    [
        ("params/block/bias", None, "has no parameter 'params/block/bias'"),
        ("params/block/extra", jnp.zeros(2), "has no parameter 'params/block/extra'"),
        ("params/block/bias", jnp.zeros(1, jnp.bfloat16), "'params/block/bias' has shape (5,) in "),
        ("params/block/bias", jnp.zeros(5, jnp.float32), "'params/block/bias' is bfloat16 in "),
        ("order/index", jnp.array([3, 1, 1], jnp.int32), "'order/index' holds integers that differ between "),
        ("order/used", np.array([True, True]), "'order/used' holds integers that differ between "),
    ],
    ids=["missing", "surplus", "shape", "dtype", "integer", "boolean"],
)
def test_trees_that_do_not_match_are_refused(name: str, path: str, leaf: Any, message: str) -> None:
    with pytest.raises(RuleError, match=re.escape(message)) as caught:
        WAYS[name]([model(0), changed(path, leaf)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(WAYS.keys() - {"interpolate", "task_vector", "dare"}))
def test_the_last_of_several_trees_is_looked_at_too(name: str) -> None:
    with pytest.raises(RuleError, match=r"trees\[\d\] has no parameter 'params/head/scale'"):
        WAYS[name]([model(0), model(1), changed("params/head/scale", None)])


def test_a_refusal_says_which_tree_lacks_what() -> None:
    renamed = changed("params/block/biases", jnp.zeros(5, jnp.bfloat16))
    del renamed["params"]["block"]["bias"]
    message = "tuned has no parameter 'params/block/bias' (did you mean 'params/block/biases'?)"
    with pytest.raises(RuleError, match=re.escape(message)):
        interpolate(model(0), renamed, 0.5)
    with pytest.raises(RuleError, match=r"^start has no parameter 'params/more'"):
        interpolate(model(0), changed("params/more", jnp.zeros(())), 0.5)
    message = "'params/block/kernel' has shape (4, 5) in start and (5, 4) in tuned_trees[1]"
    with pytest.raises(RuleError, match=re.escape(message)):
        task_arithmetic(model(0), [model(1), changed("params/block/kernel", jnp.zeros((5, 4)))], 1.0)


@pytest.mark.parametrize("name", OF_LISTS)
def test_an_empty_list_is_refused(name: str) -> None:
    with pytest.raises(RuleError, match=r"trees: expected at least one tree, got none"):
        OF_LISTS[name]([])


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("nothing", [{}, {"index": jnp.arange(3)}], ids=["no leaf", "integers only"])
def test_a_tree_without_floats_is_refused(name: str, nothing: dict[str, Any]) -> None:
    with pytest.raises(RuleError, match="no float parameter to combine"):
        WAYS[name]([nothing, nothing])


@pytest.mark.parametrize(
    ("leaf", "dtype"),
    [(np.zeros(2), "float64"), (np.zeros(2, np.complex64), "complex64"), (jax.random.key(0), "key<fry>")],
    ids=["float64", "complex", "key"],
)
def test_what_float32_cannot_hold_is_refused(leaf: Any, dtype: str) -> None:
    odd = {"a": jnp.ones(2), "b": leaf}
    with pytest.raises(RuleError, match=f"^'b' is {dtype}; expected integers or floats of at most 32 bits"):
        uniform_soup([odd, odd])


def test_leaves_stand_side_by_side_in_the_order_of_the_trees() -> None:
    kept, floats = matched(
        {"z": {"a": np.float32([1.0]), "n": 5 * np.ones(1, int)}, "y": {"a": np.float32([2.0]), "n": np.array([5])}}
    )
    assert list(kept) == ["n"] and kept["n"] == 5
    assert list(floats) == ["a"] and [float(leaf[0]) for leaf in floats["a"]] == [1.0, 2.0]
    assert numbered("trees", ["p", "q"]) == {"trees[0]": "p", "trees[1]": "q"}


def test_a_step_is_added_in_float32() -> None:
    # The values of bfloat16 are 2 apart at 256, so that 257.5 rounds to 258.
    start = jnp.full(3, 256.0, jnp.bfloat16)
    assert moved(start, jnp.array([1.5, 0.0, -8.0])).tolist() == [258.0, 256.0, 248.0]
    assert np.signbit(moved(jnp.array([-0.0]), jnp.array([0.0])))[0]
    assert np.isnan(moved(jnp.array([1.0]), jnp.array([jnp.nan])))[0]

"""Task vectors: arithmetic, TIES and DARE against examples by hand and formulas in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import differing

from tlx import tree
from tlx.adapt.task_vectors import dare, dare_merge, task_arithmetic, task_vector, ties
from tlx.errors import ConfigError

START = {"a": [10.0, 20.0, 30.0], "b": [40.0, 50.0]}
KEY = jax.random.key(0)
ordinary = st.floats(-1e3, 1e3, width=32)
five = st.lists(ordinary, min_size=5, max_size=5)


def nest(a: list[float], b: list[float]) -> dict[str, Any]:
    return {"x": {"a": jnp.array(a, jnp.float32)}, "b": jnp.array([b], jnp.float32)}


def start() -> dict[str, Any]:
    return nest(**START)


def tuned(a: list[float], b: list[float]) -> dict[str, Any]:
    """The start with a task vector added."""
    return jax.tree.map(jnp.add, start(), nest(a, b))


def flat(nested: dict[str, Any]) -> np.ndarray:
    """All numbers, leaves in the order of their paths."""
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in tree.flatten(nested).values()])


def ties_by_numpy(start_N: np.ndarray, tuned_TN: np.ndarray, density: float, scale: float) -> np.ndarray:
    vector_TN = (tuned_TN.astype(np.float32) - start_N.astype(np.float32)).astype(np.float64)
    for vector_N in vector_TN:
        vector_N[np.argsort(-np.abs(vector_N), kind="stable")[round(density * vector_N.size) :]] = 0
    moved_N = start_N.astype(np.float64)
    for n, entries in enumerate(vector_TN.T):
        agreeing = [e for e in entries if e * entries.sum() > 0]
        moved_N[n] += scale * (np.mean(agreeing) if agreeing else 0.0)
    return moved_N


def test_a_task_vector_by_hand() -> None:
    vector = task_vector(start(), nest([11.0, 18.0, 30.0], [40.5, 0.0]))
    assert vector["x"]["a"].tolist() == [1.0, -2.0, 0.0]
    assert vector["b"].tolist() == [[0.5, -50.0]]


def test_arithmetic_by_hand() -> None:
    members = [tuned([1, -2, 0], [4, 0]), tuned([1, 4, 0], [0, 8])]
    added = task_arithmetic(start(), members, 0.5)
    assert added["x"]["a"].tolist() == [11.0, 21.0, 30.0]
    assert added["b"].tolist() == [[42.0, 54.0]]
    negated = task_arithmetic(start(), members[:1], -1.0)
    assert negated["x"]["a"].tolist() == [9.0, 22.0, 30.0]
    assert negated["b"].tolist() == [[36.0, 50.0]]


def test_arithmetic_sums_and_does_not_average() -> None:
    thrice = task_arithmetic(start(), [tuned([1, 0, 0], [0, 0])] * 3, 1.0)
    assert thrice["x"]["a"].tolist() == [13.0, 20.0, 30.0]


def test_half_precision_is_rounded_once_at_the_end() -> None:
    """The values of bfloat16 are 1 apart at 254.5, so that the way there and back would end at 1."""
    base, other = ({"w": jnp.array([value], jnp.bfloat16)} for value in (255.0, 0.5))
    assert task_vector(base, other)["w"].tolist() == [-254.0]
    assert task_arithmetic(base, [other], 1.0)["w"].tolist() == [0.5]
    assert ties(base, [other], 1.0, 1.0)["w"].tolist() == [0.5]
    assert dare(base, other, 0.0, KEY)["w"].tolist() == [0.5]
    # 0.2 * 254.5 is 50.9; the values are 1 apart at 204.1.
    assert task_arithmetic(base, [other], 0.2)["w"].tolist() == [204.0]


@settings(max_examples=30, deadline=None)
@given(base=five, members=st.lists(five, min_size=1, max_size=4), scale=st.floats(-1, 1, width=32))
def test_arithmetic_is_its_formula(base: list[float], members: list[list[float]], scale: float) -> None:
    made = task_arithmetic(nest(base[:3], base[3:]), [nest(m[:3], m[3:]) for m in members], scale)
    base_N, members_TN = flat(nest(base[:3], base[3:])), np.stack([flat(nest(m[:3], m[3:])) for m in members])
    want = base_N + scale * np.sum(members_TN - base_N, axis=0)
    atol = (len(members) + 4) * 2**-24 * 2 * len(members) * max(1e-30, np.abs([base_N, *members_TN]).max())
    np.testing.assert_allclose(flat(made), want, rtol=0, atol=atol)


@settings(max_examples=30, deadline=None)
@given(base=five, members=st.lists(five, min_size=1, max_size=3))
def test_a_scale_of_zero_is_the_start_bit_for_bit(base: list[float], members: list[list[float]]) -> None:
    one, others = nest(base[:3], base[3:]), [nest(m[:3], m[3:]) for m in members]
    assert differing(one, task_arithmetic(one, others, 0.0)) == set()
    assert differing(one, ties(one, others, 0.6, 0.0)) == set()
    assert differing(one, dare_merge(one, others, 0.5, 0.0, KEY)) == set()
    assert differing(one, ties(one, others, 0.0, 1.0)) == set()


@settings(max_examples=30, deadline=None)
@given(base=five, member=five)
def test_one_whole_task_vector_gives_the_tuned_tree(base: list[float], member: list[float]) -> None:
    """By TIES at density 1, DARE that drops nothing and arithmetic, but for the rounding of difference and sum."""
    one, other = nest(base[:3], base[3:]), nest(member[:3], member[3:])
    bound = 2**-24 * (np.abs(flat(other) - flat(one)) + np.abs(flat(other))) * 1.001 + 1e-37
    for made in (
        ties(one, [other], 1.0, 1.0),
        dare(one, other, 0.0, KEY),
        dare_merge(one, [other], 0.0, 1.0, KEY),
        task_arithmetic(one, [other], 1.0),
    ):
        assert np.all(np.abs(flat(made) - flat(other)) <= bound)


def test_ties_by_hand() -> None:
    """Two of five entries stay in each vector, wherever they lie; then signs are elected and agreeing entries averaged.

    |  | b | b | a | a | a |
    | trimmed | 0 | 0 | 5 | -4 | 0 |
    | trimmed | 2 | 0 | -3 | 0 | 0 |
    | merged | 2 | 0 | 5 | -4 | 0 |
    """
    members = [tuned([5, -4, 1], [0.5, 0.25]), tuned([-3, 1, 0], [2, 0.25])]
    made = ties(start(), members, 0.4, 0.5)
    assert made["x"]["a"].tolist() == [12.5, 18.0, 30.0]
    assert made["b"].tolist() == [[41.0, 50.0]]


def test_ties_elects_by_mass_and_averages_over_those_that_agree() -> None:
    """1 + 2 - 4 is negative though two of three are positive; 1 + 2 - 2 is positive, and zeros are not counted."""
    members = [tuned([1, 1, 0], [0, 3]), tuned([2, 2, 0], [6, 3]), tuned([-4, -2, 0], [0, 3])]
    made = ties(start(), members, 1.0, 1.0)
    assert made["x"]["a"].tolist() == [6.0, 21.5, 30.0]
    assert made["b"].tolist() == [[46.0, 53.0]]


def test_ties_leaves_alone_what_is_undecided() -> None:
    made = ties(start(), [tuned([7, 1, 1], [0, 0]), tuned([-7, 1, 1], [0, 0])], 1.0, 1.0)
    assert made["x"]["a"].tolist() == [10.0, 21.0, 31.0]


@pytest.mark.parametrize(("density", "count"), [(0.0, 0), (0.09, 0), (0.2, 1), (0.3, 2), (0.5, 2), (0.7, 4), (1.0, 5)])
def test_ties_keeps_an_exact_number_of_equal_magnitudes_first_come_first(density: float, count: int) -> None:
    made = ties(start(), [tuned([2, -2, 2], [2, -2])], density, 1.0)
    vector = task_vector(start(), made)
    # Paths in order: b, x/a.
    assert flat(vector).tolist() == [2.0, -2.0, 2.0, -2.0, 2.0][:count] + [0.0] * (5 - count)


@settings(max_examples=60, deadline=None)
@given(
    members=st.lists(st.lists(st.integers(-3, 3), min_size=5, max_size=5), min_size=1, max_size=4),
    density=st.sampled_from([0.2, 0.4, 0.6, 0.8, 1.0]),
    scale=st.sampled_from([-0.5, 0.25, 1.0]),
)
def test_ties_is_its_formula(members: list[list[int]], density: float, scale: float) -> None:
    """On small integers, so that equal magnitudes and sums of zero are common and sums are exact."""
    made = ties(start(), [tuned(m[2:], m[:2]) for m in members], density, scale)
    want = ties_by_numpy(flat(start()), np.array([flat(start()) + m for m in members]), density, scale)
    np.testing.assert_allclose(flat(made), want, rtol=1e-6)


def test_ties_does_not_hide_what_is_not_a_number() -> None:
    made = ties(start(), [tuned([1, np.nan, 1], [0, 0]), tuned([1, 1, 1], [0, 0])], 0.4, 1.0)
    assert np.isnan(made["x"]["a"]).tolist() == [False, True, False]


def large(value: float, *paths: str, size: int = 100_000) -> dict[str, Any]:
    return tree.unflatten({path: jnp.full(size, value, jnp.float32) for path in paths})


@pytest.mark.parametrize("drop", [0.1, 0.5, 0.9])
def test_dare_drops_a_share_and_enlarges_the_rest(drop: float) -> None:
    size = 100_000
    one, other = large(1.0, "w"), large(3.0, "w")
    made = np.asarray(dare(one, other, drop, KEY)["w"], np.float64)
    dropped = made == 1.0
    np.testing.assert_allclose(made[~dropped], 1 + 2 / (1 - drop), rtol=1e-6)
    # Five standard deviations of a share of Bernoulli draws, and of their enlarged mean.
    assert abs(dropped.mean() - drop) < 5 * np.sqrt(drop * (1 - drop) / size)
    assert abs(made.mean() - 3.0) < 5 * 2 * np.sqrt(drop / (1 - drop) / size)


def test_dare_is_unbiased_entry_by_entry() -> None:
    """The mean over many keys, entry by entry, within five standard errors of the tuned tree."""
    one, other = start(), tuned([5, -4, 1], [0.5, 0.25])
    keys = jax.random.split(KEY, 4000)
    many = jax.jit(jax.vmap(lambda key: dare(one, other, 0.75, key)))(keys)
    change = flat(other) - flat(one)
    mean = flat(jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), many))
    assert np.all(np.abs(mean - flat(other)) <= 5 * np.abs(change) * np.sqrt(0.75 / 0.25 / 4000) + 1e-5)


def test_what_a_leaf_draws_depends_on_its_path_and_the_key_alone() -> None:
    size = 1000
    one, other = (large(value, "b/w", "c", "a/w", "b/u", size=size) for value in (0.0, 1.0))
    whole = tree.flatten(dare(one, other, 0.5, KEY))
    alone = dare({"b": {"w": one["b"]["w"]}}, {"b": {"w": other["b"]["w"]}}, 0.5, KEY)
    assert np.array_equal(alone["b"]["w"], whole["b/w"])
    assert len({np.asarray(leaf).tobytes() for leaf in whole.values()}) == 4
    again, otherwise = dare(one, other, 0.5, KEY), dare(one, other, 0.5, jax.random.key(1))
    assert differing(tree.unflatten(whole), again) == set()
    assert differing(again, otherwise) == {"a/w", "b/u", "b/w", "c"}
    # Half of the entries agree between two leaves, within five standard deviations, as between any two coins.
    agreement = np.mean(np.asarray(whole["b/w"] == whole["b/u"]))
    assert abs(agreement - 0.5) < 5 * 0.5 / np.sqrt(size)


def test_what_a_leaf_draws_is_the_same_in_every_process() -> None:
    """Python's own hash of a path differs from one process to the next."""
    one, other = large(0.0, "a/kernel", size=16), large(1.0, "a/kernel", size=16)
    stays = np.asarray(dare(one, other, 0.5, KEY)["a"]["kernel"]) != 0
    assert "".join(str(int(stay)) for stay in stays) == "1011001001101101"


def test_dare_is_the_same_compiled() -> None:
    one, other = large(0.0, "a", "b", size=100), large(1.0, "a", "b", size=100)
    compiled = jax.jit(lambda one, other, key: dare(one, other, 0.5, key))(one, other, KEY)
    assert differing(compiled, dare(one, other, 0.5, KEY)) == set()


def test_merging_thins_each_tree_on_its_own() -> None:
    one, others = large(0.0, "w", size=500), [large(1.0, "w", size=500), large(1.0, "w", size=500)]
    made = np.asarray(dare_merge(one, others, 0.5, 0.25, KEY)["w"])
    parts = [np.asarray(dare(one, each, 0.5, jax.random.fold_in(KEY, i))["w"]) for i, each in enumerate(others)]
    np.testing.assert_allclose(made, 0.25 * (parts[0] + parts[1]), rtol=1e-6)
    assert set(np.unique(made)) == {0.0, 0.5, 1.0}


@pytest.mark.parametrize("drop", [1, 1.0])
def test_dropping_everything_is_refused(drop: float) -> None:
    with pytest.raises(ConfigError, match=r"^drop: expected less than 1, got 1") as caught:
        dare(start(), start(), drop, KEY)
    assert caught.value.field == "drop"
    with pytest.raises(ConfigError, match=r"^drop: "):
        dare_merge(start(), [start()], drop, 1.0, KEY)


def test_many_scales_share_one_program() -> None:
    members = [tuned([5, -4, 1], [0.5, 0.25]), tuned([-3, 1, 0], [2, 0.25])]
    scales_S = jnp.array([-1.0, 0.0, 0.5])
    for way in (
        lambda scale: task_arithmetic(start(), members, scale),
        lambda scale: ties(start(), members, 0.4, scale),
        lambda scale: dare_merge(start(), members, 0.5, scale, KEY),
    ):
        together = jax.jit(jax.vmap(way))(scales_S)
        for i, scale in enumerate([-1.0, 0.0, 0.5]):
            at = jax.tree.map(lambda leaf, i=i: leaf[i], together)
            np.testing.assert_allclose(flat(at), flat(way(scale)), rtol=1e-6)

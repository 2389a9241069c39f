"""FISH mask: which entries are chosen, where their change goes, and what it computes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import adapt, batch, compiled_init, differing, tiny_model, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.fish import calibrate, merge
from tlx.adapt.hooks import Calibration
from tlx.errors import ConfigError

MODEL = tiny_model(depth=1, width=8)
# 4 × 4 patches of one channel: 16·8 + 8 + 4·8 in the embedding, 2·16 + 4·72 + 32·8 + 32 + 256 + 8 in the block.
COUNT = 168 + 872 + 16
KEPT = 21


def fish() -> Adapted:
    return adapt("fish", MODEL, keep=0.02)


def body_paths(params: dict[str, Any]) -> list[str]:
    return sorted(path for path in tree.flatten(params) if not path.startswith("head/"))


def flat(params: dict[str, Any]) -> np.ndarray:
    """Everything before the head, one leaf after another."""
    leaves = tree.flatten(params)
    return np.concatenate([np.asarray(leaves[path]).ravel() for path in body_paths(params)])


def added(params: dict[str, Any], index_K: np.ndarray, delta_K: np.ndarray) -> dict[str, Any]:
    """The oracle: the chosen entries, found leaf by leaf, plus their change."""
    leaves, start = dict(tree.flatten(params)), 0
    for path in body_paths(params):
        leaf = np.array(leaves[path])
        for i, change in zip(index_K, delta_K, strict=True):
            if start <= i < start + leaf.size:
                leaf[np.unravel_index(i - start, leaf.shape)] += change
        leaves[path], start = jnp.asarray(leaf), start + leaf.size
    return tree.unflatten(leaves)


@functools.cache
def calibration() -> Calibration:
    adapted = fish()
    whole = variables(adapted)
    first, second = batch(MODEL, 5, seed=1), batch(MODEL, 3, seed=2)
    return Calibration(
        MODEL,
        lambda leaves, x: adapted.apply(tree.unflatten({**tree.flatten(whole), **tree.flatten(leaves)}), x)[0],
        whole,
        [(part["input"], part["label"]) for part in (first, second)],
        jax.random.key(0),
    )


@functools.cache
def chosen() -> np.ndarray:
    return np.asarray(calibrate({"keep": 0.02}, calibration())["adapters"]["fish"]["index"])


@functools.cache
def apart() -> dict[str, Any]:
    """The variables with the chosen index and a change away from zero."""
    whole = variables(fish())
    delta_K = np.random.default_rng(0).normal(0, 0.5, KEPT).astype(np.float32)
    return {**whole, "adapters": {"fish": {"index": jnp.asarray(chosen()), "delta": jnp.asarray(delta_K)}}}


@functools.cache
def forward() -> Any:
    return jax.jit(lambda v, x, scale: fish().apply(v, x, scale=scale)[0])


def base(params: dict[str, Any], x: jax.Array) -> jax.Array:
    return MODEL.module.apply({"params": params}, x)


def test_it_counts_the_share_of_everything_before_the_head() -> None:
    whole = variables(fish())
    assert flat(whole["params"]).size == COUNT and round(0.02 * COUNT) == KEPT
    own = whole["adapters"]["fish"]
    spaced = [i * COUNT // KEPT for i in range(KEPT)]
    assert np.array_equal(own["index"], spaced) and own["index"].dtype == jnp.int32
    assert np.array_equal(own["delta"], np.zeros(KEPT)) and own["delta"].dtype == jnp.float32


def test_only_the_change_moves_and_the_head() -> None:
    labels = fish().labels()
    moving = {path: label for path, label in labels.items() if label != "frozen"}
    assert moving == {"adapters/fish/delta": "adapter", "params/head/bias": "head", "params/head/kernel": "head"}
    assert labels["adapters/fish/index"] == "frozen" and fish().cut() == 0


def test_the_entries_of_the_largest_information_are_chosen() -> None:
    """Against gradients taken one example at a time, of a log-probability written out."""
    whole = variables(fish())

    @jax.jit
    def squared(params: dict[str, Any], x: jax.Array, label: jax.Array) -> Any:
        def log_probability(params: dict[str, Any]) -> jax.Array:
            logits_C = base(params, x[None])[0]
            return logits_C[label] - jnp.log(jnp.sum(jnp.exp(logits_C)))

        return jax.tree.map(lambda g: g * g, jax.grad(log_probability)(params))

    examples = [
        (x, y)
        for part in (batch(MODEL, 5, seed=1), batch(MODEL, 3, seed=2))
        for x, y in zip(part["input"], part["label"], strict=True)
    ]
    total = sum(flat(squared(whole["params"], x, y)) for x, y in examples)
    best = np.sort(np.argsort(-total, kind="stable")[:KEPT])
    assert np.array_equal(chosen(), best) and not np.array_equal(best, whole["adapters"]["fish"]["index"])


def test_it_starts_at_the_base_model_and_a_scale_of_zero_goes_back() -> None:
    whole, x = variables(fish()), batch(MODEL)["input"]
    assert np.array_equal(fish().apply(whole, x)[0], base(whole["params"], x))
    assert np.array_equal(fish().apply(apart(), x, scale=jnp.float32(0.0))[0], base(whole["params"], x))


def test_the_change_is_added_where_the_index_says() -> None:
    whole, x = variables(fish()), batch(MODEL)["input"]
    own = jax.tree.map(np.asarray, apart()["adapters"]["fish"])
    oracle = added(whole["params"], own["index"], 0.5 * own["delta"])
    assert np.sum(flat(oracle) != flat(whole["params"])) == KEPT
    expected_BC = base(oracle, x)
    np.testing.assert_allclose(forward()(apart(), x, jnp.float32(0.5)), expected_BC, atol=1e-5)
    assert np.abs(expected_BC - base(whole["params"], x)).max() > 1e-2


def test_its_gradient_is_the_full_one_s_chosen_entries() -> None:
    whole, x = variables(fish()), batch(MODEL)["input"]
    own = apart()["adapters"]["fish"]
    params = added(whole["params"], np.asarray(own["index"]), np.asarray(own["delta"]))
    full = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(base(params, x)))))(params)

    def loss(delta_K: jax.Array) -> jax.Array:
        leaves = {**apart(), "adapters": {"fish": {"index": own["index"], "delta": delta_K}}}
        return jnp.sum(jnp.sin(fish().apply(leaves, x)[0]))

    grad_K = jax.jit(jax.grad(loss))(own["delta"])
    wanted_K = flat(full)[chosen()]
    np.testing.assert_allclose(grad_K, wanted_K, atol=1e-5 * np.abs(wanted_K).max())


def test_merging_gives_a_plain_tree_of_the_same_output() -> None:
    whole, x = variables(fish()), batch(MODEL)["input"]
    before = tree.digest(whole["params"])
    sides = tree.flatten(apart()["adapters"])
    merged = tree.unflatten(merge({"keep": 0.02}, tree.flatten(whole["params"]), sides))
    assert tree.digest(whole["params"]) == before
    assert not any(path.startswith("head/") for path in differing(whole["params"], merged))
    expected = added(whole["params"], np.asarray(sides["fish/index"]), np.asarray(sides["fish/delta"]))
    np.testing.assert_allclose(flat(merged), flat(expected), atol=1e-7)
    assert np.array_equal(flat(merged) != flat(whole["params"]), np.isin(np.arange(COUNT), chosen()))
    np.testing.assert_allclose(base(merged, x), forward()(apart(), x, jnp.float32(1.0)), atol=1e-5)


def test_many_changes_share_one_backbone_under_vmap() -> None:
    x, own = batch(MODEL)["input"], apart()["adapters"]["fish"]
    deltas_MK = jnp.stack([own["delta"], -own["delta"]])

    def one(delta_K: jax.Array) -> jax.Array:
        return fish().apply({**apart(), "adapters": {"fish": {**own, "delta": delta_K}}}, x)[0]

    together_MBC = jax.jit(jax.vmap(one))(deltas_MK)
    np.testing.assert_allclose(together_MBC[0], forward()(apart(), x, jnp.float32(1.0)), atol=1e-5)
    np.testing.assert_allclose(together_MBC[1], forward()(apart(), x, jnp.float32(-1.0)), atol=1e-5)


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="^keep: 0.0001 of the 1,056 parameters before the head is none$"):
        adapt("fish", MODEL, keep=1e-4).init_adapters(compiled_init(MODEL)(0), 0)

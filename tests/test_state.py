"""A run's state: there and back through nested dicts, and on as if nothing had happened."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import ADAM, STEPS, adapt, batch, begin, compiled_step, differing

from tlx import tree
from tlx.errors import RuleError
from tlx.state import Hyper, from_tree, make_hyper, to_tree
from tlx.step import Task

TASK = Task(adapt("lora"), ADAM, steps=STEPS)
HYPER = make_hyper(3e-2, weight_decay=0.1, label_smoothing=0.05, adapter_scale=0.5)


def advance(state: Any, frozen: Any, seeds: range) -> Any:
    for seed in seeds:
        state, _ = compiled_step(TASK)(state, frozen, batch(TASK.adapted.model, seed=seed))
    return state


def test_hyperparameters_are_scalars() -> None:
    hyper = make_hyper(1, 0, seed=2**31 - 1)
    assert isinstance(hyper, Hyper)
    assert all(leaf.shape == () for leaf in jax.tree.leaves(hyper))
    numbers = [hyper.learning_rate, hyper.weight_decay, hyper.label_smoothing, hyper.adapter_scale]
    assert {leaf.dtype for leaf in numbers} == {jnp.dtype("float32")}
    assert [float(leaf) for leaf in numbers] == [1.0, 0.0, 0.0, 1.0]
    assert hyper.seed.dtype == jnp.int32 and int(hyper.seed) == 2**31 - 1
    assert float(HYPER.learning_rate) == np.float32(3e-2) and float(HYPER.weight_decay) == np.float32(0.1)
    assert float(HYPER.label_smoothing) == np.float32(0.05) and float(HYPER.adapter_scale) == 0.5


def test_the_running_mean_is_evaluated_where_one_is_kept() -> None:
    plain, _ = begin(TASK)
    assert plain.ema == {} and plain.evaluated is plain.trainable
    kept, _ = begin(replace(TASK, optimizer=replace(ADAM, ema=0.9)))
    assert kept.evaluated is kept.ema and differing(kept.ema, kept.trainable) == set()


def test_the_tree_holds_every_leaf_by_name() -> None:
    state = advance(*begin(TASK, HYPER), range(3))
    nested = to_tree(state)
    leaves = tree.flatten(nested)
    assert leaves["step"] == 3 and leaves["hyper/adapter_scale"] == 0.5 and not leaves["diverged"]
    assert "trainable/adapters/block_0/attention/query/lora_a" in leaves
    moments = [path for path in leaves if path.startswith("opt_state/") and path.endswith("params/head/kernel")]
    assert len(moments) == 2
    assert len(leaves) == len(jax.tree.leaves(state))
    assert {type(node) for node in (nested, nested["opt_state"], nested["hyper"])} == {dict}


def test_there_and_back_through_the_host() -> None:
    state, frozen = begin(TASK, HYPER)
    state = advance(state, frozen, range(4))
    stored = jax.tree.map(np.asarray, to_tree(state))
    restored = from_tree(begin(TASK)[0], stored)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert differing(state, restored) == set()
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored))
    for leaf, again in zip(*map(jax.tree.leaves, (state, restored)), strict=True):
        assert (leaf.shape, leaf.dtype) == (again.shape, again.dtype)


def test_a_restored_run_goes_on_bit_for_bit() -> None:
    state, frozen = begin(TASK, HYPER)
    whole = advance(state, frozen, range(8))
    half = jax.tree.map(np.asarray, to_tree(advance(state, frozen, range(4))))
    resumed = advance(from_tree(begin(TASK)[0], half), frozen, range(4, 8))
    assert differing(whole, resumed) == set()
    half["opt_state"] = to_tree(state)["opt_state"]
    forgetful = advance(from_tree(begin(TASK)[0], half), frozen, range(4, 8))
    assert any(path.startswith("trainable/") for path in differing(whole, forgetful))


@pytest.mark.parametrize("path", ["step", "hyper/weight_decay", "trainable/params/head/bias", "opt_state/count"])
def test_a_missing_leaf_is_named(path: str) -> None:
    state, _ = begin(TASK)
    leaves = tree.flatten(to_tree(state))
    del leaves[path]
    with pytest.raises(RuleError, match=path):
        from_tree(state, tree.unflatten(leaves))

"""L2-SP: the penalty and its gradient by formula, over what moves."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import ADAM, adapt, batch, begin, compiled_step, tiny_model, variables

from tlx import tree
from tlx.adapt.hooks import Moment
from tlx.adapt.l2sp import penalty
from tlx.adapt.registry import METHODS
from tlx.state import make_hyper
from tlx.step import Task

MODEL = tiny_model(depth=1, width=8)
SETTINGS = {"alpha": 0.3, "beta": 0.05}


def moved(whole: dict[str, Any]) -> dict[str, Any]:
    """Every parameter one half of its index further."""
    steps = {path: 0.1 * (1 + i % 3) for i, path in enumerate(tree.flatten(whole["params"]))}
    params = {path: leaf + steps[path] for path, leaf in tree.flatten(whole["params"]).items()}
    return {**whole, "params": tree.unflatten(params)}


def moment(whole: dict[str, Any], labels: dict[str, str]) -> Moment:
    return Moment(MODEL, whole, labels, batch(MODEL), 0, jnp.zeros((8, 8)), jnp.zeros((8, 3)))


def by_hand(whole: dict[str, Any], start: dict[str, Any], stays: tuple[str, ...] = ()) -> float:
    now, then = tree.flatten(whole["params"]), tree.flatten(start["params"])
    total = 0.0
    for path, leaf in now.items():
        stage = path.split("/")[0]
        if stage == "head":
            total += SETTINGS["beta"] / 2 * float(np.sum(np.asarray(leaf, np.float64) ** 2))
        elif stage not in stays:
            total += SETTINGS["alpha"] / 2 * float(np.sum((np.asarray(leaf, np.float64) - np.asarray(then[path])) ** 2))
    return total


def test_the_penalty_and_its_gradient_follow_the_formula() -> None:
    adapted = adapt("l2_sp", MODEL)
    start = variables(adapted)
    whole = moved(start)
    assert float(penalty(SETTINGS, moment(whole, adapted.labels()))) == pytest.approx(by_hand(whole, start), rel=1e-5)
    at_start = float(penalty(SETTINGS, moment(start, adapted.labels())))
    assert at_start == pytest.approx(by_hand(start, start), rel=1e-5)

    def of(params: Any) -> jax.Array:
        return penalty(SETTINGS, moment({**whole, "params": params}, adapted.labels()))

    for path, grad in tree.flatten(jax.jit(jax.grad(of))(whole["params"])).items():
        now, then = (tree.flatten(v["params"])[path] for v in (whole, start))
        pull = SETTINGS["beta"] * now if path.startswith("head/") else SETTINGS["alpha"] * (now - then)
        np.testing.assert_allclose(grad, pull, rtol=1e-4, atol=1e-6, err_msg=path)


def test_leaves_that_stay_are_passed_over() -> None:
    """Where another method's label says so they have not moved; a penalty on them would be arithmetic for nothing."""
    adapted = adapt("l2_sp", MODEL)
    start = variables(adapted)
    whole = moved(start)
    labels = {path: "frozen" if path.startswith("params/embed/") else label for path, label in adapted.labels().items()}
    wanted = by_hand(whole, start, stays=("embed",))
    assert float(penalty(SETTINGS, moment(whole, labels))) == pytest.approx(wanted, rel=1e-5)


def test_the_anchor_is_a_copy_that_never_moves() -> None:
    adapted = adapt("l2_sp", MODEL)
    whole = variables(adapted)
    anchor, params = tree.flatten(whole["reference"]["anchor"]), tree.flatten(whole["params"])
    assert anchor.keys() == {path for path in params if not path.startswith("head/")}
    for path, leaf in anchor.items():
        assert np.array_equal(leaf, params[path])
        assert leaf.unsafe_buffer_pointer() != params[path].unsafe_buffer_pointer()
    assert set(adapted.labels().values()) == {"train", "head"}
    assert {path.split("/")[0] for path in tree.flatten(adapted.split(whole)[2])} == {"reference"}


def test_a_training_step_counts_it_in_the_loss() -> None:
    task = Task(adapt("l2_sp", MODEL, **SETTINGS), ADAM, steps=5)
    state, frozen = begin(task, make_hyper(1e-2))
    start, data = variables(task.adapted), batch(MODEL)
    whole = moved(start)
    _, loss = compiled_step(task)(state.replace(trainable={"params": whole["params"]}), frozen, data)
    logits_BC = np.asarray(MODEL.module.apply({"params": whole["params"]}, data["input"]), np.float64)
    log_p_BC = logits_BC - np.log(np.exp(logits_BC).sum(axis=1, keepdims=True))
    entropy = -log_p_BC[np.arange(8), np.asarray(data["label"])].mean()
    assert by_hand(whole, start) > 0.1
    assert float(loss) == pytest.approx(entropy + by_hand(whole, start), rel=1e-4)


def test_the_penalty_stands_in_for_weight_decay() -> None:
    defaults = METHODS["l2_sp"].defaults
    assert defaults.weight_decay == 0.0 and defaults.optimizer == "sgd"


def test_it_goes_with_a_method_that_adds_adapters() -> None:
    both = replace(adapt("l2_sp", MODEL), also=(("lora", adapt("lora", MODEL).settings),))
    whole = variables(both)
    assert whole["adapters"] and set(whole["reference"]) == {"anchor"}

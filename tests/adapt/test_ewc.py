"""EWC: the source's Fisher information with labels drawn from the source, and the penalty by formula."""

import functools
import itertools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import adapt, batch, compiled_init, tiny_model, variables

from tlx import tree
from tlx.adapt.ewc import calibrate, penalty
from tlx.adapt.hooks import Calibration, Moment
from tlx.models.registry import Model

MODEL = tiny_model(depth=1, width=8)
# A source of two classes, where the target has three.
SOURCE = Model(MODEL.name, MODEL.settings, 2, MODEL.input_shape)
EXAMPLES = 6


@functools.cache
def source(bias: float) -> dict[str, Any]:
    """A source model with a head away from zero, which says class 0 where the bias is large."""
    found = compiled_init(SOURCE)(3)
    kernel = jnp.asarray(np.random.default_rng(4).normal(0, 0.5, (8, 2)), jnp.float32)
    return {"params": {**found["params"], "head": {"kernel": kernel, "bias": jnp.array([bias, 0.0])}}}


@functools.cache
def fisher(bias: float, key: int) -> dict[str, Any]:
    """What calibration makes of the source, flat."""
    fresh = compiled_init(MODEL)(0)["params"]
    params = {**source(bias)["params"], "head": fresh["head"]}
    whole = adapt("ewc", MODEL).init_adapters({"params": params}, 1, source(bias))
    # Labels that the source does not know, and must not be read.
    x, label_B = batch(MODEL, EXAMPLES)["input"], jnp.full(EXAMPLES, 9)
    batches = [(x[:3], label_B[:3]), (x[3:], label_B[3:])]
    unused: Any = None
    made = calibrate({"strength": 1.0}, Calibration(MODEL, unused, whole, batches, jax.random.key(key)))
    assert made.keys() == {"reference"} and made["reference"].keys() == {"fisher"}
    assert tree.flatten(made["reference"]["fisher"]).keys() == tree.flatten(whole["reference"]["anchor"]).keys()
    return tree.flatten(made["reference"]["fisher"])


@jax.jit
def squared(params: Any, x: jax.Array, label: jax.Array) -> Any:
    """The squared gradient of a log-probability written out."""

    def log_probability(params: Any) -> jax.Array:
        logits_C = SOURCE.module.apply({"params": params}, x[None])[0]
        return logits_C[label] - jnp.log(jnp.sum(jnp.exp(logits_C)))

    return jax.tree.map(lambda g: g * g, jax.grad(log_probability)(params))


@functools.cache
def squares(bias: float) -> dict[str, np.ndarray]:
    """Every example's squared gradient for either label, by path, [examples, 2, ...]."""
    x_B = batch(MODEL, EXAMPLES)["input"]
    each = [[tree.flatten(squared(source(bias)["params"], x, jnp.int32(y))) for y in (0, 1)] for x in x_B]
    return {path: np.array([[np.asarray(leaves[path]) for leaves in pair] for pair in each]) for path in each[0][0]}


def drawn(found: dict[str, Any], bias: float) -> tuple[int, ...]:
    """The labels that must have been drawn: the only ones whose mean of squares is what was found."""

    def mean(path: str, labels: tuple[int, ...]) -> np.ndarray:
        return np.mean([squares(bias)[path][i, y] for i, y in enumerate(labels)], axis=0)

    path = "block_0/mlp/down/kernel"
    fits = [
        labels
        for labels in itertools.product((0, 1), repeat=EXAMPLES)
        if np.allclose(mean(path, labels), found[path], rtol=1e-3, atol=0)
    ]
    assert len(fits) == 1
    for path, leaf in found.items():
        np.testing.assert_allclose(leaf, mean(path, fits[0]), rtol=1e-3, atol=1e-10, err_msg=path)
    return fits[0]


@pytest.mark.thorough
def test_it_is_the_source_s_information_at_labels_drawn_from_the_source() -> None:
    labels = drawn(fisher(0.0, key=0), 0.0)
    assert set(labels) == {0, 1}
    assert drawn(fisher(0.0, key=1), 0.0) != labels
    # A source that is sure of one class says it every time.
    assert drawn(fisher(7.0, key=0), 7.0) == (0,) * EXAMPLES


def test_the_statistics_are_the_source_s_even_where_the_run_resets_its_own() -> None:
    adapted = replace(adapt("ewc", tiny_model("resnet")), stats="reset")
    source = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5), jax.eval_shape(adapted.model.init, 0))
    whole = adapted.init_adapters(source, 0, source)
    kept = tree.flatten(whole["reference"]["source"]["batch_stats"])
    assert kept.keys() == tree.flatten(whole["batch_stats"]).keys() and len(kept) == 12
    for path, leaf in kept.items():
        assert np.all(leaf == 0.5) and np.all(tree.flatten(whole["batch_stats"])[path] != 0.5)


def test_the_penalty_and_its_gradient_follow_the_formula() -> None:
    """λ/2 Σ F (w - w₀)², and λ F (w - w₀)."""
    adapted, rng = adapt("ewc", MODEL), np.random.default_rng(0)
    whole = variables(adapted)
    importance = jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0, 1, leaf.shape), jnp.float32), whole["reference"])
    reference = {**whole["reference"], "fisher": importance["anchor"]}
    params = jax.tree.map(lambda leaf: leaf + jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), whole["params"])

    def of(params: Any) -> jax.Array:
        leaves = {"params": params, "reference": reference}
        parts = (leaves, adapted.labels(), batch(MODEL), 0, jnp.zeros((8, 8)), jnp.zeros((8, 3)))
        return penalty({"strength": 3.0}, Moment(MODEL, *parts))

    value, grads = jax.jit(jax.value_and_grad(of))(params)
    total = 0.0
    for path, grad in tree.flatten(grads).items():
        if path.startswith("head/"):
            assert not np.any(grad)
            continue
        away = np.asarray(tree.flatten(params)[path]) - np.asarray(tree.flatten(reference["anchor"])[path])
        weight = np.asarray(tree.flatten(reference["fisher"])[path])
        total += 1.5 * float(np.sum(weight * away.astype(np.float64) ** 2))
        np.testing.assert_allclose(grad, 3.0 * weight * away, rtol=1e-4, atol=1e-6, err_msg=path)
    assert float(value) == pytest.approx(total, rel=1e-5)


def test_before_calibration_nothing_is_held() -> None:
    whole = variables(adapt("ewc", MODEL))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(whole["reference"]["fisher"]))
    assert set(adapt("ewc", MODEL).labels().values()) == {"train", "head"}

"""Distillation: both terms and their gradients by formula, with a source of other classes."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import ADAM, adapt, batch, compiled_init, compiled_step, tiny_model

from tlx import artifact, tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.distill import penalty
from tlx.adapt.hooks import Moment
from tlx.errors import ConfigError
from tlx.models.registry import Model
from tlx.state import make_hyper
from tlx.step import Task, init_state
from tlx.study.cost import size_of

MODEL = tiny_model(depth=1, width=8)
# A source of five classes, where the target has three.
SOURCE = Model(MODEL.name, MODEL.settings, 5, MODEL.input_shape)
B, D, C, T = 8, 8, 5, 3.0


def distill(**settings: Any) -> Adapted:
    return adapt("distill", MODEL, **{"logit": 1.0, "feature": 0.0, "temperature": T, **settings})


@functools.cache
def teacher() -> dict[str, Any]:
    found = compiled_init(SOURCE)(3)
    kernel = jnp.asarray(np.random.default_rng(4).normal(0, 0.8, (D, C)), jnp.float32)
    return {"params": {**found["params"], "head": {"kernel": kernel, "bias": jnp.linspace(-0.5, 0.5, C)}}}


def start(adapted: Adapted) -> dict[str, Any]:
    params = {**teacher()["params"], "head": compiled_init(MODEL)(0)["params"]["head"]}
    return adapted.init_adapters({"params": params}, 1, teacher())


def seen() -> np.ndarray:
    """The teacher's features, [B, D]."""
    return np.asarray(SOURCE.module.apply(teacher(), batch(MODEL)["input"], 0, 3), np.float64)


def student() -> np.ndarray:
    """Features that the student might have, [B, D]."""
    return np.random.default_rng(5).normal(size=(B, D))


def soft(features_BD: np.ndarray, head: dict[str, Any]) -> np.ndarray:
    """Probabilities softened by the temperature, [B, C]."""
    logits_BC = (features_BD @ np.asarray(head["kernel"], np.float64) + np.asarray(head["bias"], np.float64)) / T
    return np.exp(logits_BC) / np.exp(logits_BC).sum(axis=1, keepdims=True)


def of(settings: dict[str, Any], features_BD: Any, head: dict[str, Any], whole: dict[str, Any]) -> jax.Array:
    leaves = {**whole, "adapters": {"source_head": head}}
    moment = Moment(MODEL, leaves, {}, batch(MODEL), 0, jnp.asarray(features_BD, jnp.float32), jnp.zeros((B, 3)))
    return penalty(settings, moment)


def other_head() -> dict[str, Any]:
    rng = np.random.default_rng(6)
    return {
        "kernel": jnp.asarray(rng.normal(size=(D, C)), jnp.float32),
        "bias": jnp.asarray(rng.normal(size=C), jnp.float32),
    }


def test_the_divergence_and_its_gradients_follow_the_formula() -> None:
    """w T² mean KL(p ‖ q); with respect to the logits w T (q - p) / B."""
    weight, head, whole = 0.7, other_head(), start(distill())
    settings = {"logit": weight, "feature": 0.0, "temperature": T}
    p_BC, q_BC = soft(seen(), teacher()["params"]["head"]), soft(student(), head)
    grad = jax.jit(jax.value_and_grad(functools.partial(of, settings), argnums=(0, 1)))
    value, (features_BD, heads) = grad(jnp.asarray(student(), jnp.float32), head, whole)
    divergence = np.sum(p_BC * np.log(p_BC / q_BC), axis=1).mean()
    assert divergence > 0.01
    assert float(value) == pytest.approx(weight * T**2 * divergence, rel=1e-4)
    logits_BC = weight * T * (q_BC - p_BC) / B
    np.testing.assert_allclose(heads["bias"], logits_BC.sum(axis=0), atol=1e-5)
    np.testing.assert_allclose(heads["kernel"], student().T @ logits_BC, atol=1e-5)
    np.testing.assert_allclose(features_BD, logits_BC @ np.asarray(head["kernel"]).T, atol=1e-5)


def test_the_features_term_and_its_gradient_follow_the_formula() -> None:
    whole = start(distill(logit=0.0, feature=0.5))
    settings = {"logit": 0.0, "feature": 0.5, "temperature": T}
    value, grad_BD = jax.value_and_grad(of, argnums=1)(settings, jnp.asarray(student(), jnp.float32), {}, whole)
    away_BD = student() - seen()
    assert float(value) == pytest.approx(0.5 * np.mean(away_BD**2), rel=1e-5)
    np.testing.assert_allclose(grad_BD, 0.5 * 2 * away_BD / (B * D), atol=1e-6)


def test_both_terms_add_up_and_agreement_costs_nothing() -> None:
    whole, head = start(distill(feature=0.5)), other_head()
    both = {"logit": 0.7, "feature": 0.5, "temperature": T}
    terms = [float(of({**both, off: 0.0}, student(), head, whole)) for off in ("logit", "feature")]
    assert float(of(both, student(), head, whole)) == pytest.approx(sum(terms), rel=1e-5)
    assert float(of(both, seen(), teacher()["params"]["head"], whole)) == pytest.approx(0.0, abs=1e-6)


def test_no_gradient_reaches_the_teacher() -> None:
    whole = start(distill(feature=0.5))
    settings = {"logit": 1.0, "feature": 0.5, "temperature": T}

    def of_teacher(reference: Any) -> jax.Array:
        return of(settings, student(), other_head(), {**whole, "reference": reference})

    assert not any(np.any(leaf) for leaf in jax.tree.leaves(jax.jit(jax.grad(of_teacher))(whole["reference"])))


def test_the_source_s_head_is_kept_twice_and_one_copy_moves() -> None:
    adapted = distill()
    whole, head = start(adapted), teacher()["params"]["head"]
    for copy in (whole["adapters"]["source_head"], whole["reference"]["teacher"]["params"]["head"]):
        assert np.array_equal(copy["kernel"], head["kernel"]) and np.array_equal(copy["bias"], head["bias"])
    labels = adapted.labels()
    assert {path: label for path, label in labels.items() if path.startswith("adapters/")} == {
        "adapters/source_head/bias": "adapter",
        "adapters/source_head/kernel": "adapter",
    }
    assert {labels[path] for path in labels if path.startswith("params/")} == {"train", "head"}
    assert "adapters" not in start(distill(logit=0.0, feature=0.5))


def test_a_training_step_sees_the_student_s_own_features() -> None:
    """At the start they are the teacher's, so that a copy of its head costs nothing; another bias does."""
    task = Task(distill(feature=0.5), ADAM, steps=5)
    adapted = task.adapted
    losses = []
    for shift in (0.0, 1.0):
        trainable, stats, frozen = adapted.split(start(adapted), 0)
        head = trainable["adapters"]["source_head"]
        moved = {**head, "bias": head["bias"] + shift * jnp.arange(C, dtype=jnp.float32)}
        trainable = {**trainable, "adapters": {"source_head": moved}}
        _, loss = compiled_step(task)(init_state(task, trainable, stats, make_hyper(1e-2)), frozen, batch(MODEL))
        losses.append(float(loss))
    logits_BC = np.asarray(MODEL.module.apply({"params": start(adapted)["params"]}, batch(MODEL)["input"]), np.float64)
    log_p_BC = logits_BC - np.log(np.exp(logits_BC).sum(axis=1, keepdims=True))
    plain = -log_p_BC[np.arange(B), np.asarray(batch(MODEL)["label"])].mean()
    head = teacher()["params"]["head"]
    p_BC, q_BC = soft(seen(), head), soft(seen(), {**head, "bias": head["bias"] + jnp.arange(C, dtype=jnp.float32)})
    assert losses[0] == pytest.approx(plain, abs=1e-5)
    assert losses[1] == pytest.approx(plain + T**2 * np.sum(p_BC * np.log(p_BC / q_BC), axis=1).mean(), rel=1e-4)


def test_the_teacher_normalises_by_its_own_statistics() -> None:
    model = tiny_model("resnet", depths=(1,), width=4)
    source = compiled_init(model)(0)
    shifted = {**source, "batch_stats": jax.tree.map(lambda leaf: leaf + 0.5, source["batch_stats"])}
    whole = adapt("distill", model, logit=0.0, feature=1.0).init_adapters(source, 0, shifted)
    x, last = batch(model)["input"], len(model.stages) - 1
    features = jax.jit(lambda leaves: model.module.apply(leaves, x, 0, last))
    theirs_BD, ours_BD = np.asarray(features(shifted)), np.asarray(features(source))
    moment = Moment(model, whole, {}, batch(model), 0, jnp.zeros(ours_BD.shape), jnp.zeros((B, 3)))
    value = jax.jit(lambda: penalty({"logit": 0.0, "feature": 1.0, "temperature": T}, moment))()
    assert float(value) == pytest.approx(float(np.mean(theirs_BD**2)), rel=1e-5)
    assert float(value) != pytest.approx(float(np.mean(ours_BD**2)), rel=0.01)


def test_nothing_to_distil_is_refused() -> None:
    adapted = distill(logit=0.0)
    with pytest.raises(ConfigError, match="^logit: expected logit or feature above 0, got 0 for both$"):
        start(adapted)
    with pytest.raises(ConfigError, match="^logit: "):
        adapted.labels()


def test_cached_features_are_read_from_the_stage_they_enter_at() -> None:
    """A head trained first, on features kept: the teacher has only its own head to run."""
    whole = start(distill(feature=1.0))
    cached = {**batch(MODEL), "input": jnp.asarray(seen(), jnp.float32)}
    moment = Moment(MODEL, whole, {}, cached, 3, jnp.asarray(student(), jnp.float32), jnp.zeros((B, 3)))
    settings = {"logit": 1.0, "feature": 1.0, "temperature": T}
    found = penalty(settings, moment)
    assert float(found) == pytest.approx(float(of(settings, student(), teacher()["params"]["head"], whole)), rel=1e-4)


def test_shapes_costs_and_artifacts_know_the_source_s_classes(tmp_path: Path) -> None:
    adapted = dataclasses.replace(distill(), source_classes=C)
    whole = start(adapted)
    shapes = {path: leaf.shape for path, leaf in tree.flatten(adapted.abstract()).items()}
    assert shapes == {path: leaf.shape for path, leaf in tree.flatten(whole).items()}
    more = size_of(Task(adapted, ADAM, 1)).total - size_of(Task(distill(), ADAM, 1)).total
    assert more == (D + 1) * (C - 3)
    artifact.save(tmp_path / "kept", adapted, whole, None)
    loaded = artifact.load(tmp_path / "kept", {"params": teacher()["params"]})
    assert loaded.adapted == adapted
    assert loaded.variables["adapters"]["source_head"]["bias"].shape == (C,)

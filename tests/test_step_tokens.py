"""Training on labels of tokens: masked language models and classifiers of tokens go through the same step."""

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange
from tiny import adapt, batch, begin, compiled_step, tiny_model, variables

from tlx import tree
from tlx.adapt import ewc
from tlx.adapt.hooks import Calibration
from tlx.losses import UNSCORED, cross_entropy
from tlx.models.registry import Model
from tlx.optim import Optimizer
from tlx.partition import combine
from tlx.state import make_hyper
from tlx.step import Task, predict, train_step
from tlx.study.cost import step_flops

# With it, a step down at learning rate 1 is the gradient.
GRADIENT = Optimizer(name="sgd", momentum=0.0, clip_norm=0.0, warmup=0.0, schedule="constant")
VOCAB = 50
MLM = replace(tiny_model("bert", head="mlm", depth=1, dropout=0.0), num_classes=VOCAB)


def labelled(model: Model, size: int = 8) -> dict[str, jax.Array]:
    """Sequences of which the first half has a label on every word and the second on one word each."""
    data = batch(model, size)
    rng = np.random.default_rng(2)
    label_BT = np.where(data["input"] != 0, rng.integers(0, model.num_classes, data["input"].shape), UNSCORED)
    label_BT[size // 2 :, 1:] = UNSCORED
    return {"input": data["input"], "label": jnp.asarray(label_BT, jnp.int32)}


def stepped(task: Task, data: Any) -> tuple[dict[str, np.ndarray], float]:
    state, frozen = begin(task, make_hyper(1.0))
    after, loss = compiled_step(task)(state, frozen, data)
    assert not after.diverged
    return {path: np.asarray(leaf) for path, leaf in tree.flatten(after.trainable).items()}, float(loss)


def assert_same_leaves(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for path, leaf in one.items():
        np.testing.assert_allclose(leaf, other[path], atol=2e-6, err_msg=path)


@functools.cache
def plain() -> tuple[dict[str, np.ndarray], float]:
    """A step of the masked language model on all of the batch."""
    return stepped(Task(adapt("full", MLM), GRADIENT, steps=4), labelled(MLM))


def test_the_loss_is_the_mean_over_labelled_tokens() -> None:
    task = Task(adapt("full", MLM), GRADIENT, steps=4)
    (state, frozen), data = begin(task), labelled(MLM)
    logits_BTV = np.asarray(predict(task, state.trainable, frozen, {}, data["input"], 1.0))
    scored_BT = np.asarray(data["label"]) != UNSCORED
    assert logits_BTV.shape == (8, 6, VOCAB) and 20 < scored_BT.sum() < 40
    label_N = np.asarray(data["label"])[scored_BT]
    expected = float(jnp.mean(cross_entropy(jnp.asarray(logits_BTV[scored_BT]), jnp.asarray(label_N))))
    leaves, loss = plain()
    assert loss == pytest.approx(expected, rel=1e-5)
    start = tree.flatten(variables(task.adapted))
    assert np.abs(leaves["params/head/bias"] - start["params/head/bias"]).max() > 0.01
    assert np.abs(leaves["params/embed/word/embedding"] - start["params/embed/word/embedding"]).max() > 0.001


def test_labels_that_say_nothing_move_nothing() -> None:
    data = labelled(MLM)
    leaves, loss = stepped(
        Task(adapt("full", MLM), GRADIENT, steps=4), {**data, "label": jnp.full_like(data["label"], UNSCORED)}
    )
    start = tree.flatten(variables(adapt("full", MLM)))
    assert loss == 0.0 and all(np.array_equal(leaf, start[path]) for path, leaf in leaves.items())


def test_parts_of_a_batch_count_by_their_labelled_tokens() -> None:
    """One part has several times as many labels as the other: a mean of means would not do."""
    data = labelled(MLM)
    # Neighbours go to different parts.
    order = rearrange(np.arange(8), "(k b) -> (b k)", k=2)
    shuffled = {key: value[order] for key, value in data.items()}
    leaves, loss = stepped(Task(adapt("full", MLM), replace(GRADIENT, accumulate=2), steps=4), shuffled)
    assert loss == pytest.approx(plain()[1], rel=1e-6)
    assert_same_leaves(leaves, plain()[0])


def test_replicas_count_by_their_labelled_tokens() -> None:
    task = Task(adapt("full", MLM), GRADIENT, steps=4)
    state, frozen = begin(task, make_hyper(1.0))
    halves = {key: rearrange(value, "(d b) t -> d b t", d=2) for key, value in labelled(MLM).items()}
    step = jax.vmap(functools.partial(train_step, task, axis="replica"), (None, None, 0), axis_name="replica")
    after, loss = jax.jit(step)(state, frozen, halves)
    np.testing.assert_allclose(loss, np.full(2, plain()[1]), rtol=1e-6)
    for i in range(2):
        assert_same_leaves({path: leaf[i] for path, leaf in tree.flatten(after.trainable).items()}, plain()[0])


def test_above_the_cut_a_language_model_trains_as_it_does_through_it() -> None:
    through = Task(adapt("head", MLM), GRADIENT, steps=4)
    depth, data = through.adapted.cut(), labelled(MLM)
    state, frozen = begin(through, make_hyper(1.0))
    features, _ = through.adapted.apply(combine(state.trainable, frozen), data["input"], last=depth)
    needed = {
        path: leaf for path, leaf in tree.flatten(frozen).items() if not through.adapted.anatomy.idle_above(path, depth)
    }
    assert set(needed) == {"params/embed/word/embedding"}
    above = replace(through, first=depth)
    after, loss = compiled_step(above)(state, tree.unflatten(needed), {**data, "input": features})
    whole, whole_loss = compiled_step(through)(state, frozen, data)
    assert float(loss) == pytest.approx(float(whole_loss), rel=1e-6)
    assert_same_leaves(tree.flatten(after.trainable), tree.flatten(whole.trainable))
    assert step_flops(above, 8) < step_flops(through, 8)


def test_distillation_hears_labelled_tokens_only() -> None:
    task = Task(adapt("distill", MLM, feature=0.5), GRADIENT, steps=4)
    data, leaves = labelled(MLM), tree.flatten(variables(task.adapted))
    # The student's features are moved where there are labels, or where there are none.
    found = []
    for scored in (True, False):
        label_BT = data["label"] if scored else jnp.full_like(data["label"], UNSCORED)
        moved = {**leaves, "params/embed/norm/bias": leaves["params/embed/norm/bias"] + jnp.linspace(0.0, 1.0, 16)}
        trainable, _, frozen = task.adapted.split(tree.unflatten(moved))
        state = begin(task)[0].replace(trainable=trainable)
        found.append(float(compiled_step(task)(state, frozen, {**data, "label": label_BT})[1]))
    assert found[0] > plain()[1] / 2 and found[1] == 0.0


def test_the_fisher_information_of_tokens_is_that_of_their_labels() -> None:
    """Of a sequence without labels it is zero; of one with a single label, what that label says."""
    adapted = adapt("ewc", MLM)
    leaves, data = variables(adapted), labelled(MLM)
    one, none = (
        ewc.calibrate({}, Calibration(MLM, _unused, leaves, [(data["input"][-1:], label)], jax.random.key(0)))
        for label in (data["label"][-1:], jnp.full((1, 6), UNSCORED, jnp.int32))
    )
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(none))
    fisher = tree.flatten(one["reference"]["fisher"])
    assert np.any(fisher["embed/word/embedding"]) and np.any(fisher["block_0/mlp/up/kernel"])


def _unused(leaves: dict[str, Any], x: jax.Array) -> jax.Array:
    raise AssertionError("the source's own head decides")

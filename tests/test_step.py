"""The train step: what is frozen costs nothing, counts for nothing and stays; what trains follows its gradient."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import ADAM, CLASSES, STEPS, adapt, batch, begin, compiled_step, differing, matching, tiny_method, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.optim import Optimizer
from tlx.partition import combine, partition
from tlx.state import TrainState, make_hyper
from tlx.step import Task, init_state, predict, train_step
from tlx.study.cost import size_of, step_flops

METHODS = ["head", "freeze", "lora"]
BATCH = 64
# Parameters of a block: four projections, an MLP of hidden width 64, two norms.
BLOCK = 4 * (16 * 16 + 16) + (16 * 64 + 64 + 64 * 16 + 16) + 2 * 2 * 16
GRADIENT = Optimizer(name="sgd", momentum=0.0, clip_norm=0.0, warmup=0.0, schedule="constant")


def moving(adapted: Adapted) -> set[str]:
    """Paths that the method promises to train, from its pattern rather than from its labels."""
    return matching(tiny_method(adapted.method).moves(adapted.model), variables(adapted))


def train(task: Task, state: TrainState, frozen: Any, steps: int) -> TrainState:
    for seed in range(steps):
        state, _ = compiled_step(task)(state, frozen, batch(task.adapted.model, seed=seed))
    return state


def gradients(task: Task, state: TrainState, frozen: Any, data: Any) -> dict[str, np.ndarray]:
    """By path: with plain SGD at learning rate 1, a step down is the gradient."""
    after, _ = compiled_step(task)(state, frozen, data)
    old, new = tree.flatten(state.trainable), tree.flatten(after.trainable)
    return {path: np.asarray(old[path], np.float64) - np.asarray(new[path], np.float64) for path in old}


# Frozen leaves


@pytest.mark.parametrize(
    ("method", "optimizer"),
    [("head", ADAM), ("freeze", ADAM), ("lora", ADAM), ("lora", Optimizer(name="sgd", momentum=0.9, clip_norm=0.5))],
    ids=["head", "freeze", "lora", "lora-sgd"],
)
def test_frozen_leaves_stay_and_all_others_move(method: str, optimizer: Optimizer) -> None:
    adapted = adapt(method)
    task = Task(adapted, optimizer, steps=STEPS)
    state, frozen = begin(task, make_hyper(0.05, weight_decay=0.3))
    after = train(task, state, frozen, 20)
    assert not after.diverged and after.step == 20
    assert differing(variables(adapted), combine(after.trainable, frozen)) == moving(adapted)
    assert 0 < len(moving(adapted)) < len(tree.flatten(variables(adapted)))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("method", METHODS)
def test_the_optimizer_holds_nothing_for_frozen_leaves(method: str, name: str) -> None:
    adapted = adapt(method)
    state, _ = begin(Task(adapted, Optimizer(name=name), steps=STEPS))
    moments = [path for path, leaf in tree.flatten(state.opt_state).items() if leaf.shape]
    owners = [path for moment in moments for path in tree.flatten(variables(adapted)) if moment.endswith("/" + path)]
    assert len(owners) == len(moments)
    assert sorted(owners) == sorted([*moving(adapted)] * (2 if name == "adamw" else 1))


# Cost


def split_by_hand(adapted: Adapted) -> tuple[dict[str, Any], dict[str, Any]]:
    leaves = tree.flatten(variables(adapted))
    trainable = {path: leaf for path, leaf in leaves.items() if path in moving(adapted)}
    return trainable, {path: leaf for path, leaf in leaves.items() if path not in trainable}


def adam(grads: Any, mean: Any, square: Any, params: Any) -> Any:
    """Three updated dictionaries by path."""
    norm = jnp.sqrt(sum(jnp.sum(g**2) for g in grads.values()))
    new: tuple[dict[str, Any], ...] = ({}, {}, {})
    for path, p in params.items():
        g = grads[path] * jnp.minimum(1.0, 1.0 / norm)
        m, v = 0.9 * mean[path] + 0.1 * g, 0.999 * square[path] + 0.001 * g * g
        decay = 0.1 * p if p.ndim > 1 else 0.0
        new[0][path] = p - 0.01 * (m / 0.1 / (jnp.sqrt(v / 0.001) + 1e-8) + decay)
        new[1][path], new[2][path] = m, v
    return new


def loss_by_hand(adapted: Adapted, leaves: dict[str, Any], data: dict[str, jax.Array]) -> jax.Array:
    logits_BC, _ = adapted.apply(tree.unflatten(leaves), data["input"])
    log_BC = jax.nn.log_softmax(logits_BC)
    target_BC = jax.nn.one_hot(data["label"], CLASSES) * 0.9 + 0.1 / CLASSES
    return -jnp.mean(jnp.sum(target_BC * log_BC, axis=-1))


def step_by_hand(adapted: Adapted) -> Callable[..., Any]:
    """Differentiates the trainable leaves alone."""

    def step(trainable: Any, frozen: Any, mean: Any, square: Any, data: Any) -> Any:
        loss = lambda some: loss_by_hand(adapted, {**some, **frozen}, data)  # noqa: E731
        value, grads = jax.value_and_grad(loss)(trainable)
        return value, adam(grads, mean, square, trainable)

    return step


def naive_step(adapted: Adapted) -> Callable[..., Any]:
    """Differentiates everything, logs the gradient's norm and updates the trainable leaves."""

    def step(trainable: Any, frozen: Any, mean: Any, square: Any, data: Any) -> Any:
        value, grads = jax.value_and_grad(lambda every: loss_by_hand(adapted, every, data))({**trainable, **frozen})
        logged = jnp.sqrt(sum(jnp.sum(g**2) for g in grads.values()))
        return value, logged, adam({path: grads[path] for path in trainable}, mean, square, trainable)

    return step


def flops(make: Callable[[Adapted], Callable[..., Any]], adapted: Adapted) -> float:
    trainable, frozen = split_by_hand(adapted)
    args = (trainable, frozen, trainable, trainable, batch(adapted.model, BATCH))
    return float(jax.jit(make(adapted)).lower(*args).compile().cost_analysis()["flops"])


@pytest.mark.thorough
@pytest.mark.parametrize("method", METHODS)
def test_a_step_costs_what_the_trainable_part_costs(method: str) -> None:
    adapted = adapt(method)
    task = Task(adapted, ADAM, steps=STEPS)
    assert step_flops(task, BATCH) == pytest.approx(flops(step_by_hand, adapted), rel=0.02)


@pytest.mark.parametrize(("method", "factor"), [("head", 2.8), ("lora", 1.4), ("freeze", 1.4)])
def test_a_step_costs_less_than_differentiating_everything(method: str, factor: float) -> None:
    adapted = adapt(method)
    assert flops(naive_step, adapted) > factor * step_flops(Task(adapted, ADAM, steps=STEPS), BATCH)


def test_a_step_above_the_cut_costs_only_what_lies_above() -> None:
    adapted = adapt("head")
    whole, above = (step_flops(Task(adapted, ADAM, steps=STEPS, first=first), BATCH) for first in (0, adapted.cut()))
    assert whole > 50 * above > 50 * 2 * 2 * BATCH * 16 * CLASSES


@pytest.mark.parametrize(
    ("method", "trainable"),
    [
        ("full", (4 * 4 * 16 + 16 + 4 * 16) + 2 * BLOCK + 2 * 16 + 16 * 3 + 3),
        ("head", 16 * 3 + 3),
        ("freeze", BLOCK + 2 * 16 + 16 * 3 + 3),
        ("lora", 16 * 3 + 3 + 2 * 2 * (16 * 2 + 2 * 16)),
    ],
)
def test_the_optimizer_takes_two_moments_per_trainable_leaf(method: str, trainable: int) -> None:
    adapted = adapt(method)
    size = size_of(Task(adapted, Optimizer(), steps=STEPS))
    labels = 1 if method == "head" else 2
    # One counter for the whole, one per label; learning rate and weight decay.
    assert size.optimizer_bytes == 2 * 4 * trainable + 4 * (1 + labels + 2)
    assert (size.trainable, size.trainable_bytes) == (trainable, 4 * trainable)
    assert size.total == tree.count(variables(adapted)) and size.frozen_bytes == 4 * (size.total - trainable)
    momentum = size_of(Task(adapted, Optimizer(name="sgd"), steps=STEPS))
    assert momentum.optimizer_bytes == 4 * trainable + 4 * (1 + 2)


# Clipping


def enlarged(factor: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same function of inputs `factor` times as large, computed from a first kernel as much smaller.

    With a power of two every activation is the same to the last bit, and the kernel's gradient is `factor` times as
    large.
    """
    whole = tree.flatten(variables(adapt("head")))
    kernel = "params/embed/patches/kernel"
    data = batch(adapt("head").model)
    return tree.unflatten({**whole, kernel: whole[kernel] / factor}), {**data, "input": data["input"] * factor}


def test_clipping_ignores_gradients_of_frozen_leaves() -> None:
    adapted = adapt("head")
    clip = 0.05
    task = Task(adapted, Optimizer(name="sgd", momentum=0.0, clip_norm=clip, warmup=0.0), steps=STEPS)

    @jax.jit
    def norm_of_all(leaves: Any, data: Any) -> jax.Array:
        grads = jax.grad(lambda leaves: loss_by_hand(adapted, leaves, data))(leaves)
        return jnp.sqrt(sum(jnp.sum(g**2) for g in grads.values()))

    norms, moved = [], []
    for factor in (1.0, 2.0**20):
        whole, data = enlarged(factor)
        trainable, frozen = partition(whole, adapted.labels())
        state = init_state(task, trainable, {}, make_hyper(1.0))
        after, _ = compiled_step(task)(state, frozen, data)
        moved.append(after.trainable)
        norms.append(float(norm_of_all(tree.flatten(whole), data)))
        change = jax.tree.map(jnp.subtract, after.trainable, trainable)
        assert math.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(change))) == pytest.approx(
            clip, rel=1e-3
        )
    assert norms[1] > 1e4 * norms[0]
    assert differing(*moved) == set()


# Gradients


def unit(leaf: np.ndarray) -> np.ndarray:
    return leaf / np.linalg.norm(leaf)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_gradients_agree_with_finite_differences(method: str) -> None:
    """Central differences in single precision: a loss good to 1e-7 over a width of 0.01 gives 1e-5."""
    task = Task(adapt(method), GRADIENT, steps=STEPS)
    state, frozen = begin(task, make_hyper(1.0, label_smoothing=0.1, adapter_scale=0.7))
    rng = np.random.default_rng(0)
    noisy = {
        path: leaf + jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32)
        for path, leaf in tree.flatten(state.trainable).items()
    }
    state, data = state.replace(trainable=tree.unflatten(noisy)), batch(task.adapted.model, 16)
    grads = gradients(task, state, frozen, data)
    norm = math.sqrt(sum(float((g**2).sum()) for g in grads.values()))
    # Along the gradient, then along directions that weigh every leaf alike, however large it is.
    directions = [grads, *({p: unit(rng.normal(size=leaf.shape)) for p, leaf in noisy.items()} for _ in range(4))]
    width = 0.005
    for direction in directions:
        length = math.sqrt(sum(float((d**2).sum()) for d in direction.values()))
        slope = sum(float((grads[path] * direction[path]).sum()) for path in noisy) / length
        ends = []
        for sign in (1, -1):
            shift = {path: jnp.asarray(sign * width / length * d, jnp.float32) for path, d in direction.items()}
            there = {path: leaf + shift[path] for path, leaf in noisy.items()}
            ends.append(float(compiled_step(task)(state.replace(trainable=tree.unflatten(there)), frozen, data)[1]))
        assert (ends[0] - ends[1]) / (2 * width) == pytest.approx(slope, abs=1e-4 * norm)


def test_the_loss_is_that_of_the_predictions_before_the_step() -> None:
    task = Task(adapt("lora"), ADAM, steps=STEPS)
    state, frozen = begin(task, make_hyper(0.1))
    data = batch(task.adapted.model)
    logits_BC = np.asarray(predict(task, state.trainable, frozen, {}, data["input"], 1.0), np.float64)
    log_BC = logits_BC - np.log(np.exp(logits_BC).sum(axis=1, keepdims=True))
    expected = -log_BC[np.arange(8), np.asarray(data["label"])].mean()
    losses = []
    for _ in range(20):
        state, loss = compiled_step(task)(state, frozen, data)
        losses.append(float(loss))
    assert losses[0] == pytest.approx(expected, rel=1e-5)
    assert losses[-1] < 0.5 * losses[0]


def test_a_step_above_the_cut_is_the_step_below_it_continued() -> None:
    adapted = adapt("head")
    whole, above = (Task(adapted, ADAM, steps=STEPS, first=first) for first in (0, adapted.cut()))
    state, frozen = begin(whole)
    data = batch(adapted.model)
    features_BD, _ = adapted.apply(variables(adapted), data["input"], last=adapted.cut())
    after, loss = compiled_step(whole)(state, frozen, data)
    after_cut, loss_cut = compiled_step(above)(state, frozen, {**data, "input": features_BD})
    assert float(loss) == pytest.approx(float(loss_cut), rel=1e-6)
    for a, b in zip(jax.tree.leaves(after.trainable), jax.tree.leaves(after_cut.trainable), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


# Divergence


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("method", METHODS)
def test_a_bad_batch_stops_the_run_before_the_update(method: str, value: float) -> None:
    task = Task(adapt(method), ADAM, steps=STEPS)
    state, frozen = begin(task, make_hyper(0.05, weight_decay=0.1))
    state = train(task, state, frozen, 3)
    good = batch(task.adapted.model)
    bad = {**good, "input": good["input"].at[5, 0, 0, 0].set(value)}
    stopped, loss = compiled_step(task)(state, frozen, bad)
    assert not math.isfinite(loss) and stopped.diverged and not state.diverged
    assert differing(state, stopped) == {"step", "diverged"}
    later = train(task, stopped, frozen, 3)
    assert later.diverged and later.step == 7
    assert differing(state, later) == {"step", "diverged"}
    assert "trainable/params/head/bias" in differing(state, train(task, state, frozen, 3))


def test_a_bad_gradient_under_a_finite_loss_stops_the_run() -> None:
    task = Task(adapt("head"), ADAM, steps=STEPS)
    state, frozen = begin(task)
    leaves = {**tree.flatten(frozen), "params/pool/norm/scale": jnp.full(16, 1e30)}
    still = jax.tree.map(jnp.zeros_like, state.trainable)
    state = state.replace(trainable=still)
    data = batch(task.adapted.model)
    stopped, loss = compiled_step(task)(state, tree.unflatten(leaves), data)
    assert float(loss) == pytest.approx(math.log(CLASSES))
    assert stopped.diverged and differing(state, stopped) == {"step", "diverged"}


# What is traced


def test_one_compilation_serves_all_hyperparameters() -> None:
    task = Task(adapt("lora"), ADAM, steps=STEPS)
    state, frozen = begin(task)
    state = train(task, state, frozen, 2)
    data = batch(task.adapted.model)
    traces = []

    @jax.jit
    def step(state: TrainState) -> tuple[TrainState, jax.Array]:
        traces.append(1)
        return train_step(task, state, frozen, data)

    base = make_hyper(1e-2, 0.1, 0.1, 1.0)
    losses, ends = {}, {}
    for name, value in [("none", 0.0), ("learning_rate", 0.5), ("weight_decay", 0.9), ("adapter_scale", 3.0)]:
        hyper = base if name == "none" else base.replace(**{name: jnp.float32(value)})
        after, loss = step(state.replace(hyper=hyper))
        ends[name], losses[name] = after.trainable, float(loss)
    assert losses["none"] == losses["learning_rate"] == losses["weight_decay"] != losses["adapter_scale"]
    assert differing(ends["none"], ends["learning_rate"]) == tree.flatten(state.trainable).keys()
    assert differing(ends["none"], ends["weight_decay"]) == {"params/head/kernel"}
    smoothed = {s: float(step(state.replace(hyper=make_hyper(1e-2, 0.1, s)))[1]) for s in (0.0, 0.3, 1.0)}
    assert smoothed[0.3] == pytest.approx(0.7 * smoothed[0.0] + 0.3 * smoothed[1.0], rel=1e-5)
    assert abs(smoothed[1.0] - smoothed[0.0]) > 1e-2
    assert len(traces) == 1


def test_a_schedule_follows_the_state_s_own_step() -> None:
    task = Task(adapt("head"), Optimizer(name="sgd", momentum=0.0, clip_norm=0.0, warmup=0.5), steps=STEPS)
    state, frozen = begin(task, make_hyper(1.0))
    data = batch(task.adapted.model)
    lengths = {}
    for step in (0, 9, 15, 20):
        grads = gradients(task, state.replace(step=jnp.int32(step)), frozen, data)
        lengths[step] = math.sqrt(sum(float((g**2).sum()) for g in grads.values()))
    assert lengths[9] > 0.01 and lengths[20] == 0.0
    assert lengths[0] / lengths[9] == pytest.approx(0.1, rel=1e-3)
    assert lengths[15] / lengths[9] == pytest.approx(0.5, rel=1e-3)


def test_replicas_average_their_gradients() -> None:
    task = Task(adapt("head"), ADAM, steps=STEPS)
    state, frozen = begin(task)
    data = batch(task.adapted.model)
    halves = {key: value.reshape(2, 4, *value.shape[1:]) for key, value in data.items()}
    step = jax.vmap(functools.partial(train_step, task, axis="replica"), (None, None, 0), axis_name="replica")
    after, loss = jax.jit(step)(state, frozen, halves)
    expected, expected_loss = compiled_step(task)(state, frozen, data)
    np.testing.assert_allclose(loss, np.full(2, expected_loss), rtol=1e-5)
    for got, want in zip(jax.tree.leaves(after.trainable), jax.tree.leaves(expected.trainable), strict=True):
        np.testing.assert_allclose(got[0], want, atol=1e-5)
        assert np.array_equal(got[0], got[1])

"""What a config may add to a step: parts of a batch, a running mean, dropout, penalties."""

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import (
    CLASSES,
    adapt,
    batch,
    begin,
    compiled_forward,
    compiled_step,
    differing,
    matching,
    tiny_model,
    variables,
)

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.hooks import Moment
from tlx.adapt.method import EVERYTHING, HEAD_ONLY, Defaults, Method
from tlx.adapt.registry import METHODS
from tlx.optim import Optimizer
from tlx.state import TrainState, make_hyper
from tlx.step import Task, predict, train_step

pytestmark = pytest.mark.thorough

GRADIENT = Optimizer(name="sgd", momentum=0.0, clip_norm=0.0, warmup=0.0, schedule="constant")
STEPS = 8
DROPPING = tiny_model(dropout=0.4)


def gradient_task(adapted: Adapted, **changes: Any) -> Task:
    """With plain SGD at learning rate 1, a step down is the gradient."""
    return Task(adapted, replace(GRADIENT, **changes), steps=STEPS)


def gradients(before: TrainState, after: TrainState) -> dict[str, np.ndarray]:
    old, new = tree.flatten(before.trainable), tree.flatten(after.trainable)
    return {path: np.asarray(old[path], np.float64) - np.asarray(new[path], np.float64) for path in old}


def assert_close(got: dict[str, Any], expected: dict[str, Any], atol: float = 1e-6) -> None:
    assert got.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_allclose(got[path], leaf, atol=atol, err_msg=path)


# Parts of a batch


@pytest.mark.parametrize(("method", "model", "parts"), [("full", "vit", 2), ("lora", "bert", 4)])
def test_a_batch_taken_in_parts_gives_the_gradient_of_the_whole(method: str, model: str, parts: int) -> None:
    adapted = adapt(method, tiny_model(model, dropout=0.0))
    whole = gradient_task(adapted)
    state, frozen = begin(whole, make_hyper(1.0, label_smoothing=0.1))
    data = batch(adapted.model)
    after, loss = compiled_step(whole)(state, frozen, data)
    in_parts, loss_in_parts = compiled_step(gradient_task(adapted, accumulate=parts))(state, frozen, data)
    assert float(loss_in_parts) == pytest.approx(float(loss), rel=1e-6)
    assert_close(gradients(state, in_parts), gradients(state, after))
    assert max(np.abs(g).max() for g in gradients(state, after).values()) > 0.1


def test_parts_of_cached_activations_that_are_dictionaries() -> None:
    adapted = adapt("freeze", tiny_model("bert", dropout=0.0))
    data = batch(adapted.model)
    features, _ = compiled_forward(adapted, last=adapted.cut())(variables(adapted), data["input"])
    assert features.keys() == {"hidden", "mask"}
    whole, halves = (replace(gradient_task(adapted, accumulate=parts), first=adapted.cut()) for parts in (1, 2))
    state, frozen = begin(whole, make_hyper(1.0))
    after, _ = compiled_step(whole)(state, frozen, {**data, "input": features})
    in_parts, _ = compiled_step(halves)(state, frozen, {**data, "input": features})
    assert_close(gradients(state, in_parts), gradients(state, after))


def test_batch_norm_sees_one_part_after_another() -> None:
    """By design the gradient is then not that of the whole batch: each part is normalised by itself."""
    adapted = adapt("freeze", tiny_model("resnet"))
    one, two = gradient_task(adapted), gradient_task(adapted, accumulate=2)
    state, frozen = begin(one, make_hyper(1.0))
    data = batch(adapted.model)
    # Neighbours go to different parts.
    even, odd = ({key: leaf[k::2] for key, leaf in data.items()} for k in (0, 1))
    first, _ = compiled_step(one)(state, frozen, even)
    second, _ = compiled_step(one)(state.replace(stats=first.stats), frozen, odd)
    in_parts, _ = compiled_step(two)(state, frozen, data)
    mean = {path: (g + gradients(state, second)[path]) / 2 for path, g in gradients(state, first).items()}
    assert_close(gradients(state, in_parts), mean, atol=2e-6)
    assert_close(tree.flatten(in_parts.stats), tree.flatten(second.stats))
    whole, _ = compiled_step(one)(state, frozen, data)
    gaps = [np.abs(g - mean[path]).max() for path, g in gradients(state, whole).items()]
    assert max(gaps) > 1e-2
    assert differing(whole.stats, in_parts.stats) == tree.flatten(state.stats).keys()


# The running mean


def test_the_running_mean_written_out() -> None:
    decay = 0.7
    task = Task(adapt("lora"), Optimizer(ema=decay, clip_norm=0.5), steps=STEPS)
    state, frozen = begin(task, make_hyper(0.1))
    mean = {path: np.asarray(leaf, np.float64) for path, leaf in tree.flatten(state.trainable).items()}
    for seed in range(4):
        state, _ = compiled_step(task)(state, frozen, batch(task.adapted.model, seed=seed))
        for path, leaf in tree.flatten(state.trainable).items():
            mean[path] = decay * mean[path] + (1 - decay) * np.asarray(leaf, np.float64)
        assert_close(tree.flatten(state.ema), mean)
    assert differing(state.ema, state.trainable) == tree.flatten(state.trainable).keys()
    bad = {**batch(task.adapted.model), "input": jnp.full((8, *task.adapted.model.input_shape), jnp.nan)}
    stopped, _ = compiled_step(task)(state, frozen, bad)
    assert stopped.diverged and differing(state.ema, stopped.ema) == set()


# Dropout


def loss_of(task: Task, hyper: Any, step: int = 0, data: Any = None) -> float:
    state, frozen = begin(task, hyper)
    state = state.replace(step=jnp.int32(step))
    return float(compiled_step(task)(state, frozen, data or batch(task.adapted.model))[1])


def test_masks_follow_from_the_seed_and_the_step() -> None:
    task = gradient_task(adapt("full", DROPPING))
    losses = {(seed, step): loss_of(task, make_hyper(1.0, seed=seed), step) for seed in (0, 1) for step in (0, 1, 2)}
    again = {(seed, step): loss_of(task, make_hyper(1.0, seed=seed), step) for seed, step in losses}
    assert again == losses and len(set(losses.values())) == len(losses)
    plain = gradient_task(adapt("full"))
    assert len({loss_of(plain, make_hyper(1.0, seed=seed), step) for seed, step in losses}) == 1


def test_predictions_drop_nothing() -> None:
    dropping, plain = (gradient_task(adapt("full", model)) for model in (DROPPING, tiny_model()))
    state, _ = begin(dropping)
    x = batch(DROPPING)["input"]
    logits = [predict(task, state.trainable, {}, {}, x, 1.0) for task in (dropping, plain)]
    np.testing.assert_array_equal(*logits)
    assert abs(loss_of(dropping, make_hyper(1.0)) - loss_of(plain, make_hyper(1.0))) > 1e-4


@pytest.mark.parametrize("method", ["head", "freeze"])
def test_stages_below_the_cut_drop_nothing(method: str) -> None:
    """So that training through them is training on what was kept of them."""
    adapted = adapt(method, DROPPING)
    through, above = (replace(gradient_task(adapted), first=first) for first in (0, adapted.cut()))
    data = batch(DROPPING)
    features, _ = compiled_forward(adapted, last=adapted.cut())(variables(adapted), data["input"])
    losses = [loss_of(through, make_hyper(1.0)), loss_of(above, make_hyper(1.0), data={**data, "input": features})]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    plain = loss_of(replace(through, adapted=adapt(method)), make_hyper(1.0))
    assert (abs(losses[0] - plain) > 1e-4) == (method == "freeze")


def test_parts_and_replicas_draw_masks_of_their_own() -> None:
    task = gradient_task(adapt("full", DROPPING))
    state, frozen = begin(task, make_hyper(1.0, seed=5))
    half = batch(DROPPING, 4)
    step_key = jax.random.fold_in(jax.random.key(5), 0)

    def by_hand(i: int) -> float:
        key = jax.random.fold_in(step_key, i)
        logits_BC, _ = task.adapted.apply(variables(task.adapted), half["input"], train=True, rng=key)
        picked = jax.nn.log_softmax(logits_BC) * jax.nn.one_hot(half["label"], CLASSES)
        return -float(jnp.mean(jnp.sum(picked, axis=-1)))

    each = [by_hand(0), by_hand(1)]
    assert abs(each[0] - each[1]) > 1e-3
    # The same examples in both parts, and on both replicas.
    twice = {key: jnp.repeat(leaf, 2, axis=0) for key, leaf in half.items()}
    _, in_parts = compiled_step(replace(task, optimizer=replace(GRADIENT, accumulate=2)))(state, frozen, twice)
    step = jax.vmap(
        functools.partial(train_step, task, axis="replica"), (None, None, None), axis_name="replica", axis_size=2
    )
    _, on_replicas = jax.jit(step)(state, frozen, half)
    assert float(in_parts) == pytest.approx(np.mean(each), rel=1e-5)
    np.testing.assert_allclose(on_replicas, np.mean(each), rtol=1e-5)


# Penalties

MOMENTS: list[Moment] = []


def weighing(name: str, pattern: str, factor: float, rules: Any) -> Method:
    """A method whose penalty is `factor / 2` times the square of all leaves that a pattern matches."""

    def penalty(settings: Any, moment: Moment) -> jax.Array:
        MOMENTS.append(moment)
        found = matching(pattern, moment.variables)
        leaves = tree.flatten(moment.variables)
        return factor / 2 * sum((jnp.sum(jnp.square(leaves[path])) for path in found), jnp.zeros(()))

    return Method(name, "nobody", "", {}, Defaults((1.0, 2.0, 3.0)), lambda settings, anatomy: rules, penalty=penalty)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    MOMENTS.clear()
    for method in (
        weighing("heavy_head", "params/head/kernel|params/embed/.*", 3.0, HEAD_ONLY),
        weighing("heavy_bias", "params/head/bias", 5.0, HEAD_ONLY),
        weighing("weightless", "nothing", 1.0, EVERYTHING),
    ):
        monkeypatch.setitem(METHODS, method.name, method)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("parts", [1, 4])
def test_penalties_are_added_and_pull_on_what_moves(parts: int) -> None:
    model = tiny_model()
    plain = gradient_task(Adapted(model, "head"))
    task = gradient_task(Adapted(model, "heavy_head", also=(("heavy_bias", ()),)), accumulate=parts)
    state, frozen = begin(plain, make_hyper(1.0))
    bias = jnp.array([1.0, -2.0, 3.0])
    state = state.replace(trainable={"params": {"head": {**state.trainable["params"]["head"], "bias": bias}}})
    data = batch(model)
    after, loss = compiled_step(plain)(state, frozen, data)
    pulled, pulled_loss = compiled_step(task)(state, frozen, data)
    leaves = {**tree.flatten(frozen), **tree.flatten(state.trainable)}
    squares = {path: float((np.asarray(leaf, np.float64) ** 2).sum()) for path, leaf in leaves.items()}
    weighed = (
        3.0 / 2 * sum(squares[path] for path in matching("params/head/kernel|params/embed/.*", tree.unflatten(leaves)))
    )
    assert float(pulled_loss) == pytest.approx(float(loss) + weighed + 5.0 / 2 * 14.0, rel=1e-6)
    expected = {
        "params/head/kernel": 3.0 * np.asarray(leaves["params/head/kernel"]),
        "params/head/bias": 5.0 * np.asarray(bias),
    }
    plain_gradients = gradients(state, after)
    assert_close(gradients(state, pulled), {path: plain_gradients[path] + expected[path] for path in expected}, 2e-6)


@pytest.mark.usefixtures("registered")
def test_what_a_penalty_is_told() -> None:
    adapted = Adapted(tiny_model(), "heavy_head")
    task = replace(gradient_task(adapted), first=2)
    state, frozen = begin(task)
    data = {**batch(adapted.model), "input": jax.ShapeDtypeStruct((8, 4, 16), jnp.float32)}
    jax.eval_shape(functools.partial(train_step, task), state, frozen, data)
    (moment,) = MOMENTS
    assert moment.model == adapted.model and moment.first == 2 and moment.labels == adapted.labels()
    assert moment.features.shape == (8, 16) and moment.logits.shape == (8, CLASSES)
    assert (
        moment.batch.keys() == data.keys()
        and tree.flatten(moment.variables).keys() == tree.flatten(variables(adapted)).keys()
    )


@pytest.mark.usefixtures("registered")
def test_a_penalty_changes_no_mask() -> None:
    """The head is then run apart from the stages below."""
    data = batch(DROPPING)
    losses = [
        loss_of(gradient_task(Adapted(DROPPING, name)), make_hyper(1.0, seed=3), data=data)
        for name in ("full", "weightless")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)

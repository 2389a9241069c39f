"""Updates written out by hand, step by step: Adam, Nesterov momentum, decay, clipping, labels, schedules."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tlx import tree
from tlx.optim import SCHEDULES, Optimizer, make_optimizer, make_schedule, set_hyper

LABELS = {
    "adapters/block/lora_a": "adapter@lora_a",
    "params/block/bias": "train@block#1",
    "params/block/kernel": "train@block#1",
    "params/head/bias": "head",
    "params/head/kernel": "head",
}
SHAPES = {
    "adapters/block/lora_a": (2, 1),
    "params/block/bias": (3,),
    "params/block/kernel": (2, 3),
    "params/head/bias": (2,),
    "params/head/kernel": (3, 2),
}
DECAYED = {"params/block/kernel", "params/head/kernel"}
# A label that is asked for by its beginning alone has no factor; what follows its "#" plays no part.
LR_SCALE = {"head": 10.0, "adapter@lora_a": 0.5, "train@block": 0.25, "adapter": 7.0, "train": 7.0}
FACTORS = {
    "adapters/block/lora_a": 0.5,
    "params/block/bias": 0.25,
    "params/block/kernel": 0.25,
    "params/head/bias": 10.0,
    "params/head/kernel": 10.0,
}
STEPS = 6

Leaves = dict[str, np.ndarray]


def draw(seed: int, size: float = 1.0) -> Leaves:
    rng = np.random.default_rng(seed)
    return {path: (size * rng.normal(size=shape)).astype(np.float32) for path, shape in SHAPES.items()}


def make(optimizer: Optimizer, **more: Any) -> optax.GradientTransformation:
    return make_optimizer(optimizer, tree.unflatten(LABELS), LR_SCALE, **more)


def run(
    optimizer: Optimizer, gradients: list[Leaves], rates: list[float], weight_decay: float, **more: Any
) -> list[Leaves]:
    """The leaves after each step, as the optimizer moves them."""
    transformation = make(optimizer, **more)
    params: Any = jax.tree.map(jnp.asarray, tree.unflatten(draw(0)))
    state = transformation.init(params)

    @jax.jit
    def step(params: Any, state: Any, grads: Any, rate: jax.Array) -> tuple[Any, Any]:
        updates, state = transformation.update(grads, set_hyper(state, rate, jnp.float32(weight_decay)), params)
        return optax.apply_updates(params, updates), state

    history = []
    for gradient, rate in zip(gradients, rates, strict=True):
        params, state = step(params, state, tree.unflatten(gradient), jnp.float32(rate))
        history.append({path: np.asarray(leaf) for path, leaf in tree.flatten(params).items()})
    return history


def by_hand(optimizer: Optimizer, gradients: list[Leaves], rates: list[float], weight_decay: float) -> list[Leaves]:
    """The same in double precision, from the papers' update rules."""
    params = {path: leaf.astype(np.float64) for path, leaf in draw(0).items()}
    first = {path: np.zeros(shape) for path, shape in SHAPES.items()}
    second = {path: np.zeros(shape) for path, shape in SHAPES.items()}
    beta = optimizer.momentum
    history = []
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        norm = math.sqrt(sum(float((leaf.astype(np.float64) ** 2).sum()) for leaf in gradient.values()))
        shrink = min(1.0, optimizer.clip_norm / norm) if optimizer.clip_norm else 1.0
        for path in SHAPES:
            g = gradient[path].astype(np.float64) * shrink
            if optimizer.name == "adamw":
                first[path] = beta * first[path] + (1 - beta) * g
                second[path] = 0.999 * second[path] + 0.001 * g**2
                mean, square = first[path] / (1 - beta**t), second[path] / (1 - 0.999**t)
                direction = mean / (np.sqrt(square) + 1e-8)
            else:
                first[path] = g + beta * first[path]
                direction = g + beta * first[path]
            if path in DECAYED:
                direction = direction + weight_decay * params[path]
            params[path] = params[path] - rate * FACTORS[path] * direction
        history.append(dict(params))
    return history


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("clip_norm", [0.0, 0.7, 1e3])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_updates_are_those_written_out(name: str, clip_norm: float, weight_decay: float) -> None:
    optimizer = Optimizer(name=name, momentum=0.8, clip_norm=clip_norm)
    gradients = [draw(seed, size=0.5 * seed) for seed in range(1, STEPS + 1)]
    rates = [0.03 * (1 + step % 3) for step in range(STEPS)]
    got = run(optimizer, gradients, rates, weight_decay)
    expected = by_hand(optimizer, gradients, rates, weight_decay)
    for step in range(STEPS):
        for path in SHAPES:
            np.testing.assert_allclose(got[step][path], expected[step][path], rtol=2e-5, atol=2e-5, err_msg=path)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_without_gradients_only_matrices_of_the_model_shrink(name: str) -> None:
    zeros = {path: np.zeros(shape, np.float32) for path, shape in SHAPES.items()}
    [after] = run(Optimizer(name=name), [zeros], [0.1], 0.5)
    before = draw(0)
    for path in SHAPES:
        if path in DECAYED:
            np.testing.assert_allclose(after[path], before[path] * (1 - 0.1 * FACTORS[path] * 0.5), rtol=1e-6)
        else:
            assert np.array_equal(after[path], before[path]), path


def test_the_first_clipped_step_has_the_norm_of_the_clip() -> None:
    optimizer = Optimizer(name="sgd", momentum=0.0, clip_norm=0.25)
    [after] = run(optimizer, [draw(1)], [1.0], 0.0)
    squares = sum(float((((after[path] - leaf) / FACTORS[path]) ** 2).sum()) for path, leaf in draw(0).items())
    assert math.sqrt(squares) == pytest.approx(0.25, rel=1e-5)


def test_at_learning_rate_zero_nothing_moves() -> None:
    for after in run(Optimizer(), [draw(1), draw(2)], [0.0, 0.0], 0.5):
        assert all(np.array_equal(after[path], leaf) for path, leaf in draw(0).items())


def test_one_compilation_serves_every_learning_rate_and_weight_decay() -> None:
    transformation = make(Optimizer(name="sgd", momentum=0.0, clip_norm=0.0))
    params, grads = tree.unflatten(draw(0)), tree.unflatten(draw(1))
    traces = []

    @jax.jit
    def updates(state: Any, rate: jax.Array, decay: jax.Array) -> Any:
        traces.append(1)
        return transformation.update(grads, set_hyper(state, rate, decay), params)[0]

    state = transformation.init(params)
    kernel, gradient = draw(0)["params/head/kernel"], draw(1)["params/head/kernel"]
    for rate, decay in [(0.1, 0.0), (1e-3, 0.5), (10.0, 0.01)]:
        update = updates(state, jnp.float32(rate), jnp.float32(decay))["params"]["head"]["kernel"]
        np.testing.assert_allclose(update, -10.0 * rate * (gradient + decay * kernel), rtol=1e-5)
    assert len(traces) == 1


def test_setting_the_hyperparameters_leaves_the_rest_of_the_state() -> None:
    state = make(Optimizer()).init(tree.unflatten(draw(0)))
    changed = set_hyper(state, jnp.float32(0.5), jnp.float32(0.25))
    before, after = tree.flatten(state), tree.flatten(changed)
    assert after.pop("hyperparams/learning_rate") == 0.5 and after.pop("hyperparams/weight_decay") == 0.25
    assert before.keys() - after.keys() == {"hyperparams/learning_rate", "hyperparams/weight_decay"}
    assert all(leaf is before[path] for path, leaf in after.items())


@pytest.mark.parametrize(
    ("optimizer", "steps", "expected"),
    [
        (Optimizer(warmup=0.1), 100, {0: 0.1, 4: 0.5, 9: 1.0, 10: 1.0, 55: 0.5, 100: 0.0, 150: 0.0}),
        (Optimizer(warmup=0.1), 100, {25: 0.5 + math.cos(math.pi / 6) / 2, 99: 0.5 + math.cos(math.pi * 89 / 90) / 2}),
        (Optimizer(warmup=0.1, schedule="constant"), 100, {0: 0.1, 4: 0.5, 9: 1.0, 50: 1.0, 150: 1.0}),
        (
            Optimizer(warmup=0.1, schedule="linear"),
            100,
            {0: 0.1, 9: 1.0, 10: 1.0, 55: 0.5, 99: 1 / 90, 100: 0.0, 150: 0.0},
        ),
        (Optimizer(warmup=0.0, schedule="linear"), 4, {0: 1.0, 1: 0.75, 2: 0.5, 3: 0.25, 4: 0.0}),
        (Optimizer(warmup=0.0), 4, {0: 1.0, 1: 0.5 * (1 + math.sqrt(0.5)), 2: 0.5, 4: 0.0}),
        (Optimizer(warmup=0.0, schedule="constant"), 4, {0: 1.0, 3: 1.0}),
        (Optimizer(warmup=1.0), 10, {0: 0.1, 9: 1.0}),
        (Optimizer(warmup=0.1), 3, {0: 1.0, 1: 1.0, 2: 0.5}),
        (Optimizer(warmup=0.1), 1, {0: 1.0}),
    ],
)
def test_schedules_at_given_steps(optimizer: Optimizer, steps: int, expected: dict[int, float]) -> None:
    factor = make_schedule(optimizer, steps)
    for step, value in expected.items():
        assert float(factor(jnp.int32(step))) == pytest.approx(value, abs=1e-6), step


def test_a_schedule_may_be_traced_over_steps() -> None:
    factor = jax.jit(jax.vmap(make_schedule(Optimizer(warmup=0.2), 50)))(jnp.arange(50))
    assert factor.shape == (50,)
    assert np.all(np.diff(factor[:10]) > 0) and np.all(np.diff(factor[10:]) < 0)
    assert float(factor.max()) == 1.0 and float(factor.min()) > 0.0


@pytest.mark.parametrize(("warmup", "steps"), [(0.1, 100), (0.25, 40), (0.5, 6)])
def test_the_slanted_schedule_is_that_of_the_paper(warmup: float, steps: int) -> None:
    """Howard and Ruder (2018), equation 3, with T = steps and cut_frac = warmup.

    Their t counts the iteration under way while the rate rises, and the iterations done while it falls.
    """
    cut, ratio = math.floor(steps * warmup), 32
    factor = make_schedule(Optimizer(warmup=warmup, schedule="slanted"), steps)
    for step in range(steps):
        p = (step + 1) / cut if step < cut else 1 - (step - cut) / (cut * (1 / warmup - 1))
        assert float(factor(jnp.int32(step))) == pytest.approx((1 + p * (ratio - 1)) / ratio, abs=1e-6), step
    assert float(factor(jnp.int32(steps))) == pytest.approx(1 / 32)


# What is put around the rule


def test_a_wrapper_sees_the_raw_gradient_and_has_the_last_word() -> None:
    optimizer, gradients = Optimizer(name="sgd", momentum=0.5, clip_norm=0.1), [draw(1), draw(2)]
    seen = []

    def wrap(inner: optax.GradientTransformation) -> optax.GradientTransformation:
        def update(grads: Any, state: Any, params: Any = None) -> Any:
            jax.debug.callback(lambda g: seen.append(np.array(g)), grads["params"]["head"]["kernel"], ordered=True)
            updates, state = inner.update(grads, state, params)
            # Twice the step for all leaves but one, which goes to zero at once.
            moves = jax.tree.map(lambda leaf: 2.0 * leaf, updates)
            return {**moves, "adapters": jax.tree.map(jnp.negative, params["adapters"])}, state

        return optax.GradientTransformation(inner.init, update)

    rates, decay = [0.1, 0.1], 0.3
    wrapped, plain = run(optimizer, gradients, rates, decay, wrap=wrap)[0], run(optimizer, gradients, rates, decay)[0]
    jax.effects_barrier()
    np.testing.assert_array_equal(seen, [gradient["params/head/kernel"] for gradient in gradients])
    assert not wrapped["adapters/block/lora_a"].any()
    for path in SHAPES.keys() - {"adapters/block/lora_a"}:
        np.testing.assert_allclose(wrapped[path] - draw(0)[path], 2 * (plain[path] - draw(0)[path]), atol=1e-6)


def test_every_label_counts_its_own_steps() -> None:
    """So that leaves of a label that joins later can begin at Adam's first step."""
    transformation = make(Optimizer())
    params = jax.tree.map(jnp.asarray, tree.unflatten(draw(0)))
    paths = tree.flatten(transformation.init(params))
    for label in set(LABELS.values()):
        (count,) = [path for path in paths if f"/{label}/" in path and path.endswith("/count")]
        assert paths[count] == 0
        moments = {path.partition("/mu/")[2] for path in paths if f"/{label}/" in path and "/mu/" in path}
        assert moments == {path for path, own in LABELS.items() if own == label}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.1])
def test_a_traced_length_gives_the_same_schedule(schedule: str, warmup: float) -> None:
    optimizer = Optimizer(schedule=schedule, warmup=warmup)
    step_S = jnp.arange(40, dtype=jnp.int32)
    for steps in (1, 7, 25, 40):
        fixed = jax.vmap(make_schedule(optimizer, steps))(step_S)
        traced = jax.jit(lambda n: jax.vmap(make_schedule(optimizer, n))(step_S))(jnp.int32(steps))
        np.testing.assert_allclose(traced, fixed, rtol=1e-6, atol=1e-7)

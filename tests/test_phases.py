"""Runs in several phases: who moves when, at what rate, and what is carried from one phase to the next."""

import functools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs
from runs import IMAGE_NHWC, LABEL_N, Stop, host, largest_gap, resident, table, task_of, train
from tiers import first
from tiny import adapt, batch, begin, compiled_init, compiled_step, differing, tiny_model

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.hooks import Phase
from tlx.adapt.method import EVERYTHING, Defaults, Method
from tlx.adapt.registry import METHODS
from tlx.checkpoint import Checkpoints
from tlx.data.preprocess import normalise
from tlx.loop import Programs
from tlx.optim import Optimizer
from tlx.partition import combine
from tlx.phases import enter, like
from tlx.sharding import make_placement
from tlx.state import TrainState, from_tree, make_hyper, to_tree
from tlx.step import Task, init_state
from tlx.study.cost import size_of, step_flops

MODEL = tiny_model(depth=1)
# Softmax does not see it: its gradient is rounding, which Adam scales to full size.
KEY_BIAS = "params/block_0/attention/key/bias"
ADAM = Optimizer(clip_norm=0.5, warmup=0.2, schedule="cosine", ema=0.5)


def phased(monkeypatch: pytest.MonkeyPatch, *phases: Phase) -> Adapted:
    """The tiny model under a method of these phases, in which everything moves in the end."""
    name = f"phased_{abs(hash(phases))}"
    method = Method(
        name, "nobody", "", {}, Defaults((1.0, 2.0, 3.0)), lambda s, a: EVERYTHING, phases=lambda s, a: phases
    )
    monkeypatch.setitem(METHODS, name, method)
    return Adapted(MODEL, name)


# Which phase a step belongs to, and its learning rate


def test_phases_begin_at_shares_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    adapted = phased(monkeypatch, Phase(0.0, (".*/head/.*",)), Phase(0.25, (".*/pool/.*",)), Phase(0.75, (".*",)))
    task = Task(adapted, ADAM, steps=20)
    assert task.bounds == (0, 5, 15)
    assert [task.at(step).phase for step in (0, 4, 5, 14, 15, 19)] == [0, 0, 1, 1, 2, 2]
    assert task.at(7) == replace(task, phase=1)
    # In a run of one step only the last phase that begins with it is left.
    assert replace(task, steps=1).bounds == (0, 0, 1) and replace(task, steps=1).at(0).phase == 1
    assert Task(adapt("full"), ADAM, steps=20).bounds == (0,)


def factors(task: Task) -> list[float]:
    return [float(task.at(step).lr_factor(jnp.int32(step))) for step in range(task.steps)]


def test_learning_rates_of_phases_without_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    adapted = phased(monkeypatch, Phase(0.0, (".*/head/.*",)), Phase(0.5, (".*",), lr=0.1))
    optimizer = Optimizer(warmup=0.25, schedule="linear")
    expected = [0.5, 1.0, 1.0, 5 / 6, 0.1 * 4 / 6, 0.1 * 3 / 6, 0.1 * 2 / 6, 0.1 * 1 / 6]
    assert factors(Task(adapted, optimizer, steps=8)) == pytest.approx(expected)


def test_learning_rates_of_phases_with_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    adapted = phased(
        monkeypatch,
        Phase(0.0, (".*/head/.*",), lr=2.0, restart=True),
        Phase(0.2, (".*/pool/.*",)),
        Phase(0.4, (".*",), lr=0.5, restart=True),
    )
    # The first schedule spans the first two phases, four steps; the second the last six.
    four, six = [1.0, 1.0, 2 / 3, 1 / 3], [1.0, 1.0, 4 / 5, 3 / 5, 2 / 5, 1 / 5]
    expected = [2 * four[0], 2 * four[1], four[2], four[3], *(0.5 * factor for factor in six)]
    assert factors(Task(adapted, Optimizer(warmup=0.1, schedule="linear"), steps=10)) == pytest.approx(expected)
    probe_then_all = Task(adapt("lp_ft", MODEL, probe=0.5, lr=0.1), ADAM, steps=6)
    assert factors(probe_then_all) == pytest.approx([1.0, 1.0, 0.5, 0.1, 0.1, 0.05])


@pytest.mark.thorough
def test_a_step_costs_the_mean_of_its_phases() -> None:
    task = Task(adapt("lp_ft", MODEL, probe=0.25), ADAM, steps=4)
    probe, rest = (step_flops(Task(adapt(name, MODEL), ADAM, steps=4), 8) for name in ("head", "full"))
    assert step_flops(task, 8) == pytest.approx((probe + 3 * rest) / 4, rel=0.02)
    assert rest > 1.5 * probe
    size = size_of(task)
    assert size.trainable == size.total == size_of(Task(adapt("full", MODEL), ADAM, steps=4)).trainable


# What is carried


def after(task: Task, state: TrainState, frozen: Any, steps: int) -> TrainState:
    for _ in range(steps):
        state, _ = compiled_step(task)(state, frozen, batch(MODEL, seed=int(state.step)))
    return state


@functools.cache
def probed() -> tuple[Task, TrainState, dict[str, Any]]:
    """A probe at its last step, with a running mean; and the task and frozen leaves of its phase."""
    task = Task(adapt("lp_ft", MODEL), ADAM, steps=6)
    state, frozen = begin(task, make_hyper(0.05, weight_decay=0.1, seed=4))
    return task, after(task, state, frozen, 3), frozen


def test_what_stays_keeps_its_part_of_the_optimizer_bit_for_bit() -> None:
    task, state, frozen = probed()
    state, frozen = host((state, frozen))
    entered, still = enter(task.at(3), state, frozen)
    old, new = tree.flatten(state.opt_state), tree.flatten(entered.opt_state)
    assert old.keys() < new.keys() and tree.flatten(still) == {}
    for path, leaf in old.items():
        assert np.asarray(new[path]).tobytes() == leaf.tobytes(), path
    moments = [path for path in old if "params/head/kernel" in path]
    counts = [path for path in old if path.endswith("count") and "/head/" in path]
    assert len(moments) == 2 and all(old[path].any() for path in moments)
    assert [int(old[path]) for path in counts] == [3]
    assert differing(state.hyper, entered.hyper) == set()
    assert int(entered.step) == 3 and not entered.diverged


def test_what_joins_begins_with_nothing_learned() -> None:
    task, state, frozen = probed()
    entered, _ = enter(task.at(3), state, frozen)
    old, new = tree.flatten(state.opt_state), tree.flatten(entered.opt_state)
    joined = {path: leaf for path, leaf in new.items() if path not in old}
    assert any("train#1" in path and path.endswith("count") for path in joined)
    assert all(not np.any(leaf) for leaf in joined.values())
    whole = combine(frozen, state.trainable)
    assert differing(whole, entered.trainable) == set()
    # The running mean of a leaf that joins begins at the leaf; that of the others goes on.
    mean, before = tree.flatten(entered.ema), tree.flatten(state.ema)
    leaves = tree.flatten(whole)
    assert mean.keys() == leaves.keys()
    assert all(np.array_equal(mean[path], before.get(path, leaf)) for path, leaf in leaves.items())
    assert not np.array_equal(mean["params/head/kernel"], leaves["params/head/kernel"])


def test_the_first_update_of_a_leaf_that_joins_is_adam_s_first() -> None:
    task, state, frozen = probed()
    now = task.at(3)
    entered, still = enter(now, state, frozen)
    fresh = init_state(now, entered.trainable, {}, entered.hyper).replace(step=entered.step)
    stepped, fresh_stepped = (after(now, one, still, 1).trainable for one in (entered, fresh))
    assert differing(stepped, fresh_stepped) == {"params/head/bias", "params/head/kernel"}
    # Bias correction makes Adam's first step as long as the learning rate wherever there is a gradient.
    old, new = (tree.flatten(leaves)["params/embed/patches/bias"] for leaves in (entered.trainable, stepped))
    np.testing.assert_allclose(np.abs(new - old), 0.05 * 0.1, rtol=1e-3)


def test_statistics_join_with_the_norms_they_belong_to() -> None:
    adapted = adapt("gradual", tiny_model("resnet"))
    task = Task(adapted, ADAM, steps=100)
    stages = [{"block_1"}, {"block_0", "block_1"}, {"stem", "block_0", "block_1"}]
    whole = compiled_init(adapted.model)(0)
    trainable, stats, frozen = adapted.split(whole, 0)
    state = init_state(task, trainable, stats, make_hyper(1.0))
    assert state.stats == {} and "batch_stats" in frozen
    for phase, expected in enumerate(stages, 1):
        state, frozen = enter(replace(task, phase=phase), state, frozen)
        assert {path.split("/")[1] for path in tree.flatten(state.stats)} == expected
        assert differing(whole, combine(frozen, state.stats, state.trainable)) == set()


def test_a_saved_state_is_rebuilt_in_the_phase_of_its_last_step() -> None:
    task = Task(adapt("lp_ft", MODEL), ADAM, steps=6)
    leaves = runs.variables(task)
    shapes = {}
    for step in range(7):
        state, frozen = like(task, leaves, make_hyper(1e-2), step)
        shapes[step] = (len(tree.flatten(state.trainable)), len(tree.flatten(frozen)))
        assert int(state.step) == 0 and not any(
            np.any(x) for p, x in tree.flatten(state.opt_state).items() if "/mu/" in p
        )
        assert differing(leaves, combine(state.trainable, frozen)) == set()
    total = len(tree.flatten(leaves))
    # The boundary itself, step 3, still belongs to the probe: its state was saved before the next phase was entered.
    assert [shapes[step] for step in range(7)] == [(2, total - 2)] * 4 + [(total, 0)] * 3


# Whole runs

HYPER = make_hyper(1e-2, weight_decay=0.05)


@functools.cache
def loss_and_gradients(adapted: Adapted) -> Any:
    def loss(leaves: Any, x: jax.Array, label: jax.Array) -> jax.Array:
        log_BC = jax.nn.log_softmax(adapted.model.module.apply(tree.unflatten(leaves), x))
        return -jnp.mean(jnp.sum(log_BC * jax.nn.one_hot(label, log_BC.shape[1]), axis=1))

    return jax.jit(jax.value_and_grad(loss))


def by_hand(task: Task, joins: dict[str, int], rates: list[float]) -> tuple[dict[str, np.ndarray], list[float]]:
    """Adam in double precision, each stage from the step on at which it joins."""
    leaves = {path: np.asarray(leaf, np.float64) for path, leaf in tree.flatten(runs.variables(task)).items()}
    first, second = ({path: np.zeros_like(leaf) for path, leaf in leaves.items()} for _ in range(2))
    losses = []
    for step, index_B in enumerate(table()(0, task.steps)):
        now = {path: jnp.asarray(leaf, jnp.float32) for path, leaf in leaves.items()}
        loss, grads = loss_and_gradients(task.adapted)(
            now, normalise(jnp.asarray(IMAGE_NHWC[index_B])), LABEL_N[index_B]
        )
        moving = {path: step - joins[path.split("/")[1]] + 1 for path in leaves if joins[path.split("/")[1]] <= step}
        norm = math.sqrt(sum(float((np.asarray(grads[path], np.float64) ** 2).sum()) for path in moving))
        for path, t in moving.items():
            g = np.asarray(grads[path], np.float64) * min(1.0, 0.5 / norm)
            first[path] = 0.9 * first[path] + 0.1 * g
            second[path] = 0.999 * second[path] + 0.001 * g**2
            move = first[path] / (1 - 0.9**t) / (np.sqrt(second[path] / (1 - 0.999**t)) + 1e-8)
            decay = 0.05 * leaves[path] if leaves[path].ndim > 1 else 0.0
            leaves[path] = leaves[path] - 1e-2 * rates[step] * (move + decay)
        losses.append(float(loss))
    return leaves, losses


CASES = {
    # Two phases, the schedule starts anew and lower.
    "lp_ft": ({"probe": 0.5, "lr": 0.3}, 6, {"head": 0, "pool": 3, "block_0": 3, "embed": 3}, (1.0, 1.0, 0.5)),
    # Four phases under one schedule: warm-up over two of eight steps, then a cosine.
    "gradual": ({"share": 0.75}, 8, {"head": 0, "pool": 2, "block_0": 4, "embed": 6}, ()),
}
# Method and steps in one call.
RUNS = [("lp_ft", 1), ("lp_ft", 2), ("gradual", 1)]


def case(method: str) -> tuple[Task, dict[str, int], list[float]]:
    settings, steps, joins, start = CASES[method]
    rates = [*start, *(0.3 * rate for rate in start)]
    if not start:
        rates = [0.5, 1.0, *(0.5 * (1 + math.cos(math.pi * k / 6)) for k in range(6))]
    return task_of(method, steps, ADAM, depth=1, **settings), joins, rates


@pytest.fixture(scope="module")
def programs() -> Programs:
    return Programs()


@pytest.mark.parametrize(("method", "chunk"), first(2, RUNS))
def test_a_run_is_training_by_hand_phase_by_phase(method: str, chunk: int, programs: Programs) -> None:
    task, joins, rates = case(method)
    ended, losses = train(task, *runs.begin(task, HYPER), resident(), programs=programs, chunk=chunk)
    leaves, expected = by_hand(task, joins, rates)
    assert int(ended.step) == task.steps
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    moved = tree.flatten(ended.trainable)
    assert moved.keys() == leaves.keys()
    for path in leaves.keys() - {KEY_BIAS}:
        np.testing.assert_allclose(moved[path], leaves[path], atol=5e-6, err_msg=path)


@pytest.mark.parametrize(("method", "chunk"), RUNS)
def test_a_run_killed_anywhere_ends_bit_for_bit_as_if_undisturbed(
    method: str, chunk: int, programs: Programs, tmp_path: Path
) -> None:
    task, _, _ = case(method)
    steps: list[int] = []
    whole, losses = train(
        task,
        *runs.begin(task, HYPER),
        resident(),
        programs=programs,
        chunk=chunk,
        boundary=lambda state, _: steps.append(int(state.step)),
    )
    assert steps == ([*range(1, task.steps + 1)] if chunk == 1 else [2, 3, 5, 6]), "a chunk ends where a phase does"

    def killed(after: int, checkpoints: Checkpoints) -> None:
        def boundary(state: TrainState, losses: np.ndarray) -> None:
            if int(state.step) == after:
                checkpoints.save(after, {"state": to_tree(state), "losses": losses}, {})
                raise Stop

        with pytest.raises(Stop):
            train(task, *runs.begin(task, HYPER), resident(), programs=programs, chunk=chunk, boundary=boundary)

    for after in steps:
        checkpoints = Checkpoints(tmp_path / str(after))
        killed(after, checkpoints)
        restored = checkpoints.restore()
        assert restored is not None
        state, frozen = like(task, runs.variables(task), HYPER, after)
        state = from_tree(state, restored.tree["state"])
        again, again_losses = train(
            task, state, frozen, resident(), programs=programs, chunk=chunk, losses=restored.tree["losses"]
        )
        assert differing(to_tree(whole), to_tree(again)) == set(), f"killed after {after} steps"
        np.testing.assert_array_equal(losses, again_losses)


def test_a_run_that_diverges_enters_no_further_phase(programs: Programs) -> None:
    task, _, _ = case("lp_ft")
    image_NHWC = np.array(normalise(jnp.asarray(IMAGE_NHWC)))
    image_NHWC[table()(1, 2)[0, 0]] = np.nan
    ended, losses = train(task, *runs.begin(task, HYPER), resident(input_N=image_NHWC), programs=programs, chunk=3)
    assert ended.diverged and int(ended.step) == 3 and len(losses) == 3
    assert tree.flatten(ended.trainable).keys() == {"params/head/bias", "params/head/kernel"}


def test_phases_are_the_same_under_pmap(programs: Programs) -> None:
    task, _, _ = case("lp_ft")
    one, losses = train(task, *runs.begin(task, HYPER), resident(), programs=programs, chunk=1)
    placement = make_placement("pmap", 2, 1)
    two, two_losses = train(
        task, *runs.begin(task, HYPER), resident(), programs=Programs(), placement=placement, chunk=3
    )
    np.testing.assert_allclose(two_losses, losses, rtol=1e-5)
    gaps = {
        path: largest_gap(leaf, tree.flatten(two.trainable)[path]) for path, leaf in tree.flatten(one.trainable).items()
    }
    assert max(gap for path, gap in gaps.items() if path != KEY_BIAS) < 2e-5

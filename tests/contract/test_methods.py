"""What every registered method promises on every registered model."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import (
    ADAM,
    STEPS,
    TINY_MODELS,
    adapt,
    batch,
    begin,
    compiled_init,
    compiled_step,
    differing,
    matching,
    tiny_method,
    tiny_model,
    variables,
)

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.registry import METHODS
from tlx.models.registry import MODELS
from tlx.partition import FROZEN, combine
from tlx.state import make_hyper
from tlx.step import Task
from tlx.study.cost import size_of


@pytest.fixture(params=[(method, model) for model in sorted(MODELS) for method in sorted(METHODS)], ids="-".join)
def adapted(request: pytest.FixtureRequest) -> Adapted:
    method, model = request.param
    tiny_method(method)
    return adapt(method, tiny_model(model))


def promised(adapted: Adapted) -> set[str]:
    """Paths of the leaves that the method promises to move."""
    return matching(tiny_method(adapted.method).moves(adapted.model.stages), variables(adapted))


def away(adapted: Adapted, only: set[str] | None = None) -> dict[str, Any]:
    """The variables with noise on some leaves, or on all: as after some training."""
    rng = np.random.default_rng(3)
    leaves = tree.flatten(variables(adapted))
    chosen = {path for path in leaves if not path.startswith("batch_stats/")} if only is None else only
    noise = {path: jnp.asarray(rng.normal(0, 0.3, leaves[path].shape), jnp.float32) for path in sorted(chosen)}
    return tree.unflatten({path: leaf + noise[path] if path in noise else leaf for path, leaf in leaves.items()})


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_is_described(name: str) -> None:
    method = METHODS[name]
    assert method.name == name and method.paper
    for field_name, field in method.fields.items():
        assert field.check(field_name, field.default) == field.default
        assert field.doc


def test_equal_settings_name_equal_programs(adapted: Adapted) -> None:
    again = Adapted(adapted.model, adapted.method, tuple(adapted.settings))
    assert again == adapted and hash(again) == hash(adapted)


def test_it_starts_at_the_base_model_s_output(adapted: Adapted) -> None:
    x_BHWC = batch(adapted.model)["input"]
    base = adapted.model.module.apply(compiled_init(adapted.model)(0), x_BHWC)
    logits_BC, changed = adapted.apply(variables(adapted), x_BHWC)
    np.testing.assert_allclose(logits_BC, base, atol=1e-6)
    assert logits_BC.dtype == jnp.float32 and changed == {}


def test_adapters_leave_the_base_leaves_alone(adapted: Adapted) -> None:
    base = compiled_init(adapted.model)(0)
    whole = variables(adapted)
    assert differing(base, {key: whole[key] for key in base}) == set()
    assert whole.keys() - base.keys() <= {"adapters"}
    assert {leaf.dtype for leaf in jax.tree.leaves(whole)} == {jnp.dtype("float32")}


def test_the_head_starts_the_same_under_every_method(adapted: Adapted) -> None:
    full = variables(adapt("full", adapted.model))
    assert differing(full["params"]["head"], variables(adapted)["params"]["head"]) == set()


def test_adapters_follow_from_the_seed(adapted: Adapted) -> None:
    base = compiled_init(adapted.model)(0)
    one, again, other = (adapted.init_adapters(base, seed) for seed in (1, 1, 2))
    assert differing(one, variables(adapted)) == differing(one, again) == set()
    assert (differing(one, other) != set()) == ("adapters" in one)
    traced = jax.jit(adapted.init_adapters)(base, jnp.int32(1))
    for leaf, same in zip(jax.tree.leaves(one), jax.tree.leaves(traced), strict=True):
        np.testing.assert_allclose(leaf, same, atol=1e-6)


def test_shapes_are_known_before_any_arithmetic(adapted: Adapted) -> None:
    described = {path: (leaf.shape, leaf.dtype) for path, leaf in tree.flatten(adapted.abstract()).items()}
    assert described == {path: (leaf.shape, leaf.dtype) for path, leaf in tree.flatten(variables(adapted)).items()}


def test_labels_keep_the_promise(adapted: Adapted) -> None:
    labels = adapted.labels()
    labelled = {key: value for key, value in variables(adapted).items() if key != "batch_stats"}
    assert labels.keys() == tree.flatten(labelled).keys()
    assert {path for path, label in labels.items() if label != FROZEN} == promised(adapted) != set()
    heads = {path for path in labels if path.startswith("params/head/")}
    assert {labels[path] for path in heads} == {"head"}


def test_only_promised_leaves_change_and_all_of_them_do(adapted: Adapted) -> None:
    task = Task(adapted, ADAM, steps=STEPS)
    state, frozen = begin(task, make_hyper(0.05, weight_decay=0.3))
    for seed in range(STEPS):
        state, loss = compiled_step(task)(state, frozen, batch(adapted.model, seed=seed))
        assert np.isfinite(loss)
    labelled = {key: value for key, value in variables(adapted).items() if key != "batch_stats"}
    assert not state.diverged
    assert differing(labelled, combine(state.trainable, frozen)) == promised(adapted)


def test_the_optimizer_holds_promised_leaves_only(adapted: Adapted) -> None:
    task = Task(adapted, ADAM, steps=STEPS)
    state, _ = begin(task)
    moments = [path for path, leaf in tree.flatten(state.opt_state).items() if leaf.ndim]
    for path in tree.flatten(variables(adapted)):
        assert sum(moment.endswith(f"/{path}") for moment in moments) == (2 if path in promised(adapted) else 0)
    trainable = sum(tree.flatten(variables(adapted))[path].size for path in promised(adapted))
    labels = set(adapted.labels().values()) - {FROZEN}
    assert size_of(task).optimizer_bytes == tree.nbytes(state.opt_state) == 8 * trainable + 4 * (3 + len(labels))


def test_the_cut_lies_where_promised(adapted: Adapted) -> None:
    stages = adapted.model.stages
    assert adapted.cut() == tiny_method(adapted.method).cut(TINY_MODELS[adapted.model.name], stages)
    assert adapted.cut() == min(stages.index(path.split("/")[1]) for path in promised(adapted))


def test_training_cannot_reach_below_the_cut_and_does_right_above(adapted: Adapted) -> None:
    cut, x_BHWC = adapted.cut(), batch(adapted.model)["input"]
    moved = away(adapted, promised(adapted))
    below, below_moved = (adapted.apply(v, x_BHWC, last=cut)[0] for v in (variables(adapted), moved))
    assert np.array_equal(below, below_moved)
    above, above_moved = (adapted.apply(v, x_BHWC, last=cut + 1)[0] for v in (variables(adapted), moved))
    assert np.abs(above - above_moved).max() > 1e-3
    stats = tuple(key for key in moved if key == "batch_stats")
    training, changed = adapted.apply(moved, x_BHWC, last=cut, train=True, mutable=stats)
    assert np.array_equal(training, below)
    for key in stats:
        assert {path.split("/")[0] for path in differing(moved[key], changed[key])} <= {*adapted.model.stages[cut:]}


def test_any_two_runs_of_stages_make_the_whole(adapted: Adapted) -> None:
    moved, x_BHWC = away(adapted), batch(adapted.model)["input"]
    whole, _ = adapted.apply(moved, x_BHWC, scale=0.5)
    for k in range(len(adapted.model.stages) + 1):
        below, _ = adapted.apply(moved, x_BHWC, last=k, scale=0.5)
        assert np.array_equal(adapted.apply(moved, below, first=k, scale=0.5)[0], whole), k


def test_compiled_equals_eager(adapted: Adapted) -> None:
    moved, x_BHWC = away(adapted), batch(adapted.model)["input"]
    eager, _ = adapted.apply(moved, x_BHWC, scale=jnp.float32(0.5))
    compiled = jax.jit(lambda v, x, scale: adapted.apply(v, x, scale=scale)[0])(moved, x_BHWC, jnp.float32(0.5))
    np.testing.assert_allclose(compiled, eager, atol=1e-5)


def test_gradients_are_finite(adapted: Adapted) -> None:
    """Away from the zeros of a start; Adam's moments after one step are the gradients, clipped and scaled."""
    task = Task(adapted, ADAM, steps=STEPS)
    state, frozen = begin(task)
    moved = tree.flatten(away(adapted, promised(adapted)))
    start = tree.unflatten({path: moved[path] for path in tree.flatten(state.trainable)})
    after, loss = compiled_step(task)(state.replace(trainable=start), frozen, batch(adapted.model))
    assert np.isfinite(loss) and not after.diverged
    optimizer = tree.flatten(after.opt_state)
    moments = {path.partition("/mu/")[2]: leaf for path, leaf in optimizer.items() if "/mu/" in path}
    assert moments.keys() == promised(adapted)
    assert all(np.all(np.isfinite(leaf)) and np.any(leaf) for leaf in moments.values())

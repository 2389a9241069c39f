"""What every registered method promises on every registered model it applies to."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import (
    adapt,
    batch,
    compiled_forward,
    compiled_init,
    differing,
    matching,
    pairs,
    tiny_method,
    tiny_model,
    trained,
    variables,
)

from tlx import cut, tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.registry import METHODS
from tlx.config import RECIPE
from tlx.losses import cross_entropy
from tlx.optim import Optimizer
from tlx.partition import FROZEN, combine, kind_of
from tlx.step import Task
from tlx.study.cost import size_of

# Everything that has ever leaked into frozen leaves, at once: decay, clipping, a running mean, accumulation.
LEAKY = Optimizer(clip_norm=0.5, accumulate=2, ema=0.9, warmup=0.0, schedule="constant")
STEPS = 4
# Its paper holds the norm fixed when it differentiates, so its gradient is not that of its output.
DETACHED = ("dora",)


@pytest.fixture(params=pairs(), ids=lambda pair: "-".join(pair))
def adapted(request: pytest.FixtureRequest) -> Adapted:
    method, model = request.param
    return adapt(method, tiny_model(model))


@functools.cache
def leaky_run(adapted: Adapted) -> Any:
    return trained(Task(adapted, LEAKY, STEPS), rate=0.05, weight_decay=0.3)


def promised(adapted: Adapted) -> set[str]:
    """Paths of the leaves that the method promises to move."""
    labelled = {key: value for key, value in variables(adapted).items() if key in ("params", "adapters")}
    return matching(tiny_method(adapted.method).moves(adapted.model), labelled)


def away(adapted: Adapted, only: set[str]) -> dict[str, Any]:
    """The variables with noise on some leaves: as after some training."""
    rng = np.random.default_rng(3)
    leaves = tree.flatten(variables(adapted))
    noise = {path: jnp.asarray(rng.normal(0, 0.3, leaves[path].shape), jnp.float32) for path in sorted(only)}
    return tree.unflatten({path: leaf + noise[path] if path in noise else leaf for path, leaf in leaves.items()})


def gap(one: Any, other: Any) -> float:
    """The largest absolute difference between two trees."""
    gaps = jax.tree.map(lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max()), one, other)
    return max(jax.tree.leaves(gaps))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_is_described(name: str) -> None:
    method = METHODS[name]
    assert method.name == name and method.paper and method.trains
    for field_name, field in method.fields.items():
        assert field.check(field_name, field.default) == field.default
        assert field.doc
    own = method.defaults
    assert own.learning_rates == tuple(sorted(set(own.learning_rates))) and own.learning_rates[0] > 0
    for field_name in ("schedule", "optimizer", "warmup", "weight_decay"):
        assert RECIPE[field_name].check(field_name, getattr(own, field_name)) == getattr(own, field_name)
    assert (method.examples in ("source", "target")) == (method.calibrate is not None)


def test_it_starts_at_the_base_model_s_output_or_says_why_not(adapted: Adapted) -> None:
    x = batch(adapted.model)["input"]
    base, _ = compiled_forward(adapt("full", adapted.model))(compiled_init(adapted.model)(0), x)
    logits_BC, changed = compiled_forward(adapted)(variables(adapted), x)
    assert logits_BC.dtype == jnp.float32 and changed == {} and np.all(np.isfinite(logits_BC))
    if METHODS[adapted.method].starts_elsewhere:
        assert gap(logits_BC, base) > 1e-6
    else:
        np.testing.assert_allclose(logits_BC, base, atol=1e-5)


def test_it_leaves_the_base_leaves_alone(adapted: Adapted) -> None:
    base, whole = compiled_init(adapted.model)(0), variables(adapted)
    assert differing(base, {key: whole[key] for key in base}) == set()
    assert whole.keys() - base.keys() <= {"adapters", "reference"}
    dtypes = {path: str(leaf.dtype) for path, leaf in tree.flatten(whole).items()}
    assert {dtypes[path] for path in promised(adapted)} == {"float32"}
    assert set(dtypes.values()) <= {"float32", "int32"}


def test_adapters_follow_from_the_seed_alone(adapted: Adapted) -> None:
    base = compiled_init(adapted.model)(0)
    again = adapted.init_adapters(base, 1)
    assert differing(again, variables(adapted)) == set()
    described = {path: (leaf.shape, leaf.dtype) for path, leaf in tree.flatten(adapted.abstract()).items()}
    assert described == {path: (leaf.shape, leaf.dtype) for path, leaf in tree.flatten(again).items()}


def test_labels_keep_the_promise(adapted: Adapted) -> None:
    labels = adapted.labels()
    whole = variables(adapted)
    assert labels.keys() == tree.flatten({key: whole.get(key, {}) for key in ("params", "adapters")}).keys()
    assert {path for path, label in labels.items() if label != FROZEN} == promised(adapted) != set()
    assert {kind_of(label) for label in labels.values()} <= {"frozen", "train", "head", "adapter"}
    for phase in range(len(adapted.phases)):
        opened = {path for path, label in adapted.labels(phase).items() if label != FROZEN}
        assert set() != opened <= promised(adapted)
    assert opened == promised(adapted)


def test_the_cut_lies_where_promised(adapted: Adapted) -> None:
    assert adapted.cut() == tiny_method(adapted.method).cut(adapted.model)


def test_only_promised_leaves_change_and_all_of_them_do(adapted: Adapted) -> None:
    before, state, frozen = leaky_run(adapted)
    assert not state.diverged
    after = combine(state.trainable, state.stats, frozen)
    updated = {path for path, label in adapted.stat_labels().items() if label != FROZEN}
    assert differing(before, after) == promised(adapted) | updated
    trainable = tree.flatten(state.trainable)
    assert trainable.keys() == tree.flatten(state.ema).keys() == promised(adapted)
    assert differing(state.trainable, state.ema) == promised(adapted)


def test_the_optimizer_holds_promised_leaves_only(adapted: Adapted) -> None:
    _, state, _ = leaky_run(adapted)
    held = [path for path, leaf in tree.flatten(state.opt_state).items() if leaf.ndim]
    every = tree.flatten(variables(adapted))
    owners = {path for path in every for moment in held if moment.endswith(f"/{path}")}
    assert owners == promised(adapted)
    moments = [moment for moment in held if "/mu/" in moment or "/nu/" in moment]
    assert len(moments) == 2 * len(promised(adapted))
    size = size_of(Task(adapted, Optimizer(), STEPS))
    assert size.optimizer_bytes == tree.nbytes(state.opt_state)
    assert size.trainable == sum(every[path].size for path in promised(adapted))


@pytest.mark.thorough
def test_what_can_be_kept_at_the_cut_is_what_the_whole_tree_gives_there(adapted: Adapted) -> None:
    """Adapters away from their start, so that one that acts below shows."""
    depth, whole, x = adapted.cut(), away(adapted, promised(adapted)), batch(adapted.model)["input"]
    if not depth:
        pytest.skip("nothing lies below")
    below = cut.below(adapted, depth)
    own = cut.leaves_below(below, whole, depth)
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), below.abstract())
    kept, _ = compiled_forward(below, last=depth)(tree.unflatten({**tree.flatten(blank), **tree.flatten(own)}), x)
    there, _ = compiled_forward(adapted, last=depth)(whole, x)
    assert gap(kept, there) == 0.0


@pytest.mark.thorough
def test_training_reaches_just_above_the_cut_and_not_below(adapted: Adapted) -> None:
    cut, x = adapted.cut(), batch(adapted.model)["input"]
    moved = away(adapted, promised(adapted))
    for last, reaches in ((cut, False), (cut + 1, True)):
        one, other = (compiled_forward(adapted, last=last)(v, x)[0] for v in (variables(adapted), moved))
        assert (gap(one, other) > 1e-4) == reaches


@pytest.mark.thorough
def test_any_two_runs_of_stages_make_the_whole(adapted: Adapted) -> None:
    moved, x = away(adapted, promised(adapted)), batch(adapted.model)["input"]
    whole, _ = compiled_forward(adapted)(moved, x)
    for k in {adapted.cut(), len(adapted.model.stages) // 2}:
        below, _ = compiled_forward(adapted, last=k)(moved, x)
        np.testing.assert_allclose(compiled_forward(adapted, first=k)(moved, below)[0], whole, atol=2e-5)


@pytest.mark.thorough
def test_gradients_are_those_of_finite_differences(adapted: Adapted) -> None:
    """Along a direction of all leaves that move, half random and half uphill, away from the zeros of a start."""
    if adapted.method in DETACHED:
        pytest.skip("its gradient is not its output's, by design; tests/adapt holds it to the paper's formula")
    data = batch(adapted.model)
    moved = tree.flatten(away(adapted, promised(adapted)))
    point = {path: moved[path] for path in sorted(promised(adapted))}
    rest = {path: leaf for path, leaf in moved.items() if path not in point}

    @jax.jit
    def slope(point: dict[str, Any], size: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys = jax.random.split(jax.random.key(5), len(point))
        drawn = {path: jax.random.normal(key, point[path].shape) for path, key in zip(point, keys, strict=True)}

        def loss(leaves: dict[str, Any]) -> jax.Array:
            logits_BC, _ = adapted.apply(tree.unflatten({**rest, **leaves}), data["input"])
            return jnp.mean(cross_entropy(logits_BC, data["label"]))

        grads = jax.grad(loss)(point)
        way = jax.tree.map(jnp.add, unit(drawn), unit(grads))
        ends = [{path: leaf + t * way[path] for path, leaf in point.items()} for t in (size, -size)]
        ahead, behind = jax.lax.map(loss, jax.tree.map(lambda *leaves: jnp.stack(leaves), *ends))
        return optax.tree.vdot(grads, way), (ahead - behind) / (2 * size)

    exact, measured = slope(point, jnp.float32(3e-3))
    assert exact > 1e-3
    # A loss near 1 has an error of 1e-7 or so, and the difference that of two of them over 6e-3.
    np.testing.assert_allclose(exact, measured, rtol=0.03, atol=1e-4)


def unit(leaves: dict[str, Any]) -> dict[str, Any]:
    """The same direction, with length 1."""
    length = optax.tree.norm(leaves)
    return {path: leaf / length for path, leaf in leaves.items()}

"""What every method promises beside training: its cost, its artifact, its merge, and how it may be run."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import (
    CLASSES,
    adapt,
    batch,
    begin,
    compiled_forward,
    compiled_init,
    compiled_step,
    differing,
    pairs,
    tiny_model,
    trained,
    variables,
)

from tlx import artifact, tree
from tlx.adapt import merging
from tlx.adapt.adapted import Adapted
from tlx.adapt.hooks import Moment
from tlx.adapt.registry import METHODS
from tlx.errors import CheckpointError, ConfigError
from tlx.optim import Optimizer
from tlx.partition import FROZEN, combine
from tlx.sharding import Jit, flops_of
from tlx.state import make_hyper
from tlx.step import Task, train_step

pytestmark = pytest.mark.thorough

PLAIN = Optimizer(clip_norm=0.0, warmup=0.0, schedule="constant")
FLOPS_BATCH = 32
RATE_A_BLOCK = ("llrd", "ulmfit")


@pytest.fixture(params=pairs(sample=True), ids=lambda pair: "-".join(pair))
def adapted(request: pytest.FixtureRequest) -> Adapted:
    """All of this takes seconds a pair: every method on one model, the basic ones on all."""
    method, model = request.param
    return adapt(method, tiny_model(model))


@functools.cache
def run(adapted: Adapted) -> Any:
    return trained(Task(adapted, PLAIN, 4), rate=0.02)


def after(adapted: Adapted) -> dict[str, Any]:
    """All leaves after a short run."""
    _, state, frozen = run(adapted)
    return combine(state.trainable, state.stats, frozen)


@pytest.fixture
def compiled_well() -> Iterator[None]:
    """The operations of a program depend on how well it is compiled."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


def by_hand(task: Task) -> Any:
    """A step of Adam on the leaves that move and nothing else, without any of tlx's machinery around the model."""
    adapted, head = task.adapted, len(task.adapted.model.stages) - 1

    def loss(some: Any, rest: Any, stats: Any, data: Any, scale: jax.Array) -> tuple[jax.Array, Any]:
        whole = combine(some, rest, stats)
        settings: dict[str, Any] = {"train": True, "phase": task.phase, "rng": jax.random.key(0), "scale": scale}
        features, stats = adapted.apply(whole, data["input"], last=head, **settings)
        logits_BC, _ = adapted.apply(whole, features, first=head, **settings)
        picked = jnp.sum(jax.nn.log_softmax(logits_BC) * jax.nn.one_hot(data["label"], CLASSES), axis=-1)
        moment = Moment(adapted.model, whole, adapted.labels(task.phase), data, 0, features, logits_BC)
        extra = [method.penalty(own, moment) for method, own in adapted.parts if method.penalty]
        return sum(extra, -jnp.mean(picked)), stats

    def step(some: Any, rest: Any, stats: Any, mean: Any, square: Any, data: Any, scale: jax.Array) -> Any:
        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(some, rest, stats, data, scale)
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, square, grads)
        new = jax.tree.map(
            lambda p, m, v: p - 0.01 * (m / 0.1 / (jnp.sqrt(v / 0.001) + 1e-8) + 0.1 * p), some, mean, square
        )
        return value, stats, new, mean, square

    return step


def test_a_step_costs_what_it_would_by_hand(adapted: Adapted, compiled_well: None) -> None:
    task = Task(adapted, PLAIN, 4)
    task = task.at(4)
    state, frozen = begin(task)
    data = batch(adapted.model, FLOPS_BATCH)
    ours = flops_of(jax.jit(functools.partial(train_step, task)).lower(state, frozen, data).compile())
    some, rest, stats = state.trainable, frozen, state.stats
    theirs = flops_of(jax.jit(by_hand(task)).lower(some, rest, stats, some, some, data, jnp.ones(())).compile())
    # What tlx adds by design: the norms that guard against divergence, some operations for each moving leaf, and
    # whatever a method does to the update itself.
    moving = tree.count(some)
    wrapped = any(method.wrap for method, _ in adapted.parts)
    assert ours <= 1.02 * theirs + (40 if wrapped else 12) * moving
    assert ours >= 0.98 * theirs


def test_an_artifact_gives_the_same_output_on_its_base_and_refuses_another(adapted: Adapted, tmp_path: Path) -> None:
    whole, base = after(adapted), compiled_init(adapted.model)(0)
    artifact.save(tmp_path / "one", adapted, whole, {"source": "here"})
    loaded = artifact.load(tmp_path / "one", base)
    assert loaded.adapted == adapted and loaded.lineage == {"source": "here"}
    own = {key: value for key, value in whole.items() if key != "reference"}
    assert differing(own, loaded.variables) == set()
    x = batch(adapted.model)["input"]
    assert np.array_equal(compiled_forward(adapted)(loaded.variables, x)[0], compiled_forward(adapted)(own, x)[0])
    frozen = [path for path, label in adapted.labels().items() if label == FROZEN and path.startswith("params/")]
    if frozen:
        leaves = tree.flatten(base)
        other = tree.unflatten({**leaves, frozen[-1]: leaves[frozen[-1]] + 1e-6})
        with pytest.raises(CheckpointError, match="another base"):
            artifact.load(tmp_path / "one", other)


def test_merged_it_computes_the_same_and_unmerged_it_is_the_base(adapted: Adapted) -> None:
    whole = {key: value for key, value in after(adapted).items() if key != "reference"}
    method = METHODS[adapted.method]
    cannot = method.merge is None or (method.interceptor and not adapted.model.kind.folds)
    if "adapters" in whole and cannot:
        with pytest.raises(ConfigError):
            merging.merge(adapted, whole)
        return
    merged = merging.merge(adapted, whole)
    x = batch(adapted.model)["input"]
    plain, _ = compiled_forward(adapt("full", adapted.model))(merged.variables, x)
    np.testing.assert_allclose(plain, compiled_forward(adapted)(whole, x)[0], atol=2e-5)
    assert merging.gap(adapted, whole, merged, x) <= 2e-5
    model_s = {key: value for key, value in whole.items() if key != "adapters"}
    assert differing(merging.unmerge(merged), model_s) == set()


def test_members_under_vmap_compute_what_each_computes_alone(adapted: Adapted) -> None:
    before, x = variables(adapted), batch(adapted.model)["input"]
    trainable, stats, frozen = adapted.split(after(adapted))
    begun, begun_stats, _ = adapted.split(before)
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), (trainable, stats), (begun, begun_stats))
    forward = jax.jit(jax.vmap(lambda some: adapted.apply(combine(*some, frozen), x)[0]))(together)
    for k, some in enumerate(((trainable, stats), (begun, begun_stats))):
        np.testing.assert_allclose(forward[k], compiled_forward(adapted)(combine(*some, frozen), x)[0], atol=1e-5)


def test_a_step_over_several_devices_is_a_step_on_one(adapted: Adapted) -> None:
    task = Task(adapted, PLAIN, 4).at(0)
    state, frozen = begin(task, make_hyper(0.02))
    data = batch(adapted.model)
    alone, loss = compiled_step(task)(state, frozen, data)
    place = Jit(data=2, fsdp=2)
    args = (place.state(state), place.shared(frozen), place.batch(data))
    spread, same = jax.jit(functools.partial(train_step, task))(*args)
    np.testing.assert_allclose(loss, same, rtol=1e-5)
    gaps = jax.tree.map(lambda a, b: float(jnp.abs(a - np.asarray(b)).max()), alone.stats, spread.stats)
    assert max(jax.tree.leaves(gaps), default=0.0) < 1e-4


# What they move is a number of stages, and all scanned blocks are one.
COUNT_STAGES = ("top", "freeze_first", "side")


def with_effect(trainable: dict[str, Any]) -> dict[str, Any]:
    """Leaves by path, less the biases of keys: softmax ignores them, so Adam follows the sign of rounding errors."""
    return {path: leaf for path, leaf in tree.flatten(trainable).items() if not path.endswith("/key/bias")}


@pytest.mark.parametrize("change", ["remat", "scan"])
def test_it_works_on_layers_that_are_recomputed_or_scanned(adapted: Adapted, change: str) -> None:
    if change not in dict(adapted.model.settings):
        pytest.skip(f"{adapted.model.name} has no {change}")
    if change == "scan" and any(f"block_{i}" in str(adapted.settings) for i in range(9)):
        pytest.skip("its settings name a block that a scan folds into one stage")
    model = tiny_model(adapted.model.name, **{change: True})
    other = Adapted(model, adapted.method, adapted.settings)
    if change == "scan" and adapted.method in RATE_A_BLOCK:
        with pytest.raises(ConfigError, match="name: each block needs a rate of its own, but .* has scan=True"):
            other.lr_scale()
        return
    before, state, frozen = trained(Task(other, PLAIN, 4), rate=0.02)
    moved = differing(before, combine(state.trainable, state.stats, frozen))
    labels = {**other.labels(), **other.stat_labels()}
    assert moved == {path for path, label in labels.items() if label != FROZEN}
    if change == "remat":
        ends = [with_effect(each.trainable) for each in (run(adapted)[1], state)]
        assert optax.tree.norm(optax.tree.sub(*ends)) < 1e-3 * optax.tree.norm(ends[0])
    else:
        blocks = [path for path in moved if "/blocks/" in path]
        every = [path for path, label in adapted.labels().items() if "/block_" in path and label != FROZEN]
        # A network that makes the prefixes of all blocks is no block's own.
        of_blocks = [path for path in every if "/prefix/" not in path]
        depth = dict(model.settings)["depth"]
        if adapted.method not in COUNT_STAGES:
            assert len(blocks) * depth == len(of_blocks)
        assert all(len(tree.flatten(before)[path]) == depth for path in blocks)

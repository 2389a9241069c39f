"""AdaLoRA: the update, the penalty, and a budget of ranks that ends where it should, against the paper by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import ADAM, adapt, batch, begin, compiled_init, compiled_step, tiny_model, variables

from tlx import tree
from tlx.adapt.adalora import ADALORA, budget, wrap
from tlx.adapt.adapted import Adapted
from tlx.adapt.hooks import Moment
from tlx.adapt.merging import merge
from tlx.errors import ConfigError
from tlx.fields import check_fields
from tlx.state import from_tree, make_hyper, to_tree
from tlx.step import Task

TARGETS = [f"block_{i}/attention/{name}" for i in (0, 1) for name in ("query", "value")]
FACTOR = 6.0 / 3


def adalora(**settings: Any) -> Adapted:
    return adapt("adalora", **{"rank": 3, "target_rank": 2, "alpha": 6.0, **settings})


def settings_of(**given: Any) -> dict[str, Any]:
    return check_fields("method", ADALORA.fields, given)


def moved(adapted: Adapted) -> dict[str, Any]:
    rng, whole = np.random.default_rng(0), variables(adapted)
    adapters = jax.tree.map(lambda leaf: leaf + jnp.asarray(rng.normal(0, 0.4, leaf.shape), "f4"), whole["adapters"])
    return {**whole, "adapters": adapters}


def test_leaves_and_their_starts() -> None:
    adapted = adapt("adalora", tiny_model(width=64, depth=1), rank=32, target_rank=8, target=".*/(query|up)")
    sides = tree.flatten(adapted.init_adapters(compiled_init(adapted.model)(0), 0)["adapters"])
    shapes = {path.removeprefix("block_0/"): leaf.shape for path, leaf in sides.items()}
    assert shapes == {
        "attention/query/lora_a": (64, 32),
        "attention/query/lora_e": (32,),
        "attention/query/lora_b": (32, 64),
        "mlp/up/lora_a": (64, 32),
        "mlp/up/lora_e": (32,),
        "mlp/up/lora_b": (32, 256),
    }
    drawn = {path: np.asarray(leaf) for path, leaf in sides.items() if leaf.ndim == 2}
    for leaf in drawn.values():
        # 2048 draws or more: mean and spread within five standard errors.
        assert abs(leaf.mean()) < 5 * 0.02 / np.sqrt(leaf.size)
        assert leaf.std() == pytest.approx(0.02, rel=0.08) and np.abs(leaf).max() > 0.05
    assert len({leaf.tobytes() for leaf in drawn.values()}) == 4
    assert not any(np.any(leaf) for path, leaf in sides.items() if path.endswith("lora_e"))


def test_it_equals_the_updated_kernel_and_merges() -> None:
    adapted = adalora()
    whole, data = moved(adapted), batch(adapted.model)

    def oracle(adapters: Any, scale: float) -> jax.Array:
        leaves, sides = dict(tree.flatten(whole["params"])), tree.flatten(adapters)
        for path in TARGETS:
            p, e, q = (sides[f"{path}/lora_{name}"] for name in "aeb")
            leaves[f"{path}/kernel"] += scale * FACTOR * p @ jnp.diag(e) @ q
        return adapted.model.module.apply({"params": tree.unflatten(leaves)}, data["input"])

    def ours(adapters: Any) -> jax.Array:
        return adapted.apply({**whole, "adapters": adapters}, data["input"], scale=jnp.float32(0.5))[0]

    np.testing.assert_allclose(ours(whole["adapters"]), oracle(whole["adapters"], 0.5), atol=1e-5)
    grads = jax.grad(lambda adapters: jnp.sum(jnp.sin(ours(adapters))))(whole["adapters"])
    wanted = jax.grad(lambda adapters: jnp.sum(jnp.sin(oracle(adapters, 0.5))))(whole["adapters"])
    for path, want in tree.flatten(wanted).items():
        assert np.abs(want).max() > 1e-4
        np.testing.assert_allclose(tree.flatten(grads)[path], want, atol=1e-5, err_msg=path)
    plain_BC = adapted.model.module.apply(merge(adapted, whole).variables, data["input"])
    np.testing.assert_allclose(plain_BC, oracle(whole["adapters"], 1.0), atol=1e-5)


def moment(adapters: dict[str, Any]) -> Moment:
    return Moment(tiny_model(), {"adapters": adapters}, {}, {}, 0, None, jnp.zeros((1, 3)))


def test_the_penalty_is_how_far_both_sides_are_from_orthogonal() -> None:
    rng = np.random.default_rng(0)
    sides = {
        name: {"lora_a": rng.normal(0, 1, (i, 2)), "lora_e": np.ones(2), "lora_b": rng.normal(0, 1, (2, o))}
        for name, i, o in (("one", 4, 3), ("two", 5, 6))
    }
    expected = 0.0
    for own in sides.values():
        p, q = own["lora_a"], own["lora_b"]
        for r in range(2):
            for s in range(2):
                expected += (sum(p[:, r] * p[:, s]) - (r == s)) ** 2 + (sum(q[r] * q[s]) - (r == s)) ** 2
    adapters = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), sides)
    found = ADALORA.penalty(settings_of(orthogonality=0.3), moment(adapters))
    assert found.shape == () and float(found) == pytest.approx(0.3 * expected, rel=1e-5)
    stacked = {"blocks": jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), adapters["one"])}
    alone, twice = (ADALORA.penalty(settings_of(), moment(each)) for each in ({"one": adapters["one"]}, stacked))
    assert float(twice) == pytest.approx(2 * float(alone), rel=1e-5)
    straight = {"one": {"lora_a": jnp.eye(4, 2), "lora_e": jnp.ones(2), "lora_b": jnp.eye(2, 3)}}
    assert ADALORA.penalty(settings_of(), moment(straight)) == 0.0
    other_method = {"two": {"lora_a": jnp.ones((4, 2)), "lora_b": jnp.ones((2, 3))}}
    assert ADALORA.penalty(settings_of(), moment({**straight, **other_method})) == 0.0


@pytest.mark.parametrize(
    ("step", "left"),
    # 4 layers of rank 12 to a mean of 8: 32 + 16 ((70 - t) / 60)³, rounded down, between steps 10 and 70 of 100.
    [(0, 48), (10, 48), (11, 47), (25, 38), (40, 34), (55, 32), (69, 32), (70, 32), (100, 32)],
)
def test_the_budget_falls_with_the_cube_of_what_is_left(step: int, left: int) -> None:
    settings = settings_of(tinit=0.1, tfinal=0.3)
    assert int(budget(settings, 100, 4, step)) == left
    assert int(jax.jit(lambda t: budget(settings, 100, 4, t))(jnp.int32(step))) == left


def fresh(seed: int, stacked: bool = False) -> dict[str, Any]:
    """Two layers of eight triplets each, and a leaf of no triplet; stacked they are one scanned layer."""
    rng = np.random.default_rng(seed)
    layer = {"lora_a": (4, 8), "lora_e": (8,), "lora_b": (8, 5)}
    layers = [{name: rng.normal(0, 1, shape) for name, shape in layer.items()} for _ in range(2)]
    if stacked:
        own = {"blocks": {name: np.stack([one[name] for one in layers]) for name in layer}}
    else:
        own = {f"block_{i}": one for i, one in enumerate(layers)}
    nested = {"adapters": own, "params": {"head": {"bias": rng.normal(0, 1, 2)}}}
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), nested)


def by_hand(steps: int, settings: dict[str, Any], rate: float, prunes: dict[int, int], final: int) -> Any:
    """Gradient descent with the paper's importance, layer by layer in NumPy.

    `prunes` says how many triplets stay at each step that prunes; from `final` on what is gone is held at zero.
    """
    leaves = {path: np.asarray(leaf, np.float64) for path, leaf in tree.flatten(fresh(0)).items()}
    mean, spread = ({path: np.zeros_like(leaf) for path, leaf in leaves.items()} for _ in range(2))
    gone: list[tuple[str, int]] = []
    for step in range(1, steps + 1):
        grads = {path: np.asarray(leaf, np.float64) for path, leaf in tree.flatten(fresh(step)).items()}
        for path, leaf in leaves.items():
            now = np.abs(leaf * grads[path])
            mean[path] = settings["beta1"] * mean[path] + (1 - settings["beta1"]) * now
            spread[path] = settings["beta2"] * spread[path] + (1 - settings["beta2"]) * np.abs(now - mean[path])
            leaves[path] = leaf - rate * grads[path]
        if step in prunes:
            scores = {}
            for block in ("block_0", "block_1"):
                score = {n: mean[f"adapters/{block}/lora_{n}"] * spread[f"adapters/{block}/lora_{n}"] for n in "aeb"}
                for r in range(8):
                    scores[f"adapters/{block}/lora_e", r] = (
                        score["e"][r] + score["a"][:, r].mean() + score["b"][r].mean()
                    )
            gone = sorted(scores, key=scores.__getitem__)[: len(scores) - prunes[step]]
        for path, r in gone if step in prunes or step >= final else []:
            leaves[path][r] = 0.0
    return leaves, mean, spread


def descend(steps: int, settings: dict[str, Any], rate: float, stacked: bool = False) -> tuple[Any, Any]:
    """Gradient descent with pruning, and its state."""
    rule = wrap(settings, steps)(optax.sgd(rate))
    params = fresh(0, stacked)
    state = rule.init(params)
    update = jax.jit(rule.update)
    for step in range(1, steps + 1):
        updates, state = update(fresh(step, stacked), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


# 16 triplets to 6 between steps 2 and 8 of 12: floor(6 + 10 ((8 - t) / 6)³), at every second step.
SETTINGS = settings_of(rank=8, target_rank=3, tinit=1 / 6, tfinal=1 / 3, every=2, beta1=0.7, beta2=0.6)
PRUNES = {4: 8, 6: 6, 8: 6}


@pytest.mark.parametrize("steps", [3, 4, 5, 6, 8, 9, 12])
def test_pruning_follows_the_importance_of_the_paper(steps: int) -> None:
    """A step that prunes, the steps between, in which what is gone grows again, and the end, in which it does not."""
    rule, params = wrap(SETTINGS, 12)(optax.sgd(0.05)), fresh(0)
    state = rule.init(params)
    for step in range(1, steps + 1):
        updates, state = rule.update(fresh(step), state, params)
        params = optax.apply_updates(params, updates)
    expected, mean, spread = by_hand(steps, SETTINGS, 0.05, PRUNES, final=8)
    for path, leaf in tree.flatten(params).items():
        np.testing.assert_allclose(leaf, expected[path], atol=1e-5, err_msg=path)
    for path, leaf in tree.flatten(state.sensitivity).items():
        np.testing.assert_allclose(leaf, mean[path], atol=1e-5, err_msg=path)
        np.testing.assert_allclose(tree.flatten(state.uncertainty)[path], spread[path], atol=1e-5, err_msg=path)
    zeros = sum(int(np.sum(leaf == 0)) for path, leaf in tree.flatten(params).items() if path.endswith("lora_e"))
    assert zeros == {4: 8, 6: 10, 8: 10, 9: 10, 12: 10}.get(steps, 0)


def test_scanned_layers_are_pruned_as_separate_ones() -> None:
    apart, _ = descend(12, SETTINGS, 0.05)
    stacked, _ = descend(12, SETTINGS, 0.05, stacked=True)
    for name in ("lora_a", "lora_e", "lora_b"):
        together = jnp.stack([apart["adapters"][block][name] for block in ("block_0", "block_1")])
        np.testing.assert_allclose(stacked["adapters"]["blocks"][name], together, atol=1e-6)


def test_equally_important_triplets_do_not_overrun_the_budget() -> None:
    """Without any gradient all are equal; the first by path and place stay."""
    rule, params = wrap(SETTINGS, 1)(optax.sgd(0.05)), fresh(0)
    updates, state = rule.update(jax.tree.map(jnp.zeros_like, params), rule.init(params), params)
    params = optax.apply_updates(params, updates)
    assert [bool(e != 0) for e in params["adapters"]["block_0"]["lora_e"]] == [True] * 6 + [False] * 2
    assert not np.any(params["adapters"]["block_1"]["lora_e"])
    assert int(state.done) == 1


def test_without_triplets_the_optimizer_is_as_it_was() -> None:
    params = {"params": {"head": {"bias": jnp.ones(2)}}}
    rule = wrap(SETTINGS, 1)(optax.sgd(0.5))
    updates, _ = rule.update(params, rule.init(params), params)
    np.testing.assert_array_equal(updates["params"]["head"]["bias"], [-0.5, -0.5])


def end_of(task: Task, state: Any, frozen: Any, first: int, step: Any) -> Any:
    for seed in range(first, task.steps):
        state, _ = step(state, frozen, batch(task.adapted.model, seed=seed))
    return state


def alive(trainable: Any) -> int:
    return sum(int(np.sum(leaf != 0)) for path, leaf in tree.flatten(trainable).items() if path.endswith("lora_e"))


def test_a_run_ends_with_exactly_the_target_and_resumes_to_the_same_bits() -> None:
    task = Task(adalora(every=2, tinit=0.2, tfinal=0.2), ADAM, steps=10)
    state, frozen = begin(task, make_hyper(0.05))
    assert alive(state.trainable) == 0
    for seed in range(5):
        state, _ = compiled_step(task)(state, frozen, batch(task.adapted.model, seed=seed))
    assert alive(state.trainable) == 12
    resumed = from_tree(state, jax.tree.map(np.asarray, to_tree(state)))
    one, other = (end_of(task, start, frozen, 5, compiled_step(task)) for start in (state, resumed))
    assert alive(one.trainable) == 2 * len(TARGETS)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.array_equal(a, b)


def test_runs_side_by_side_prune_as_runs_alone() -> None:
    """Two runs of different importance and different gradients, mapped over, at a step that prunes and one after."""
    rule = wrap(SETTINGS, 12)(optax.sgd(0.05))

    def run(params: Any, grads: Any) -> Any:
        state = rule.init(params)
        for step in range(5):
            updates, state = rule.update(jax.tree.map(lambda leaf, step=step: leaf[step], grads), state, params)
            params = optax.apply_updates(params, updates)
        return params, state

    def stack(trees: Any) -> Any:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    starts = [fresh(0), fresh(50)]
    grads = [stack([fresh(seed + step) for step in range(1, 6)]) for seed in (0, 50)]
    both = jax.jit(jax.vmap(run))(stack(starts), stack(grads))
    kept = []
    for m in (0, 1):
        alone = run(starts[m], grads[m])
        for path, leaf in tree.flatten(alone).items():
            np.testing.assert_allclose(tree.flatten(both)[path][m], leaf, atol=1e-6, err_msg=path)
        kept.append(np.concatenate(jax.tree.leaves(alone[1].keep)))
    assert kept[0].sum() == kept[1].sum() == 8 and np.any(kept[0] != kept[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_rank": 4}, "target_rank: expected at most the rank 3, got 4"),
        ({"tinit": 0.6, "tfinal": 0.5}, r"tinit: expected tinit \+ tfinal to be at most 1, got 0.6 \+ 0.5"),
        ({"rank": 17}, "rank: expected at most 16 for 'block_0/attention/query', got 17"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        adalora(**settings).labels()

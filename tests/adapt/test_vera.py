"""VeRA: one pair of random matrices, the same for every layer and seed; two trained vectors for each layer."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import adapt, batch, compiled_init, differing, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.merging import merge
from tlx.adapt.vera import VERA
from tlx.errors import ConfigError

TARGETS = {
    f"block_{i}/{name}": sizes
    for i in (0, 1)
    for name, sizes in {"attention/query": (16, 16), "mlp/up": (16, 64), "mlp/down": (64, 16)}.items()
}


def vera(**settings: Any) -> Adapted:
    return adapt("vera", **{"rank": 24, "target": ".*/(query|up|down)", **settings})


def moved(adapted: Adapted) -> dict[str, Any]:
    rng, whole = np.random.default_rng(0), variables(adapted)
    sides = tree.flatten(whole["adapters"])
    noise = {path: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32) for path, leaf in sides.items()}
    sides = {path: leaf if path.startswith("vera/") else leaf + noise[path] for path, leaf in sides.items()}
    return {**whole, "adapters": tree.unflatten(sides)}


def updates(sides: dict[str, jax.Array]) -> dict[str, np.ndarray]:
    """What each kernel gains, by hand: a sum over ranks of outer products."""
    a_IR, b_RO = (np.asarray(sides[f"vera/{side}"]) for side in "ab")
    found = {}
    for path, (inputs, outputs) in TARGETS.items():
        d_R, b_O = np.asarray(sides[f"{path}/vera_d"]), np.asarray(sides[f"{path}/vera_b"])
        found[path] = sum(d_R[r] * np.outer(a_IR[:inputs, r], b_RO[r, :outputs] * b_O) for r in range(len(d_R)))
    return found


def test_leaves_and_their_starts() -> None:
    sides = tree.flatten(variables(vera(d_start=0.25))["adapters"])
    vectors = {f"{path}/vera_d": (24,) for path in TARGETS} | {f"{p}/vera_b": (o,) for p, (_, o) in TARGETS.items()}
    shapes = {path: leaf.shape for path, leaf in sides.items()}
    assert shapes == {**vectors, "vera/a": (64, 24), "vera/b": (24, 64)}
    for path in TARGETS:
        assert np.all(sides[f"{path}/vera_d"] == 0.25) and not np.any(sides[f"{path}/vera_b"])


@pytest.mark.parametrize("rank", [24, 256])
def test_the_shared_matrices_are_kaiming_uniform(rank: int) -> None:
    shared = variables(vera(rank=rank))["adapters"]["vera"]
    for leaf, fan_in in ((shared["a"], 64), (shared["b"], rank)):
        drawn, bound = np.asarray(leaf).ravel(), math.sqrt(6 / fan_in)
        assert 0.98 * bound < np.abs(drawn).max() <= bound
        # Mean and spread of a uniform within five standard errors.
        assert abs(drawn.mean()) < 5 * bound / math.sqrt(3 * drawn.size)
        assert drawn.std() == pytest.approx(bound / math.sqrt(3), rel=0.06)
    assert abs(np.corrcoef(np.ravel(shared["a"]), np.ravel(shared["b"].T))[0, 1]) < 5 / math.sqrt(64 * rank)


def test_the_shared_matrices_do_not_depend_on_the_seed() -> None:
    adapted = vera()
    base = compiled_init(adapted.model)(0)
    shared = [adapted.init_adapters(base, seed)["adapters"]["vera"] for seed in (1, 2)]
    shared.append(adapted.init_adapters(compiled_init(adapted.model)(5), 1)["adapters"]["vera"])
    assert differing(shared[0], shared[1]) == differing(shared[0], shared[2]) == set()


def test_it_equals_the_formula() -> None:
    """Outputs, and gradients with respect to every vector, of a model with updated kernels."""
    adapted = vera()
    whole, data = moved(adapted), batch(adapted.model)
    params = tree.flatten(whole["params"])
    leaves = dict(params)
    for path, update in updates(tree.flatten(whole["adapters"])).items():
        leaves[f"{path}/kernel"] = leaves[f"{path}/kernel"] + 0.5 * update
    expected_BC = adapted.model.module.apply({"params": tree.unflatten(leaves)}, data["input"])

    def logits(adapters: Any) -> jax.Array:
        return adapted.apply({**whole, "adapters": adapters}, data["input"], scale=jnp.float32(0.5))[0]

    np.testing.assert_allclose(logits(whole["adapters"]), expected_BC, atol=1e-5)
    base_BC = adapted.model.module.apply({"params": whole["params"]}, data["input"])
    assert np.abs(expected_BC - base_BC).max() > 0.02

    def oracle(sides: dict[str, jax.Array]) -> jax.Array:
        leaves = dict(params)
        for path, (inputs, outputs) in TARGETS.items():
            left = sides["vera/a"][:inputs] @ jnp.diag(sides[f"{path}/vera_d"])
            right = sides["vera/b"][:, :outputs] @ jnp.diag(sides[f"{path}/vera_b"])
            leaves[f"{path}/kernel"] = leaves[f"{path}/kernel"] + 0.5 * left @ right
        return adapted.model.module.apply({"params": tree.unflatten(leaves)}, data["input"])

    grads = tree.flatten(jax.grad(lambda adapters: jnp.sum(jnp.sin(logits(adapters))))(whole["adapters"]))
    wanted = jax.grad(lambda sides: jnp.sum(jnp.sin(oracle(sides))))(tree.flatten(whole["adapters"]))
    for path in (f"{path}/vera_{name}" for path in TARGETS for name in "db"):
        assert np.abs(wanted[path]).max() > 1e-4
        np.testing.assert_allclose(grads[path], wanted[path], atol=1e-5, err_msg=path)


def test_merging_adds_the_update_of_each_layer() -> None:
    adapted = vera()
    whole = moved(adapted)
    merged, before = tree.flatten(merge(adapted, whole).variables["params"]), tree.flatten(whole["params"])
    for path, update in updates(tree.flatten(whole["adapters"])).items():
        np.testing.assert_allclose(merged[f"{path}/kernel"] - before[f"{path}/kernel"], update, atol=1e-5)


def test_scanned_layers_merge_one_by_one() -> None:
    """Their kernels and vectors are stacked, the shared matrices are not."""
    whole = moved(vera())
    sides, leaves = tree.flatten(whole["adapters"]), tree.flatten(whole["params"])

    def stacked(flat: dict[str, jax.Array], name: str) -> jax.Array:
        return jnp.stack([flat[f"block_{i}/mlp/up/{name}"] for i in (0, 1)])

    shared = {path: leaf for path, leaf in sides.items() if path.startswith("vera/")}
    vectors = {f"blocks/mlp/up/{name}": stacked(sides, name) for name in ("vera_d", "vera_b")}
    merged = VERA.merge({}, {"blocks/mlp/up/kernel": stacked(leaves, "kernel")}, shared | vectors)
    for i in (0, 1):
        path = f"block_{i}/mlp/up"
        expected = leaves[f"{path}/kernel"] + updates(sides)[path]
        np.testing.assert_allclose(merged["blocks/mlp/up/kernel"][i], expected, atol=1e-5)


@pytest.mark.parametrize("target", ["nothing", ".*/norm1", ".*/attention"])
def test_a_target_without_dense_layers_is_refused(target: str) -> None:
    adapted = vera(target=target)
    with pytest.raises(ConfigError, match=f"^target: {target!r} matches no layer of 'vit' that 'vera' adapts"):
        adapted.init_adapters(compiled_init(adapted.model)(0), 0)


def test_a_target_that_is_no_pattern_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^target: the rule '\(query' is not a regular expression"):
        vera(target="(query").labels()

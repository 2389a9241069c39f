"""LoRA: the side path equals the reparametrised kernel, starts at nothing, merges, and maps over adapters."""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import adapt, batch, compiled_init, differing, tiny_model, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.merging import merge
from tlx.errors import ConfigError
from tlx.optim import Optimizer, set_hyper
from tlx.step import Task

TARGETS = [f"block_{i}/attention/{name}" for i in (0, 1) for name in ("query", "value")]
SETTINGS = {"rank": 2, "alpha": 3.0}
SCALE = 0.7


def lora(**settings: Any) -> Adapted:
    return adapt("lora", **{**SETTINGS, **settings})


def trained(adapted: Adapted, seed: int = 0) -> dict[str, Any]:
    """Adapters away from their start, where B is no longer zero."""
    rng = np.random.default_rng(seed)
    fresh = tree.flatten(variables(adapted)["adapters"])
    return tree.unflatten({p: jnp.asarray(rng.normal(0, 0.5, a.shape), jnp.float32) for p, a in fresh.items()})


def rebuilt(params: dict[str, Any], adapters: dict[str, Any], factor: float) -> dict[str, Any]:
    """The oracle: every target's kernel W replaced by W + factor · A B."""
    leaves, sides = dict(tree.flatten(params)), tree.flatten(adapters)
    for path in TARGETS:
        leaves[f"{path}/kernel"] += factor * sides[f"{path}/lora_a"] @ sides[f"{path}/lora_b"]
    return tree.unflatten(leaves)


def test_adapters_stand_beside_their_layers() -> None:
    shapes = {path: leaf.shape for path, leaf in tree.flatten(variables(lora())["adapters"]).items()}
    sides = [(f"{path}/lora_{side}", shape) for path in TARGETS for side, shape in (("a", (16, 2)), ("b", (2, 16)))]
    assert shapes == dict(sides)


def test_a_target_matches_whole_paths_of_layers_only() -> None:
    adapted = lora(target=r"block_1/(mlp|norm1|attention)(/up|/out)?|head", rank=3)
    assert {path.rsplit("/", 1)[0] for path in tree.flatten(variables(adapted)["adapters"])} == {
        "block_1/mlp/up",
        "block_1/attention/out",
        "head",
    }


def test_it_starts_at_the_base_model_s_output_exactly() -> None:
    adapted = lora()
    x_BHWC = batch(adapted.model)["input"]
    base = adapted.model.module.apply({"params": variables(adapted)["params"]}, x_BHWC)
    assert np.array_equal(adapted.apply(variables(adapted), x_BHWC, scale=1.0)[0], base)


def test_a_is_uniform_within_one_over_root_inputs_and_b_is_zero() -> None:
    model = tiny_model(width=64, depth=1)
    adapted = adapt("lora", model, rank=32, target=".*/(query|up|down)")
    base = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), jax.eval_shape(model.init, 0))
    sides = tree.flatten(adapted.init_adapters(base, 5)["adapters"])
    for layer, inputs in {"attention/query": 64, "mlp/up": 64, "mlp/down": 256}.items():
        a_IR = np.asarray(sides[f"block_0/{layer}/lora_a"])
        assert a_IR.shape == (inputs, 32)
        bound = 1 / math.sqrt(inputs)
        assert 0.98 * bound < np.abs(a_IR).max() <= bound
        # 2048 draws or more: mean and spread of a uniform within five standard errors.
        assert abs(a_IR.mean()) < 5 * bound / math.sqrt(3 * a_IR.size)
        assert a_IR.std() == pytest.approx(bound / math.sqrt(3), rel=0.06)
        assert not np.any(sides[f"block_0/{layer}/lora_b"])


def test_a_depends_on_the_seed_and_its_own_path() -> None:
    base = variables(lora())
    params = {"params": base["params"]}
    few = lora(target="block_0/attention/query")
    one, two = (tree.flatten(few.init_adapters(params, seed)["adapters"]) for seed in (1, 2))
    path = "block_0/attention/query/lora_a"
    assert np.array_equal(one[path], tree.flatten(base["adapters"])[path])
    assert not np.array_equal(one[path], two[path])
    drawn = {np.asarray(leaf).tobytes() for p, leaf in tree.flatten(base["adapters"]).items() if p.endswith("lora_a")}
    assert len(drawn) == 4


def test_a_is_unrelated_to_a_kernel_of_the_same_seed() -> None:
    adapted = lora(rank=16, target="block_0/attention/query")
    whole = adapted.init_adapters(compiled_init(adapted.model)(0), 0)
    kernel = np.asarray(whole["params"]["block_0"]["attention"]["query"]["kernel"]).ravel()
    [a] = [np.asarray(leaf).ravel() for path, leaf in tree.flatten(whole["adapters"]).items() if path.endswith("_a")]
    assert kernel.size == a.size == 256
    assert abs(np.corrcoef(kernel, a)[0, 1]) < 5 / math.sqrt(256)


def test_the_side_path_equals_the_reparametrised_kernel() -> None:
    """Outputs, and gradients with respect to A and B, to 1e-5 of the largest."""
    adapted = lora()
    params, adapters, data = variables(adapted)["params"], trained(adapted), batch(adapted.model)

    def side_path(adapters: Any) -> tuple[jax.Array, jax.Array]:
        logits_BC, _ = adapted.apply({"params": params, "adapters": adapters}, data["input"], scale=jnp.float32(SCALE))
        return jnp.sum(jnp.sin(logits_BC)), logits_BC

    def oracle(adapters: Any) -> tuple[jax.Array, jax.Array]:
        kernels = rebuilt(params, adapters, SCALE * SETTINGS["alpha"] / SETTINGS["rank"])
        logits_BC = adapted.model.module.apply({"params": kernels}, data["input"])
        return jnp.sum(jnp.sin(logits_BC)), logits_BC

    (_, logits_BC), grads = jax.jit(jax.value_and_grad(side_path, has_aux=True))(adapters)
    (_, expected_BC), expected = jax.jit(jax.value_and_grad(oracle, has_aux=True))(adapters)
    np.testing.assert_allclose(logits_BC, expected_BC, atol=1e-5 * float(jnp.max(jnp.abs(expected_BC))))
    base_BC = adapted.model.module.apply({"params": params}, data["input"])
    assert float(jnp.max(jnp.abs(logits_BC - base_BC))) > 1e-2
    for path, grad in tree.flatten(grads).items():
        want = np.asarray(tree.flatten(expected)[path])
        assert np.abs(want).max() > 1e-4
        np.testing.assert_allclose(grad, want, atol=1e-5 * np.abs(want).max(), err_msg=path)


def test_a_scale_of_zero_is_the_base_model() -> None:
    adapted = lora()
    params, x_BHWC = variables(adapted)["params"], batch(adapted.model)["input"]
    off, _ = adapted.apply({"params": params, "adapters": trained(adapted)}, x_BHWC, scale=jnp.float32(0.0))
    assert np.array_equal(off, adapted.model.module.apply({"params": params}, x_BHWC))


def test_merging_gives_a_plain_tree_of_the_same_output() -> None:
    """To 1e-5 of the largest logit; leaves that are no target stay the same to the last bit."""
    adapted = lora()
    params, adapters, x_BHWC = variables(adapted)["params"], trained(adapted), batch(adapted.model)["input"]
    before = tree.digest(params)
    merged = merge(adapted, {"params": params, "adapters": adapters}).variables["params"]
    assert tree.digest(params) == before
    assert differing(params, merged) == {f"{path}/kernel" for path in TARGETS}
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(merged))
    expected_BC, _ = adapted.apply({"params": params, "adapters": adapters}, x_BHWC)
    logits_BC = adapted.model.module.apply({"params": merged}, x_BHWC)
    np.testing.assert_allclose(logits_BC, expected_BC, atol=1e-5 * float(jnp.max(jnp.abs(expected_BC))))
    for path in TARGETS:
        kernel = tree.flatten(rebuilt(params, adapters, SETTINGS["alpha"] / SETTINGS["rank"]))[f"{path}/kernel"]
        np.testing.assert_allclose(tree.flatten(merged)[f"{path}/kernel"], kernel, atol=1e-6)


def test_merging_fresh_adapters_changes_nothing() -> None:
    whole = variables(lora())
    assert differing(whole["params"], merge(lora(), whole).variables["params"]) == set()


def test_many_adapters_share_one_backbone_under_vmap() -> None:
    adapted = lora()
    params, x_BHWC = variables(adapted)["params"], batch(adapted.model)["input"]
    each = [trained(adapted, seed) for seed in range(3)]
    scales_M = jnp.array([1.0, 0.5, 2.0])

    @jax.jit
    def forward(adapters: Any, scale: jax.Array) -> jax.Array:
        return adapted.apply({"params": params, "adapters": adapters}, x_BHWC, scale=scale)[0]

    together_MBC = jax.jit(jax.vmap(forward))(jax.tree.map(lambda *leaves: jnp.stack(leaves), *each), scales_M)
    for m, adapters in enumerate(each):
        np.testing.assert_allclose(together_MBC[m], forward(adapters, scales_M[m]), atol=1e-5)
    assert len({np.asarray(logits).tobytes() for logits in together_MBC}) == 3


@pytest.mark.parametrize(("name", "factor"), [("lora", 3.0 / 4), ("lora_plus", 3.0 / 4), ("rslora", 3.0 / 2)])
def test_the_update_is_divided_by_the_rank_or_its_root(name: str, factor: float) -> None:
    adapted = adapt(name, rank=4, alpha=3.0)
    params, adapters, x_BHWC = variables(adapted)["params"], trained(adapted), batch(adapted.model)["input"]
    whole = {"params": params, "adapters": adapters}
    expected_BC = adapted.model.module.apply({"params": rebuilt(params, adapters, factor)}, x_BHWC)
    np.testing.assert_allclose(adapted.apply(whole, x_BHWC)[0], expected_BC, atol=1e-5)
    merged = merge(adapted, whole).variables
    np.testing.assert_allclose(adapted.model.module.apply(merged, x_BHWC), expected_BC, atol=1e-5)


def test_the_first_numbers_of_a_seed_stay_what_they_were() -> None:
    sides = tree.flatten(variables(lora())["adapters"])
    for path, first in {
        "block_0/attention/query/lora_a": (0.1363338828, 0.1616150141),
        "block_1/attention/value/lora_a": (-0.0021810532, 0.0771134496),
    }.items():
        np.testing.assert_allclose(sides[path][0], first, atol=1e-8)


def test_lora_plus_moves_b_faster_than_a() -> None:
    """Plain gradient descent: B's step is `ratio` times as long as its gradient says, A's and the head's are not."""
    plain = Optimizer("sgd", momentum=0.0, clip_norm=0.0, warmup=0.0, schedule="constant")
    task = Task(adapt("lora_plus", rank=2, ratio=5.0), plain, steps=1)
    trainable, _, _ = task.adapted.split(variables(task.adapted))
    rule = task.transformation()
    state = set_hyper(rule.init(trainable), jnp.float32(0.01), jnp.float32(0.0))
    updates, _ = rule.update(jax.tree.map(jnp.ones_like, trainable), state, trainable)
    steps = {path: np.asarray(leaf) for path, leaf in tree.flatten(updates).items()}
    assert len(steps) == 2 * len(TARGETS) + 2
    for path, step in steps.items():
        np.testing.assert_allclose(step, -0.05 if path.endswith("lora_b") else -0.01, rtol=1e-5, err_msg=path)


def test_lora_plus_names_the_sides_in_its_labels() -> None:
    labels = adapt("lora_plus").labels()
    for path, label in labels.items():
        if path.startswith("adapters/"):
            assert label == f"adapter@{path.rpartition('/')[2]}"
    assert dict(adapt("lora_plus").lr_scale()) == {"adapter@lora_b": 16.0}


def test_dropout_needs_a_training_step() -> None:
    adapted = lora(dropout=0.5)
    x_BHWC = batch(adapted.model)["input"]
    whole = {**variables(adapted), "adapters": trained(adapted)}
    quiet, _ = adapted.apply(whole, x_BHWC)
    assert np.array_equal(quiet, lora().apply(whole, x_BHWC)[0])
    one, again, other = (adapted.apply(whole, x_BHWC, train=True, rng=jax.random.key(k))[0] for k in (0, 0, 1))
    assert np.array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3 and np.abs(one - quiet).max() > 1e-3


@pytest.mark.parametrize(("target", "path", "most"), [(".*/query", "block_0/attention/query", 16), ("head", "head", 3)])
def test_a_rank_beyond_the_kernel_is_refused(target: str, path: str, most: int) -> None:
    adapted = lora(rank=most + 1, target=target)
    with pytest.raises(ConfigError, match=re.escape(f"rank: expected at most {most} for {path!r}, got {most + 1}")):
        adapted.init_adapters(compiled_init(tiny_model())(0), 0)
    with pytest.raises(ConfigError, match=r"^rank: "):
        adapted.labels()


@pytest.mark.parametrize("target", ["query", "params/.*", ".*/norm1", ".*/kernel", ".*/(keys|qry)"])
def test_a_target_that_matches_no_layer_is_refused(target: str) -> None:
    adapted = lora(target=target)
    with pytest.raises(ConfigError, match=re.escape(f"target: {target!r} matches no layer of 'vit'")):
        adapted.init_adapters(compiled_init(tiny_model())(0), 0)
    with pytest.raises(ConfigError, match=r"^target: "):
        adapted.labels()


def test_a_target_that_is_no_pattern_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^target: the rule '\(query' is not a regular expression"):
        lora(target="(query").labels()

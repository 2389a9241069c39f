"""IA³: the activations it scales, its start, its merge and the patterns it refuses."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import float64, stacked, vit_block
from tiny import adapt, batch, compiled_init, differing, tiny_model, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.ia3 import merge
from tlx.errors import ConfigError

TRANSFORMER = {
    f"block_{i}/{layer}": size
    for i in (0, 1)
    for layer, size in {"attention/key/ia3_out": 16, "attention/value/ia3_out": 16, "mlp/down/ia3_in": 64}.items()
}
LEAVES = {
    "vit": TRANSFORMER,
    "bert": {path: 32 if path.endswith("ia3_in") else size for path, size in TRANSFORMER.items()},
    "resnet": {
        "block_0/conv1/ia3_out": 8,
        "block_0/conv2/ia3_in": 8,
        "block_1/conv1/ia3_out": 16,
        "block_1/conv2/ia3_in": 16,
    },
}


def away(adapted: Adapted, seed: int = 0) -> dict[str, Any]:
    """The variables with factors away from 1, and parameters away from the zeros and ones they start at."""
    rng = np.random.default_rng(seed)

    def moved(path: str, leaf: jax.Array) -> jax.Array:
        if path.startswith("batch_stats/"):
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)
        return leaf + jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32)

    return tree.unflatten({path: moved(path, leaf) for path, leaf in tree.flatten(variables(adapted)).items()})


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_factors_stand_at_the_model_s_own_layers_and_start_at_one(name: str) -> None:
    adapters = tree.flatten(variables(adapt("ia3", tiny_model(name)))["adapters"])
    assert {path: leaf.shape for path, leaf in adapters.items()} == {k: (n,) for k, n in LEAVES[name].items()}
    assert all(np.array_equal(leaf, np.ones(leaf.shape, np.float32)) for leaf in adapters.values())


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_a_block_equals_the_one_written_out(scale: float) -> None:
    """Keys and values by l_k and l_v, what enters the MLP's second layer by l_ff."""
    adapted = adapt("ia3")
    moved = away(adapted)
    x_BTD = np.random.default_rng(1).normal(0, 1, (3, 4, 16))
    factors = {path: 1 + scale * (factor - 1) for path, factor in float64(moved["adapters"], "block_0/").items()}

    def call(path: str, layer: Any, x: np.ndarray) -> np.ndarray:
        if path == "mlp/down":
            return layer(x * factors["mlp/down/ia3_in"])
        return layer(x) * factors.get(f"{path}/ia3_out", 1.0)

    expected = vit_block(float64(moved["params"], "block_0/"), x_BTD, 2, call)
    out, _ = adapted.apply(moved, jnp.asarray(x_BTD, jnp.float32), first=1, last=2, scale=jnp.float32(scale))
    np.testing.assert_allclose(out, expected, atol=1e-5 * np.abs(expected).max())


def test_a_channel_of_a_convolution_that_is_scaled_by_zero_is_a_channel_less() -> None:
    adapted = adapt("ia3", tiny_model("resnet"))
    x_BHWC = batch(adapted.model)["input"]
    leaves = tree.flatten(away(adapted))
    for path, leaf in leaves.items():
        if path.startswith("adapters/"):
            leaves[path] = jnp.ones_like(leaf)
    scaled, plain = dict(leaves), dict(leaves)
    scaled["adapters/block_1/conv1/ia3_out"] = leaves["adapters/block_1/conv1/ia3_out"].at[3].set(0.0)
    scaled["adapters/block_0/conv2/ia3_in"] = leaves["adapters/block_0/conv2/ia3_in"].at[5].set(0.0)
    plain["params/block_1/conv1/kernel"] = leaves["params/block_1/conv1/kernel"].at[:, :, :, 3].set(0.0)
    plain["params/block_0/conv2/kernel"] = leaves["params/block_0/conv2/kernel"].at[:, :, 5, :].set(0.0)
    one, other = (adapted.apply(tree.unflatten(which), x_BHWC)[0] for which in (scaled, plain))
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.abs(one - adapted.apply(tree.unflatten(leaves), x_BHWC)[0]).max() > 1e-2


def test_gradients_equal_those_of_the_reparametrised_kernels() -> None:
    adapted = adapt("ia3")
    moved, x_BHWC = away(adapted), batch(adapted.model)["input"]

    def of_factors(adapters: Any) -> jax.Array:
        return jnp.sum(jnp.sin(adapted.apply({**moved, "adapters": adapters}, x_BHWC)[0]))

    def of_kernels(adapters: Any) -> jax.Array:
        leaves, sides = tree.flatten(moved["params"]), tree.flatten(adapters)
        for i in (0, 1):
            for name in ("key", "value"):
                layer = f"block_{i}/attention/{name}"
                leaves[f"{layer}/kernel"] = leaves[f"{layer}/kernel"] @ jnp.diag(sides[f"{layer}/ia3_out"])
                leaves[f"{layer}/bias"] = leaves[f"{layer}/bias"] * sides[f"{layer}/ia3_out"]
            layer = f"block_{i}/mlp/down"
            leaves[f"{layer}/kernel"] = jnp.diag(sides[f"{layer}/ia3_in"]) @ leaves[f"{layer}/kernel"]
        return jnp.sum(jnp.sin(adapted.model.module.apply({"params": tree.unflatten(leaves)}, x_BHWC)))

    grads, expected = (tree.flatten(jax.jit(jax.grad(f))(moved["adapters"])) for f in (of_factors, of_kernels))
    for path, grad in grads.items():
        assert np.abs(expected[path]).max() > 1e-5
        np.testing.assert_allclose(grad, expected[path], atol=1e-4 * np.abs(expected[path]).max(), err_msg=path)


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_a_scale_of_zero_is_the_base_model(name: str) -> None:
    adapted = adapt("ia3", tiny_model(name))
    moved, x = away(adapted), batch(adapted.model)["input"]
    base = {key: leaves for key, leaves in moved.items() if key != "adapters"}
    off, _ = adapted.apply(moved, x, scale=jnp.float32(0.0))
    assert np.array_equal(off, adapted.model.module.apply(base, x))


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_merging_gives_a_plain_tree_of_the_same_output(name: str) -> None:
    adapted = adapt("ia3", tiny_model(name))
    moved, x = away(adapted), batch(adapted.model)["input"]
    before = tree.digest(moved)
    merged = tree.unflatten(merge({}, tree.flatten(moved["params"]), tree.flatten(moved["adapters"])))
    assert tree.digest(moved) == before
    layers = {path.rpartition("/") for path in LEAVES[name]}
    kernels = {f"{layer}/kernel" for layer, _, _ in layers}
    biases = {f"{layer}/bias" for layer, _, side in layers if side == "ia3_out" and name != "resnet"}
    assert differing(moved["params"], merged) == kernels | biases
    expected, _ = adapted.apply(moved, x)
    logits = adapted.model.module.apply({**moved, "params": merged}, x)
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())
    plain = adapted.model.module.apply({key: moved[key] for key in moved if key != "adapters"}, x)
    assert np.abs(expected - plain).max() > 1e-2


def test_merging_takes_each_convolution_s_own_axis() -> None:
    rng = np.random.default_rng(0)
    kernel, into, out = (rng.normal(0, 1, shape).astype(np.float32) for shape in ((3, 2, 5, 7), (5,), (7,)))
    merged = merge({}, {"a/kernel": kernel, "b/kernel": kernel}, {"a/ia3_in": into, "b/ia3_out": out})
    for i, o in np.ndindex(5, 7):
        np.testing.assert_allclose(merged["a/kernel"][:, :, i, o], kernel[:, :, i, o] * into[i], rtol=1e-6)
        np.testing.assert_allclose(merged["b/kernel"][:, :, i, o], kernel[:, :, i, o] * out[o], rtol=1e-6)


def test_scanned_blocks_compute_and_merge_alike() -> None:
    adapted, scanned = adapt("ia3"), adapt("ia3", tiny_model(scan=True))
    moved, x = away(adapted), batch(adapted.model)["input"]
    together = stacked(moved)
    shapes = {path: leaf.shape for path, leaf in tree.flatten(together).items()}
    assert shapes == {path: leaf.shape for path, leaf in tree.flatten(scanned.abstract()).items()}
    expected, _ = adapted.apply(moved, x)
    np.testing.assert_allclose(scanned.apply(together, x)[0], expected, atol=1e-5)
    merged = merge({}, tree.flatten(together["params"]), tree.flatten(together["adapters"]))
    logits = scanned.model.module.apply({"params": tree.unflatten(merged)}, x)
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_a_layer_may_be_scaled_at_both_ends() -> None:
    adapted = adapt("ia3", inputs="block_1/mlp/up", outputs="block_1/mlp/up")
    moved, x = away(adapted), batch(adapted.model)["input"]
    sides = tree.flatten(moved["adapters"])
    assert {path: leaf.shape[0] for path, leaf in sides.items()} == {
        "block_1/mlp/up/ia3_in": 16,
        "block_1/mlp/up/ia3_out": 64,
    }
    merged = merge({}, tree.flatten(moved["params"]), sides)
    logits = adapted.model.module.apply({"params": tree.unflatten(merged)}, x)
    np.testing.assert_allclose(logits, adapted.apply(moved, x)[0], atol=1e-5)


def test_activations_keep_their_precision() -> None:
    adapted = adapt("ia3", inputs="head", outputs="head")
    moved = away(adapted)
    half = {**moved, "params": jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), moved["params"])}
    x_BD = jnp.asarray(np.random.default_rng(2).normal(0, 1, (5, 16)), jnp.bfloat16)
    logits, _ = adapted.apply(half, x_BD, first=4, scale=jnp.float32(1.0))
    assert logits.dtype == jnp.bfloat16
    expected, _ = adapted.apply(moved, x_BD.astype(jnp.float32), first=4)
    np.testing.assert_allclose(logits.astype(jnp.float32), expected, atol=0.05 * np.abs(expected).max())


@pytest.mark.parametrize("field", ["outputs", "inputs"])
@pytest.mark.parametrize("pattern", ["key", ".*/norm1", ".*/keys", "params/.*"])
def test_a_pattern_that_matches_no_layer_is_refused(field: str, pattern: str) -> None:
    adapted = adapt("ia3", **{field: pattern})
    message = f"{field}: {pattern!r} matches no dense or convolutional layer of 'vit'"
    with pytest.raises(ConfigError, match=re.escape(message)):
        adapted.labels()
    with pytest.raises(ConfigError, match=re.escape(message)):
        adapted.init_adapters(compiled_init(adapted.model)(0), 0)

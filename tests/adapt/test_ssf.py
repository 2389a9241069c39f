"""SSF: the layers it follows, its start, its merge into kernels and norms, and what it refuses."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import float64, stacked, vit_block
from tiers import first
from tiny import adapt, batch, compiled_init, differing, tiny_model, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.registry import METHODS
from tlx.adapt.ssf import merge
from tlx.errors import ConfigError

MODELS = ["bert", "resnet", "vit"]


def layers(adapted: Adapted) -> dict[str, int]:
    """Every dense, convolutional and norm layer but the head, and its channels, from the plain tree."""
    ends = re.compile(r"params/(?!head/)(.*)/(kernel|scale)")
    found = {path: ends.fullmatch(path) for path in tree.flatten(variables(adapted))}
    return {match[1]: tree.flatten(variables(adapted))[path].shape[-1] for path, match in found.items() if match}


def away(adapted: Adapted, seed: int = 0) -> dict[str, Any]:
    """The variables with noise on every leaf, running statistics among them."""
    rng = np.random.default_rng(seed)

    def moved(path: str, leaf: jax.Array) -> jax.Array:
        if path.startswith("batch_stats/"):
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)
        return leaf + jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32)

    return tree.unflatten({path: moved(path, leaf) for path, leaf in tree.flatten(variables(adapted)).items()})


@pytest.mark.parametrize("name", first(1, MODELS))
def test_every_layer_but_the_head_has_a_factor_and_those_with_a_bias_a_shift(name: str) -> None:
    adapted = adapt("ssf", tiny_model(name))
    whole = tree.flatten(variables(adapted))
    assert len(layers(adapted)) == {"vit": 1 + 2 * 8 + 1, "bert": 1 + 2 * 8 + 1, "resnet": 2 + 4 + 6}[name]
    expected = {f"adapters/{layer}/ssf_scale": (channels,) for layer, channels in layers(adapted).items()}
    for layer, channels in layers(adapted).items():
        if f"params/{layer}/bias" in whole:
            expected[f"adapters/{layer}/ssf_shift"] = (channels,)
    adapters = {path: leaf.shape for path, leaf in whole.items() if path.startswith("adapters/")}
    assert adapters == expected
    if name == "resnet":
        assert "adapters/block_1/conv1/ssf_shift" not in adapters
        assert "adapters/block_1/shortcut_norm/ssf_shift" in adapters


def test_factors_start_around_one_and_shifts_around_zero() -> None:
    adapted = adapt("ssf", tiny_model(width=128, depth=1), std=0.05)
    drawn = tree.flatten(variables(adapted)["adapters"])
    for name, mean in {"ssf_scale": 1.0, "ssf_shift": 0.0}.items():
        values = np.concatenate([leaf for path, leaf in drawn.items() if path.endswith(name)])
        assert values.size > 1500
        assert values.mean() == pytest.approx(mean, abs=5 * 0.05 / np.sqrt(values.size))
        assert values.std() == pytest.approx(0.05, rel=0.1)
        assert np.unique(values).size > 0.99 * values.size


def test_the_model_s_output_is_where_it_starts_only_without_a_spread() -> None:
    exact, spread = adapt("ssf", std=0.0), adapt("ssf")
    x_BHWC = batch(exact.model)["input"]
    base = exact.model.module.apply(compiled_init(exact.model)(0), x_BHWC)
    assert np.array_equal(exact.apply(variables(exact), x_BHWC)[0], base)
    assert 1e-4 < np.abs(spread.apply(variables(spread), x_BHWC)[0] - base).max() < 0.5
    assert METHODS["ssf"].starts_elsewhere


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_a_block_equals_the_one_written_out(scale: float) -> None:
    adapted = adapt("ssf")
    moved = away(adapted)
    x_BTD = np.random.default_rng(1).normal(0, 1, (3, 4, 16))
    sides = float64(moved["adapters"], "block_0/")

    def call(path: str, layer: Any, x: np.ndarray) -> np.ndarray:
        if f"{path}/ssf_scale" not in sides:
            return layer(x)
        return layer(x) * (1 + scale * (sides[f"{path}/ssf_scale"] - 1)) + scale * sides[f"{path}/ssf_shift"]

    expected = vit_block(float64(moved["params"], "block_0/"), x_BTD, 2, call)
    out, _ = adapted.apply(moved, jnp.asarray(x_BTD, jnp.float32), first=1, last=2, scale=jnp.float32(scale))
    np.testing.assert_allclose(out, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.thorough
@pytest.mark.parametrize("name", MODELS)
def test_a_scale_of_zero_is_the_base_model(name: str) -> None:
    adapted = adapt("ssf", tiny_model(name))
    moved, x = away(adapted), batch(adapted.model)["input"]
    base = adapted.model.module.apply({key: moved[key] for key in moved if key != "adapters"}, x)
    np.testing.assert_allclose(adapted.apply(moved, x, scale=jnp.float32(0.0))[0], base, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_merging_gives_a_plain_tree_of_the_same_output(name: str) -> None:
    """Kernels, biases, layer norms, and batch norms with statistics away from 0 and 1."""
    adapted = adapt("ssf", tiny_model(name))
    moved, x = away(adapted), batch(adapted.model)["input"]
    before = tree.digest(moved)
    merged = tree.unflatten(merge({}, tree.flatten(moved["params"]), tree.flatten(moved["adapters"])))
    assert tree.digest(moved) == before
    targets = layers(adapted)
    expected = {path for path in tree.flatten(moved["params"]) if path.rpartition("/")[0] in targets}
    assert differing(moved["params"], merged) == expected
    logits, _ = adapted.apply(moved, x)
    again = adapted.model.module.apply({**moved, "params": merged}, x)
    np.testing.assert_allclose(again, logits, atol=1e-5 * np.abs(logits).max())
    base = adapted.model.module.apply({key: moved[key] for key in moved if key != "adapters"}, x)
    assert np.abs(logits - base).max() > 1e-2


def test_merging_takes_a_convolution_s_outputs_and_a_norm_s_scale() -> None:
    rng = np.random.default_rng(0)
    shapes = {"conv/kernel": (3, 3, 4, 4), "norm/scale": (4,), "norm/bias": (4,)}
    leaves = {path: rng.normal(0, 1, shape).astype(np.float32) for path, shape in shapes.items()}
    names = ("conv/ssf_scale", "norm/ssf_scale", "norm/ssf_shift")
    sides = {path: rng.normal(0, 1, 4).astype(np.float32) for path in names}
    merged = merge({}, leaves, sides)
    for c in range(4):
        expected = leaves["conv/kernel"][..., c] * sides["conv/ssf_scale"][c]
        np.testing.assert_allclose(merged["conv/kernel"][..., c], expected, rtol=1e-6)
    np.testing.assert_allclose(merged["norm/scale"], leaves["norm/scale"] * sides["norm/ssf_scale"], rtol=1e-6)
    bias = leaves["norm/bias"] * sides["norm/ssf_scale"] + sides["norm/ssf_shift"]
    np.testing.assert_allclose(merged["norm/bias"], bias, rtol=1e-6)


@pytest.mark.thorough
def test_scanned_blocks_compute_and_merge_alike() -> None:
    adapted, scanned = adapt("ssf"), adapt("ssf", tiny_model(scan=True, remat=True))
    moved, x = away(adapted), batch(adapted.model)["input"]
    together = stacked(moved)
    shapes = {path: leaf.shape for path, leaf in tree.flatten(together).items()}
    assert shapes == {path: leaf.shape for path, leaf in tree.flatten(scanned.abstract()).items()}
    expected, _ = adapted.apply(moved, x)
    np.testing.assert_allclose(scanned.apply(together, x)[0], expected, atol=1e-5)
    merged = merge({}, tree.flatten(together["params"]), tree.flatten(together["adapters"]))
    logits = scanned.model.module.apply({"params": tree.unflatten(merged)}, x)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    fresh = tree.flatten(variables(scanned)["adapters"])
    assert all(not np.array_equal(leaf[0], leaf[1]) for path, leaf in fresh.items() if path.startswith("blocks/"))


def test_a_pattern_names_fewer_layers() -> None:
    adapted = adapt("ssf", target=r"block_1/(norm1|mlp/.*|attention)")
    found = {path.rpartition("/")[0] for path in tree.flatten(variables(adapted)["adapters"])}
    assert found == {"block_1/norm1", "block_1/mlp/up", "block_1/mlp/down"}


@pytest.mark.parametrize("target", ["head", ".*/dropout", "attention/key", "blocks/.*"])
def test_a_target_that_matches_no_layer_of_the_body_is_refused(target: str) -> None:
    adapted = adapt("ssf", target=target)
    message = f"target: {target!r} matches no layer of 'vit' that 'ssf' adapts"
    with pytest.raises(ConfigError, match=re.escape(message)):
        adapted.init_adapters(compiled_init(adapted.model)(0), 0)
    with pytest.raises(ConfigError, match=re.escape(message)):
        adapted.labels()


def test_activations_keep_their_precision() -> None:
    adapted = adapt("ssf", tiny_model("bert"), target="pool/dense")
    moved = away(adapted)
    half = {**moved, "params": jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), moved["params"])}
    flow = {"hidden": np.random.default_rng(2).normal(0, 1, (5, 6, 16)), "mask": np.ones((5, 6))}
    wide = {name: jnp.asarray(x, jnp.float32) for name, x in flow.items()}
    narrow = {name: jnp.asarray(x, jnp.bfloat16) for name, x in flow.items()}
    out, _ = adapted.apply(half, narrow, first=3, last=4, scale=jnp.float32(1.0))
    assert out.dtype == jnp.bfloat16
    expected, _ = adapted.apply(moved, wide, first=3, last=4)
    np.testing.assert_allclose(out.astype(jnp.float32), expected, atol=0.05)

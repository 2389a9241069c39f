"""Compacter: sums of Kronecker products, the factor all layers share, and what it refuses."""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import float64, gelu_tanh, slope, stacked, vit_block
from tiers import first
from tiny import adapt, batch, compiled_init, tiny_model, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.compacter import phm
from tlx.adapt.registry import METHODS
from tlx.errors import ConfigError
from tlx.partition import FROZEN

MODEL_NAMES = ["bert", "resnet", "vit"]
SETTINGS = {"n": 4, "reduction": 2, "std": 0.01}
RULE = "compacter/rule"


def build(model: str = "vit", **changes: Any) -> Adapted:
    return adapt("compacter", tiny_model(model), **{**SETTINGS, "target": "", **changes})


def away(adapted: Adapted, seed: int = 0) -> dict[str, Any]:
    """The variables with noise on parameters and adapters."""
    rng = np.random.default_rng(seed)
    leaves = tree.flatten(variables(adapted))
    noise = {path: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32) for path, leaf in leaves.items()}
    return tree.unflatten(
        {path: leaf if path.startswith("batch_stats/") else leaf + noise[path] for path, leaf in leaves.items()}
    )


def kernel(rule: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Σᵢ Aᵢ ⊗ (sᵢ tᵢᵀ), built."""
    return sum(np.kron(rule[i], np.outer(s[i], t[i])) for i in range(len(rule)))


def block_by_hand(
    params: dict[str, np.ndarray], adapters: dict[str, np.ndarray], x: np.ndarray, scale: float
) -> np.ndarray:
    """The first block; `adapters` by path from the top."""

    def call(path: str, layer: Any, x: np.ndarray) -> np.ndarray:
        y = layer(x)
        if path not in ("attention", "mlp"):
            return y

        def dense(name: str, x: np.ndarray) -> np.ndarray:
            s, t, bias = (adapters[f"block_0/{path}/compacter_{name}_{leaf}"] for leaf in ("s", "t", "bias"))
            return x @ kernel(adapters[RULE], s, t) + bias

        return y + scale * dense("up", gelu_tanh(dense("down", y)))

    return vit_block(params, x, 2, call)


@pytest.mark.parametrize(("n", "inputs", "outputs"), [(1, 3, 5), (2, 6, 4), (3, 3, 12), (4, 8, 8)])
def test_a_phm_layer_is_a_sum_of_kronecker_products(n: int, inputs: int, outputs: int) -> None:
    rng = np.random.default_rng(n)
    x, rule = rng.normal(0, 1, (2, 7, inputs)), rng.normal(0, 1, (n, n, n))
    s, t = rng.normal(0, 1, (n, inputs // n)), rng.normal(0, 1, (n, outputs // n))
    out = phm(*(jnp.asarray(leaf, jnp.float32) for leaf in (x, rule, s, t)))
    assert kernel(rule, s, t).shape == (inputs, outputs)
    np.testing.assert_allclose(out, x @ kernel(rule, s, t), atol=1e-4)


@pytest.mark.parametrize("model", first(1, MODEL_NAMES))
def test_adapters_stand_at_their_sublayers_and_share_one_rule(model: str) -> None:
    sublayers = {f"block_{i}/{name}": 16 for i in (0, 1) for name in ("attention", "mlp")}
    if model == "resnet":
        sublayers = {"block_0/norm2": 8, "block_1/norm2": 16}
    expected: dict[str, tuple[int, ...]] = {RULE: (4, 4, 4)}
    for path, channels in sublayers.items():
        hidden = channels // 2
        for name, inputs, outputs in (("down", channels, hidden), ("up", hidden, channels)):
            at = f"{path}/compacter_{name}"
            expected |= {f"{at}_s": (4, inputs // 4), f"{at}_t": (4, outputs // 4), f"{at}_bias": (outputs,)}
    adapters = tree.flatten(variables(build(model))["adapters"])
    assert {path: leaf.shape for path, leaf in adapters.items()} == expected


def test_the_hidden_width_is_at_least_n() -> None:
    adapters = tree.flatten(variables(build(reduction=32))["adapters"])
    assert adapters["block_0/mlp/compacter_down_bias"].shape == (4,)


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_a_block_equals_the_one_written_out(scale: float) -> None:
    adapted = build()
    moved = away(adapted)
    x_BTD = np.random.default_rng(1).normal(0, 1, (3, 4, 16))
    params, adapters = float64(moved["params"], "block_0/"), float64(moved["adapters"])
    expected = block_by_hand(params, adapters, x_BTD, scale)
    out, _ = adapted.apply(moved, jnp.asarray(x_BTD, jnp.float32), first=1, last=2, scale=jnp.float32(scale))
    np.testing.assert_allclose(out, expected, atol=2e-5 * np.abs(expected).max())
    assert np.abs(expected - block_by_hand(params, adapters, x_BTD, 0.0)).max() > 0.1


def test_gradients_equal_finite_differences_of_the_block_written_out() -> None:
    """The shared rule's gathers what all four layers of the block say."""
    adapted = build()
    moved = away(adapted)
    rng = np.random.default_rng(1)
    x_BTD, weight_BTD = rng.normal(0, 1, (2, 3, 4, 16))
    params, adapters = float64(moved["params"], "block_0/"), float64(moved["adapters"])

    def value(adapters: Any) -> jax.Array:
        out, _ = adapted.apply({**moved, "adapters": adapters}, jnp.asarray(x_BTD, jnp.float32), first=1, last=2)
        return jnp.sum(out * jnp.asarray(weight_BTD, jnp.float32))

    grads = float64(jax.jit(jax.grad(value))(moved["adapters"]))
    for path in adapters:
        along = {other: rng.normal(0, 1, leaf.shape) * (other == path) for other, leaf in adapters.items()}
        expected = slope(lambda at: float(np.sum(block_by_hand(params, at, x_BTD, 1.0) * weight_BTD)), adapters, along)
        assert np.sum(grads[path] * along[path]) == pytest.approx(expected, rel=1e-3, abs=1e-3), path
        assert path.startswith("block_1") == (expected == 0.0)


def test_initial_values_are_those_of_the_authors_code() -> None:
    adapted = adapt("compacter", tiny_model(width=256, depth=2), n=16, reduction=2, std=0.01, target="")
    drawn = tree.flatten(variables(adapted)["adapters"])
    rule = drawn[RULE]
    assert np.std(rule) == pytest.approx(0.01, rel=0.05) and abs(np.mean(rule)) < 5 * 0.01 / 64
    lengths = {"down_s": 256 // 16, "down_t": 128 // 16, "up_s": 128 // 16, "up_t": 256 // 16}
    for name, length in lengths.items():
        # Glorot's √(6 / (fan in + fan out)) for a matrix of one column or row, times √2.
        bound = math.sqrt(2) * math.sqrt(6 / (length + 1))
        values = np.concatenate([leaf for path, leaf in drawn.items() if path.endswith(name)])
        assert values.shape == (4 * 16, length)
        assert 0.97 * bound < np.abs(values).max() <= bound
        assert np.std(values) == pytest.approx(bound / math.sqrt(3), rel=0.1)
        assert np.unique(values).size > 0.99 * values.size
    assert not any(np.any(leaf) for path, leaf in drawn.items() if path.endswith("bias"))


@pytest.mark.parametrize("model", first(1, MODEL_NAMES))
def test_it_starts_near_the_base_model_s_output_and_says_so(model: str) -> None:
    adapted = build(model)
    x = batch(adapted.model)["input"]
    base = adapted.model.module.apply(compiled_init(adapted.model)(0), x)
    assert 0 < np.abs(adapted.apply(variables(adapted), x)[0] - base).max() < 1e-2
    assert METHODS["compacter"].starts_elsewhere
    off, _ = adapted.apply(away(adapted), x, scale=jnp.float32(0.0))
    plain = {key: leaves for key, leaves in away(adapted).items() if key != "adapters"}
    assert np.array_equal(off, adapted.model.module.apply(plain, x))


def test_norms_and_the_rule_train_with_the_adapters() -> None:
    labels = build("bert").labels()
    assert labels[f"adapters/{RULE}"] == "adapter"
    moving = {path for path, label in labels.items() if label == "train"}
    norms = {"embed/norm", *(f"block_{i}/norm{j}" for i in (0, 1) for j in (1, 2))}
    assert moving == {f"params/{norm}/{leaf}" for norm in norms for leaf in ("scale", "bias")}
    assert labels["params/block_0/mlp/up/kernel"] == FROZEN
    assert build("vit").cut() == build("bert").cut() == 0


@pytest.mark.thorough
@pytest.mark.parametrize("remat", [False, True])
def test_scanned_blocks_share_the_rule_as_well(remat: bool) -> None:
    adapted, scanned = build(), adapt("compacter", tiny_model(scan=True, remat=remat), target="", **SETTINGS)
    moved, x = away(adapted), batch(adapted.model)["input"]
    together = stacked(moved)
    shapes = {path: leaf.shape for path, leaf in tree.flatten(together).items()}
    assert shapes == {path: leaf.shape for path, leaf in tree.flatten(scanned.abstract()).items()}

    def total(adapted: Adapted, whole: Any, adapters: Any) -> jax.Array:
        return jnp.sum(jnp.sin(adapted.apply({**whole, "adapters": adapters}, x)[0]))

    one, grads = jax.value_and_grad(lambda a: total(adapted, moved, a))(moved["adapters"])
    other, together_grads = jax.value_and_grad(lambda a: total(scanned, together, a))(together["adapters"])
    assert float(one) == pytest.approx(float(other), abs=1e-5)
    for path, grad in tree.flatten(stacked({"adapters": grads})["adapters"]).items():
        tolerance = 1e-4 * np.abs(grad).max() + 1e-5
        np.testing.assert_allclose(tree.flatten(together_grads)[path], grad, atol=tolerance, err_msg=path)


def test_many_adapters_share_one_backbone_under_vmap() -> None:
    adapted = build()
    x = batch(adapted.model)["input"]
    params = variables(adapted)["params"]
    each = [away(adapted, seed)["adapters"] for seed in range(2)]

    def forward(adapters: Any) -> jax.Array:
        return adapted.apply({"params": params, "adapters": adapters}, x)[0]

    together = jax.vmap(forward)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *each))
    for logits, adapters in zip(together, each, strict=True):
        np.testing.assert_allclose(logits, forward(adapters), atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-2


def test_activations_keep_their_precision() -> None:
    adapted = build("bert", target="pool/dense")
    moved = away(adapted)
    half = {**moved, "params": jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), moved["params"])}
    flow = {"hidden": np.random.default_rng(2).normal(0, 1, (5, 6, 16)), "mask": np.ones((5, 6))}
    wide = {name: jnp.asarray(x, jnp.float32) for name, x in flow.items()}
    narrow = {name: jnp.asarray(x, jnp.bfloat16) for name, x in flow.items()}
    out, _ = adapted.apply(half, narrow, first=3, last=4, scale=jnp.float32(1.0))
    assert out.dtype == jnp.bfloat16
    expected, _ = adapted.apply(moved, wide, first=3, last=4)
    np.testing.assert_allclose(out.astype(jnp.float32), expected, atol=0.05)


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (
            "vit",
            {"n": 3},
            "n: expected a divisor of the 16 channels of 'block_0/attention' and of its hidden width 8, got 3",
        ),
        ("resnet", {"n": 4, "reduction": 1, "target": "head"}, "n: expected a divisor of the 3 channels of 'head'"),
        (
            "vit",
            {"n": 4, "reduction": 3},
            "n: expected a divisor of the 16 channels of 'block_0/attention' and of its hidden width 5",
        ),
        ("bert", {"target": "block_0"}, "target: 'block_0' does not take and give one array of activations"),
        ("vit", {"target": "block_7/mlp"}, "target: 'block_7/mlp' matches no layer of 'vit' that 'compacter' adapts"),
    ],
)
def test_settings_that_do_not_fit_are_refused(model: str, changes: dict[str, Any], message: str) -> None:
    adapted = build(model, **changes)
    with pytest.raises(ConfigError, match=re.escape(message)):
        adapted.init_adapters(compiled_init(adapted.model)(0), 0)
    with pytest.raises(ConfigError, match=re.escape(message)):
        adapted.labels()


def test_the_paper_s_settings_are_the_defaults() -> None:
    defaults = {name: field.default for name, field in METHODS["compacter"].fields.items()}
    assert defaults == {"n": 4, "reduction": 32, "std": 0.01, "target": ""}

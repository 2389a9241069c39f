"""Bottleneck adapters: where the four designs stand, what they compute, where they start and what they refuse."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import float64, gelu_erf, slope, stacked, vit_block
from tiny import adapt, batch, compiled_init, tiny_model, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.registry import METHODS
from tlx.errors import ConfigError
from tlx.partition import FROZEN

MODEL_NAMES = ["bert", "resnet", "vit"]
SETTINGS: dict[str, dict[str, Any]] = {
    "houlsby": {"reduction": 4, "std": 1e-3},
    "pfeiffer": {"reduction": 4, "std": 1e-3},
    "parallel": {"reduction": 2, "factor": 4.0},
    "adaptformer": {"bottleneck": 3, "factor": 0.1},
}
# Their first layer's width on 16 channels, whether they read a sublayer's input, the nonlinearity, and the factor s.
DESIGNS: dict[str, tuple[int, bool, Callable[[np.ndarray], np.ndarray], float]] = {
    "houlsby": (4, False, gelu_erf, 1.0),
    "pfeiffer": (4, False, lambda x: np.maximum(x, 0), 1.0),
    "parallel": (8, True, lambda x: np.maximum(x, 0), 4.0),
    "adaptformer": (3, True, lambda x: np.maximum(x, 0), 0.1),
}


def build(method: str, model: str = "vit", **changes: Any) -> Adapted:
    return adapt(method, tiny_model(model), **{**SETTINGS[method], **changes})


def away(adapted: Adapted, seed: int = 0) -> dict[str, Any]:
    """The variables with noise on parameters and adapters."""
    rng = np.random.default_rng(seed)
    leaves = tree.flatten(variables(adapted))
    noise = {path: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32) for path, leaf in leaves.items()}
    return tree.unflatten(
        {path: leaf if path.startswith("batch_stats/") else leaf + noise[path] for path, leaf in leaves.items()}
    )


def side(method: str, sides: dict[str, np.ndarray], path: str, z: np.ndarray) -> np.ndarray:
    """What an adapter adds, written out."""
    _, _, activation, factor = DESIGNS[method]
    at = f"{path}/{method}"
    hidden = activation(z @ sides[f"{at}_down"] + sides[f"{at}_down_bias"])
    return factor * (hidden @ sides[f"{at}_up"] + sides[f"{at}_up_bias"])


def block_by_hand(
    method: str, params: dict[str, np.ndarray], sides: dict[str, np.ndarray], x: np.ndarray, scale: float
) -> np.ndarray:
    def call(path: str, layer: Any, x: np.ndarray) -> np.ndarray:
        y = layer(x)
        if path not in (("attention", "mlp") if method == "houlsby" else ("mlp",)):
            return y
        return y + scale * side(method, sides, path, x if DESIGNS[method][1] else y)

    return vit_block(params, x, 2, call)


@pytest.mark.parametrize("model", MODEL_NAMES)
@pytest.mark.parametrize("method", sorted(SETTINGS))
def test_adapters_stand_at_their_sublayers(method: str, model: str) -> None:
    sublayers = {f"block_{i}/mlp": 16 for i in (0, 1)}
    if model == "resnet":
        sublayers = {"block_0/norm2": 8, "block_1/norm2": 16}
    elif method == "houlsby":
        sublayers |= {f"block_{i}/attention": 16 for i in (0, 1)}
    expected: dict[str, tuple[int, ...]] = {}
    for path, channels in sublayers.items():
        hidden = 3 if method == "adaptformer" else channels // SETTINGS[method]["reduction"]
        at = f"{path}/{method}"
        expected |= {f"{at}_down": (channels, hidden), f"{at}_down_bias": (hidden,)}
        expected |= {f"{at}_up": (hidden, channels), f"{at}_up_bias": (channels,)}
    adapters = tree.flatten(variables(build(method, model))["adapters"])
    assert {path: leaf.shape for path, leaf in adapters.items()} == expected


@pytest.mark.parametrize("scale", [1.0, 0.6])
@pytest.mark.parametrize("method", sorted(SETTINGS))
def test_a_block_equals_the_one_written_out(method: str, scale: float) -> None:
    adapted = build(method)
    moved = away(adapted)
    x_BTD = np.random.default_rng(1).normal(0, 1, (3, 4, 16))
    params, sides = float64(moved["params"], "block_0/"), float64(moved["adapters"], "block_0/")
    expected = block_by_hand(method, params, sides, x_BTD, scale)
    out, _ = adapted.apply(moved, jnp.asarray(x_BTD, jnp.float32), first=1, last=2, scale=jnp.float32(scale))
    np.testing.assert_allclose(out, expected, atol=2e-5 * np.abs(expected).max())
    assert np.abs(expected - block_by_hand(method, params, sides, x_BTD, 0.0)).max() > 0.1


@pytest.mark.parametrize("method", sorted(SETTINGS))
def test_gradients_equal_finite_differences_of_the_block_written_out(method: str) -> None:
    adapted = build(method)
    moved = away(adapted)
    rng = np.random.default_rng(1)
    x_BTD, weight_BTD = rng.normal(0, 1, (2, 3, 4, 16))
    params, sides = float64(moved["params"], "block_0/"), float64(moved["adapters"], "block_0/")

    def value(adapters: Any) -> jax.Array:
        out, _ = adapted.apply({**moved, "adapters": adapters}, jnp.asarray(x_BTD, jnp.float32), first=1, last=2)
        return jnp.sum(out * jnp.asarray(weight_BTD, jnp.float32))

    grads = float64(jax.jit(jax.grad(value))(moved["adapters"]), "block_0/")
    for path in sides:
        along = {other: rng.normal(0, 1, leaf.shape) * (other == path) for other, leaf in sides.items()}
        expected = slope(
            lambda at: float(np.sum(block_by_hand(method, params, at, x_BTD, 1.0) * weight_BTD)), sides, along
        )
        assert np.sum(grads[path] * along[path]) == pytest.approx(expected, rel=1e-3, abs=1e-3), path


@pytest.mark.parametrize(("method", "beside"), [("parallel", True), ("adaptformer", True), ("pfeiffer", False)])
def test_in_a_residual_network_an_adapter_stands_at_the_last_norm_of_a_branch(method: str, beside: bool) -> None:
    """Beside it, the adapter reads what the norm reads: the last convolution's output."""
    adapted = build(method, "resnet")
    moved = away(adapted)
    x_BHWC = jnp.asarray(np.random.default_rng(1).uniform(0, 1, (2, 5, 5, 8)), jnp.float32)
    plain = {key: leaves for key, leaves in moved.items() if key != "adapters"}
    _, seen = adapted.model.module.apply(plain, x_BHWC, 1, 2, capture_intermediates=True, mutable=["intermediates"])
    [z_BHWC], [y_BHWC] = (seen["intermediates"]["block_0"][name]["__call__"] for name in ("conv2", "norm2"))
    read = np.asarray(z_BHWC if beside else y_BHWC, np.float64)
    added = side(method, float64(moved["adapters"], "block_0/"), "norm2", read)
    assert np.abs(added).max() > 0.05
    expected = np.maximum(np.asarray(x_BHWC + y_BHWC, np.float64) + added, 0)
    np.testing.assert_allclose(adapted.apply(moved, x_BHWC, first=1, last=2)[0], expected, atol=1e-4)


@pytest.mark.parametrize("model", MODEL_NAMES)
@pytest.mark.parametrize("method", ["parallel", "adaptformer"])
def test_those_beside_a_sublayer_start_at_the_base_model_s_output(method: str, model: str) -> None:
    adapted = build(method, model)
    x = batch(adapted.model)["input"]
    base = adapted.model.module.apply(compiled_init(adapted.model)(0), x)
    assert np.array_equal(adapted.apply(variables(adapted), x)[0], base)
    assert not METHODS[method].starts_elsewhere


@pytest.mark.parametrize("model", MODEL_NAMES)
@pytest.mark.parametrize("method", ["houlsby", "pfeiffer"])
def test_those_after_a_sublayer_start_near_it_and_say_so(method: str, model: str) -> None:
    adapted = build(method, model)
    x = batch(adapted.model)["input"]
    base = adapted.model.module.apply(compiled_init(adapted.model)(0), x)
    assert 0 < np.abs(adapted.apply(variables(adapted), x)[0] - base).max() < 1e-4
    assert METHODS[method].starts_elsewhere


def test_initial_kernels_are_those_of_the_papers() -> None:
    model = tiny_model(width=64, depth=1)
    for method in ("houlsby", "pfeiffer"):
        drawn = tree.flatten(variables(adapt(method, model, reduction=1, std=1e-3))["adapters"])
        for kernel in (drawn[f"block_0/mlp/{method}_down"], drawn[f"block_0/mlp/{method}_up"]):
            assert kernel.size == 4096 and np.abs(kernel).max() <= 2e-3
            # A normal of standard deviation 1e-3 that is cut off at two of these has 0.88 of it left.
            assert np.std(kernel) == pytest.approx(0.8796e-3, rel=0.05)
            assert abs(np.mean(kernel)) < 5 * 0.88e-3 / 64
        assert not np.array_equal(*(drawn[f"block_0/mlp/{method}_{end}"] for end in ("down", "up")))
    for method, settings in {"parallel": {"reduction": 1}, "adaptformer": {"bottleneck": 64}}.items():
        drawn = tree.flatten(variables(adapt(method, model, **settings))["adapters"])
        down = drawn[f"block_0/mlp/{method}_down"]
        assert 0.98 / 8 < np.abs(down).max() <= 1 / 8
        assert np.std(down) == pytest.approx(1 / 8 / np.sqrt(3), rel=0.05)
        assert not np.any(drawn[f"block_0/mlp/{method}_up"])
    biases = [leaf for path, leaf in drawn.items() if path.endswith("bias")]
    assert biases and not any(np.any(bias) for bias in biases)


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_houlsby_trains_all_norms_and_the_others_none(model: str) -> None:
    norms = {
        "vit": {"block_0/norm1", "block_0/norm2", "block_1/norm1", "block_1/norm2", "pool/norm"},
        "bert": {"embed/norm", "block_0/norm1", "block_0/norm2", "block_1/norm1", "block_1/norm2"},
        "resnet": {
            "stem/norm1",
            *(f"block_{i}/{name}" for i in (0, 1) for name in ("norm1", "norm2")),
            "block_1/shortcut_norm",
        },
    }[model]
    expected = {f"params/{norm}/{leaf}" for norm in norms for leaf in ("scale", "bias")}
    for method in SETTINGS:
        labels = build(method, model).labels()
        moving = {path for path, label in labels.items() if label != FROZEN and not path.startswith("adapters/")}
        heads = {"params/head/kernel", "params/head/bias"}
        assert moving - heads == (expected if method == "houlsby" else set()) and heads <= moving
        assert {label for path, label in labels.items() if path.startswith("adapters/")} == {"adapter"}
        assert {labels[path] for path in heads} == {"head"}
    assert {label for path, label in build("houlsby", model).labels().items() if path in expected} == {"train"}


@pytest.mark.parametrize("model", MODEL_NAMES)
@pytest.mark.parametrize("method", sorted(SETTINGS))
def test_a_scale_of_zero_is_the_base_model(method: str, model: str) -> None:
    adapted = build(method, model)
    moved, x = away(adapted), batch(adapted.model)["input"]
    base = adapted.model.module.apply({key: moved[key] for key in moved if key != "adapters"}, x)
    assert np.array_equal(adapted.apply(moved, x, scale=jnp.float32(0.0))[0], base)
    assert np.abs(adapted.apply(moved, x)[0] - base).max() > 1e-3


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["houlsby", "parallel"])
def test_scanned_blocks_compute_alike(method: str) -> None:
    adapted, scanned = build(method), adapt(method, tiny_model(scan=True, remat=True), **SETTINGS[method])
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
        np.testing.assert_allclose(tree.flatten(together_grads)[path], grad, atol=2e-5, err_msg=path)


def test_an_empty_path_is_not_the_whole_model() -> None:
    """Else an adapter would stand after every run of stages."""
    drawn = variables(build("pfeiffer", target=".*/mlp|"))["adapters"]
    assert drawn.keys() == {"block_0", "block_1"}


def test_activations_keep_their_precision() -> None:
    for method in ("pfeiffer", "parallel"):
        adapted = build(method, target="head", **({"reduction": 1} if method == "pfeiffer" else {}))
        moved = away(adapted)
        half = {**moved, "params": jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), moved["params"])}
        x_BD = jnp.asarray(np.random.default_rng(2).normal(0, 1, (5, 16)), jnp.bfloat16)
        logits, _ = adapted.apply(half, x_BD, first=4, scale=jnp.float32(1.0))
        assert logits.dtype == jnp.bfloat16
        expected, _ = adapted.apply(moved, x_BD.astype(jnp.float32), first=4)
        np.testing.assert_allclose(logits.astype(jnp.float32), expected, atol=0.05 * np.abs(expected).max())


def test_beside_a_layer_that_changes_the_channels_the_narrower_side_counts() -> None:
    adapted = build("parallel", target="block_0/mlp/up", reduction=4)
    shapes = {path.rpartition("_")[2]: x.shape for path, x in tree.flatten(variables(adapted)["adapters"]).items()}
    assert shapes["down"] == (16, 4) and shapes["up"] == (4, 64)


@pytest.mark.parametrize(
    ("method", "model", "changes", "message"),
    [
        ("houlsby", "vit", {"reduction": 17}, "reduction: expected at most 16 for 'block_0/attention', got 17"),
        ("pfeiffer", "resnet", {"reduction": 9}, "reduction: expected at most 8 for 'block_0/norm2', got 9"),
        ("adaptformer", "bert", {"bottleneck": 17}, "bottleneck: expected at most 16 for 'block_0/mlp', got 17"),
        (
            "parallel",
            "vit",
            {"target": ".*/mlps"},
            "target: '.*/mlps' matches no layer of 'vit' that 'parallel' adapts",
        ),
        (
            "parallel",
            "resnet",
            {"target": ".*/conv1"},
            "target: 'block_1/conv1' takes (8, 8, 8) and gives (4, 4, 16); only channels may differ",
        ),
        ("parallel", "bert", {"target": "embed/word"}, "target: 'embed/word' does not take and give one array"),
        ("houlsby", "bert", {"target": "block_1"}, "target: 'block_1' does not take and give one array"),
    ],
)
def test_settings_that_do_not_fit_are_refused(method: str, model: str, changes: dict[str, Any], message: str) -> None:
    adapted = build(method, model, **changes)
    with pytest.raises(ConfigError, match=re.escape(message)):
        adapted.labels()
    with pytest.raises(ConfigError, match=re.escape(message)):
        adapted.init_adapters(compiled_init(adapted.model)(0), 0)


def test_the_papers_settings_are_the_defaults() -> None:
    fields = {name: METHODS[name].fields for name in SETTINGS}
    assert {
        name: {key: one.default for key, one in own.items() if key != "target"} for name, own in fields.items()
    } == {
        "houlsby": {"reduction": 16, "std": 1e-3},
        "pfeiffer": {"reduction": 16, "std": 1e-3},
        "parallel": {"reduction": 2, "factor": 4.0},
        "adaptformer": {"bottleneck": 64, "factor": 0.1},
    }

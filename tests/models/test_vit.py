"""The vision transformer against loops and formulas written out in numpy."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import compiled_init, differing, tiny_model

from tlx import tree
from tlx.errors import ConfigError
from tlx.fields import check_fields
from tlx.models.registry import Model
from tlx.models.vit import FIELDS, Attention, Block, Embed, Mlp, check

RNG = np.random.default_rng(0)


def randomised(module: Any, *args: Any, seed: int = 0) -> dict[str, Any]:
    """Parameters of a module with every leaf drawn anew, so that biases and norms count too."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *args)["params"]
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.4, leaf.shape), jnp.float32), shapes)


def double(params: Any) -> dict[str, np.ndarray]:
    return {path: np.asarray(leaf, np.float64) for path, leaf in tree.flatten(params).items()}


def layer_norm(x: np.ndarray, p: dict[str, np.ndarray], name: str) -> np.ndarray:
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * p[f"{name}/scale"] + p[f"{name}/bias"]


def attention(x_BTD: np.ndarray, p: dict[str, np.ndarray], heads: int, prefix: str = "") -> np.ndarray:
    """Softmax(QKᵀ/√K)V head by head and image by image."""
    images, patches, width = x_BTD.shape
    k = width // heads
    out_BTD = np.zeros_like(x_BTD)
    for b in range(images):
        q, key, v = (x_BTD[b] @ p[f"{prefix}{n}/kernel"] + p[f"{prefix}{n}/bias"] for n in ("query", "key", "value"))
        mixed_TD = np.zeros((patches, width))
        for head in range(heads):
            own = slice(head * k, (head + 1) * k)
            score_TT = q[:, own] @ key[:, own].T / math.sqrt(k)
            weight_TT = np.exp(score_TT) / np.exp(score_TT).sum(axis=1, keepdims=True)
            mixed_TD[:, own] = weight_TT @ v[:, own]
        out_BTD[b] = mixed_TD @ p[f"{prefix}out/kernel"] + p[f"{prefix}out/bias"]
    return out_BTD


def mlp(x: np.ndarray, p: dict[str, np.ndarray], prefix: str = "") -> np.ndarray:
    h = x @ p[f"{prefix}up/kernel"] + p[f"{prefix}up/bias"]
    gelu = 0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    return gelu @ p[f"{prefix}down/kernel"] + p[f"{prefix}down/bias"]


def test_patches_are_those_of_a_naive_loop() -> None:
    module, x_BHWC = Embed(patch=2, width=5), RNG.normal(size=(3, 4, 6, 2)).astype(np.float32)
    params = randomised(module, x_BHWC)
    p = double(params)
    expected_BTD = np.zeros((3, 2 * 3, 5))
    for b in range(3):
        for row in range(2):
            for column in range(3):
                t = row * 3 + column
                total = p["patches/bias"] + p["position"][0, t]
                for i in range(2):
                    for j in range(2):
                        for c in range(2):
                            pixel = float(x_BHWC[b, 2 * row + i, 2 * column + j, c])
                            total = total + pixel * p["patches/kernel"][(i * 2 + j) * 2 + c]
                expected_BTD[b, t] = total
    np.testing.assert_allclose(module.apply({"params": params}, x_BHWC), expected_BTD, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 6])
def test_attention_is_the_formula(heads: int) -> None:
    module, x_BTD = Attention(heads), RNG.normal(size=(2, 5, 6)).astype(np.float32)
    params = randomised(module, x_BTD)
    expected = attention(x_BTD.astype(np.float64), double(params), heads)
    np.testing.assert_allclose(module.apply({"params": params}, x_BTD), expected, atol=1e-5)


def test_the_mlp_is_the_formula() -> None:
    module, x_BTD = Mlp(hidden=12), RNG.normal(size=(2, 3, 4)).astype(np.float32)
    params = randomised(module, x_BTD)
    expected = mlp(x_BTD.astype(np.float64), double(params))
    np.testing.assert_allclose(module.apply({"params": params}, x_BTD), expected, atol=1e-5)


def test_a_block_adds_attention_and_mlp_of_normed_inputs() -> None:
    module, x_BTD = Block(heads=2, mlp_ratio=3), RNG.normal(size=(2, 3, 4)).astype(np.float32)
    params = randomised(module, x_BTD)
    p, x = double(params), x_BTD.astype(np.float64)
    assert p["mlp/up/kernel"].shape == (4, 12)
    x = x + attention(layer_norm(x, p, "norm1"), p, 2, "attention/")
    x = x + mlp(layer_norm(x, p, "norm2"), p, "mlp/")
    np.testing.assert_allclose(module.apply({"params": params}, x_BTD), x, atol=1e-4)


def test_features_are_the_mean_of_normed_patches() -> None:
    model = tiny_model()
    params = jax.tree.map(jnp.asarray, compiled_init(model)(0)["params"])
    params["pool"]["norm"] = {"scale": jnp.linspace(0.5, 2.0, 16), "bias": jnp.linspace(-1.0, 1.0, 16)}
    x_BTD = RNG.normal(size=(2, 4, 16)).astype(np.float32)
    depth = model.stages.index("pool")
    expected = layer_norm(x_BTD.astype(np.float64), double(params["pool"]), "norm").mean(axis=1)
    pooled_BD = model.module.apply({"params": params}, x_BTD, depth, depth + 1)
    np.testing.assert_allclose(pooled_BD, expected, atol=1e-5)
    logits_BC = model.module.apply({"params": params}, x_BTD, depth)
    head = double(params["head"])
    np.testing.assert_allclose(logits_BC, expected @ head["kernel"] + head["bias"], atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "image_HWC", "classes"),
    [
        ({"patch": 4, "width": 16, "depth": 2, "heads": 2, "mlp_ratio": 4}, (8, 8, 1), 3),
        ({"patch": 2, "width": 12, "depth": 1, "heads": 3, "mlp_ratio": 2}, (4, 8, 3), 7),
        ({"patch": 16, "width": 192, "depth": 12, "heads": 3, "mlp_ratio": 4}, (224, 224, 3), 1000),
    ],
)
def test_the_number_of_parameters(settings: dict[str, int], image_HWC: tuple[int, int, int], classes: int) -> None:
    h, w, c = image_HWC
    p, d, f = settings["patch"], settings["width"], settings["mlp_ratio"] * settings["width"]
    patches = (h // p) * (w // p)
    embed = p * p * c * d + d + patches * d
    block = 4 * (d * d + d) + (d * f + f) + (f * d + d) + 2 * 2 * d
    model = Model("vit", tuple(settings.items()), classes, image_HWC)
    shapes = jax.eval_shape(lambda: model.init(0))["params"]
    assert tree.count(shapes) == embed + settings["depth"] * block + 2 * d + (d * classes + classes)
    assert model.stages == ("embed", *(f"block_{i}" for i in range(settings["depth"])), "pool", "head")


def test_a_block_s_leaves_do_not_depend_on_the_other_blocks() -> None:
    shallow, deep = (compiled_init(tiny_model(depth=depth))(0)["params"] for depth in (1, 2))
    deep.pop("block_1")
    assert differing(shallow, deep) == set()


def test_the_order_of_patches_matters_through_their_positions_alone() -> None:
    model = tiny_model()
    params = compiled_init(model)(0)["params"]
    x_BHWC = RNG.uniform(-1, 1, (2, 8, 8, 1)).astype(np.float32)
    swapped = np.concatenate([x_BHWC[:, 4:], x_BHWC[:, :4]], axis=1)
    logits, other = (model.module.apply({"params": params}, x) for x in (x_BHWC, swapped))
    assert np.abs(logits - other).max() > 1e-5
    params["embed"]["position"] = jnp.zeros_like(params["embed"]["position"])
    logits, other = (model.module.apply({"params": params}, x) for x in (x_BHWC, swapped))
    np.testing.assert_allclose(logits, other, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "image_HWC", "message"),
    [
        ({"heads": 3}, (28, 28, 1), "heads: 3 heads do not divide the width 64"),
        ({"heads": 128}, (28, 28, 1), "heads: 128 heads do not divide the width 64"),
        ({"patch": 8}, (28, 28, 1), "patch: patches of 8 pixels do not tile images of 28×28"),
        ({"patch": 4}, (28, 30, 1), "patch: patches of 4 pixels do not tile images of 28×30"),
        ({"patch": 4}, (30, 28, 3), "patch: patches of 4 pixels do not tile images of 30×28"),
        ({"patch": 56}, (28, 28, 1), "patch: patches of 56 pixels do not tile images of 28×28"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, int], image_HWC: tuple[int, ...], message: str) -> None:
    settings = check_fields("model", FIELDS, changes)
    with pytest.raises(ConfigError) as caught:
        check(settings, image_HWC)
    assert str(caught.value) == message
    assert str(caught.value.within("config.model")) == f"config.model.{message}"


def test_settings_that_fit() -> None:
    check(check_fields("model", FIELDS, {}), (28, 28, 1))
    check(check_fields("model", FIELDS, {"patch": 14, "heads": 64}), (28, 14, 1))


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [0, -1, 10**6, 4.0, "4", True, None])
def test_settings_out_of_range_name_the_field(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^model.{name}: expected an integer from 1 to "):
        check_fields("model", FIELDS, {name: value})

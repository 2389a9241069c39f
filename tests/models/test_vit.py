"""The vision transformer against loops and formulas written out in numpy."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from formulas import attention, below, double, doubled_dropout, layer_norm, mlp, randomised
from tiny import compiled_init, tiny_model

from tlx import tree
from tlx.errors import ConfigError
from tlx.fields import check_fields
from tlx.models.registry import Model
from tlx.models.vit import FIELDS, Block, Embed, check

RNG = np.random.default_rng(0)


# Of 2 ramps over 8×8 pixels through the tiny model of seed 0. Saved weights count on these never changing.
LOGITS = [[0.0043031164, 0.0526421517, -0.0383555517], [-0.0857642889, -0.0773173645, 0.0125079937]]
GRADIENT_NORM = 1.0949934721
LEAVES_OF_A_BLOCK = {
    **{f"attention/{name}/kernel": (16, 16) for name in ("query", "key", "value", "out")},
    **{f"attention/{name}/bias": (16,) for name in ("query", "key", "value", "out")},
    **{f"{name}/{leaf}": (16,) for name in ("norm1", "norm2") for leaf in ("scale", "bias")},
    "mlp/up/kernel": (16, 64),
    "mlp/up/bias": (64,),
    "mlp/down/kernel": (64, 16),
    "mlp/down/bias": (16,),
}


def test_a_seed_s_leaves_and_what_they_compute_stay_the_same() -> None:
    model = tiny_model()
    fresh = compiled_init(model)(0)
    x_BHWC = np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 8, 8, 1)

    def loss(variables: Any) -> Any:
        logits_BL = model.module.apply(variables, x_BHWC)
        return jnp.sum(logits_BL**2), logits_BL

    (_, logits_BL), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(fresh)
    np.testing.assert_allclose(logits_BL, LOGITS, atol=1e-6)
    norm = np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(grads)))
    assert norm == pytest.approx(GRADIENT_NORM, rel=1e-5)
    assert {path: leaf.shape for path, leaf in tree.flatten(fresh).items()} == {
        "params/embed/patches/kernel": (16, 16),
        "params/embed/patches/bias": (16,),
        "params/embed/position": (1, 4, 16),
        **{f"params/block_{i}/{path}": shape for i in (0, 1) for path, shape in LEAVES_OF_A_BLOCK.items()},
        "params/pool/norm/scale": (16,),
        "params/pool/norm/bias": (16,),
        "params/head/kernel": (16, 3),
        "params/head/bias": (3,),
    }


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_patches_are_those_of_a_naive_loop(factor: float) -> None:
    module, x_BHWC = Embed(patch=2, width=5, dropout=0.1), RNG.normal(size=(3, 4, 6, 2)).astype(np.float32)
    variables = randomised(module, x_BHWC)
    p = double(variables["params"])
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
                expected_BTD[b, t] = factor * total
    with nn.intercept_methods(doubled_dropout):
        x_BTD = module.apply(variables, x_BHWC, train=factor == 2.0)
    np.testing.assert_allclose(x_BTD, expected_BTD, atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_block_adds_attention_and_mlp_of_normed_inputs(factor: float) -> None:
    module, x_BTD = Block(heads=2, mlp_ratio=3, dropout=0.1), RNG.normal(size=(2, 3, 4)).astype(np.float32)
    variables = randomised(module, x_BTD)
    p, x = double(variables["params"]), x_BTD.astype(np.float64)
    assert p["mlp/up/kernel"].shape == (4, 12)
    x = x + attention(layer_norm(x, p, "norm1"), below(p, "attention/"), 2, factor=factor)
    x = x + factor * mlp(layer_norm(x, p, "norm2"), below(p, "mlp/"))
    with nn.intercept_methods(doubled_dropout):
        y_BTD = module.apply(variables, x_BTD, train=factor == 2.0)
    np.testing.assert_allclose(y_BTD, x, atol=1e-4)


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
    ("settings", "input_shape", "classes"),
    [
        ({"patch": 4, "width": 16, "depth": 2, "heads": 2, "mlp_ratio": 4}, (8, 8, 1), 3),
        ({"patch": 2, "width": 12, "depth": 1, "heads": 3, "mlp_ratio": 2}, (4, 8, 3), 7),
        ({"patch": 16, "width": 192, "depth": 12, "heads": 3, "mlp_ratio": 4}, (224, 224, 3), 1000),
    ],
)
def test_the_number_of_parameters(settings: dict[str, int], input_shape: tuple[int, int, int], classes: int) -> None:
    h, w, c = input_shape
    p, d, f = settings["patch"], settings["width"], settings["mlp_ratio"] * settings["width"]
    patches = (h // p) * (w // p)
    embed = p * p * c * d + d + patches * d
    block = 4 * (d * d + d) + (d * f + f) + (f * d + d) + 2 * 2 * d
    model = Model("vit", tuple(settings.items()), classes, input_shape)
    shapes = jax.eval_shape(lambda: model.init(0))["params"]
    assert tree.count(shapes) == embed + settings["depth"] * block + 2 * d + (d * classes + classes)
    assert model.stages == ("embed", *(f"block_{i}" for i in range(settings["depth"])), "pool", "head")


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
    ("changes", "input_shape", "message"),
    [
        ({"heads": 3}, (28, 28, 1), "heads: 3 heads do not divide the width 64"),
        ({"heads": 128}, (28, 28, 1), "heads: 128 heads do not divide the width 64"),
        ({"patch": 8}, (28, 28, 1), "patch: patches of 8 pixels do not tile images of 28×28"),
        ({"patch": 4}, (28, 30, 1), "patch: patches of 4 pixels do not tile images of 28×30"),
        ({"patch": 4}, (30, 28, 3), "patch: patches of 4 pixels do not tile images of 30×28"),
        ({"patch": 56}, (28, 28, 1), "patch: patches of 56 pixels do not tile images of 28×28"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, int], input_shape: tuple[int, ...], message: str) -> None:
    settings = check_fields("model", FIELDS, changes)
    with pytest.raises(ConfigError) as caught:
        check(settings, input_shape)
    assert str(caught.value) == message
    assert str(caught.value.within("config.model")) == f"config.model.{message}"


def test_settings_that_fit() -> None:
    check(check_fields("model", FIELDS, {}), (28, 28, 1))
    check(check_fields("model", FIELDS, {"patch": 14, "heads": 64}), (28, 14, 1))


@pytest.mark.parametrize("name", ["patch", "width", "depth", "heads", "mlp_ratio"])
@pytest.mark.parametrize("value", [0, -1, 10**6, 4.0, "4", True, None])
def test_settings_out_of_range_name_the_field(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^model.{name}: expected an integer from 1 to "):
        check_fields("model", FIELDS, {name: value})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("dropout", -0.1, "a number from 0 to 0.9"),
        ("dropout", 1.0, "a number from 0 to 0.9"),
        ("remat", 1, "true or false"),
        ("scan", "yes", "true or false"),
    ],
)
def test_what_is_no_rate_and_no_switch(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"^model.{name}: expected {expected}, got "):
        check_fields("model", FIELDS, {name: value})

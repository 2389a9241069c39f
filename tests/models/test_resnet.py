"""The residual network against loops written out in numpy, and against its published sizes."""

from typing import Any

import jax
import numpy as np
import pytest
from formulas import Leaves, batch_norm, convolution, double, randomised
from tiny import tiny_model

from tlx import tree
from tlx.errors import ConfigError
from tlx.fields import check_fields
from tlx.models.registry import Model
from tlx.models.resnet import FIELDS, Block, Stem, check

RNG = np.random.default_rng(0)
X_BHWC = RNG.normal(size=(2, 7, 6, 4)).astype(np.float32)


def resnet(input_shape: tuple[int, ...] = (32, 32, 3), classes: int = 5, **settings: Any) -> Model:
    return Model("resnet", tuple(check_fields("model", FIELDS, settings).items()), classes, input_shape)


def max_pool(x_BHWC: np.ndarray) -> np.ndarray:
    """3×3 by 2, one row or column of nothing on all sides."""
    padded = np.pad(x_BHWC, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    h, w = ((size - 1) // 2 + 1 for size in x_BHWC.shape[1:3])
    rows = [[padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(axis=(1, 2)) for j in range(w)] for i in range(h)]
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)


def apply(module: Any, variables: Any, x: np.ndarray, train: bool) -> tuple[Any, Any]:
    if not train:
        return module.apply(variables, x), variables["batch_stats"]
    out, changed = module.apply(variables, x, train=True, mutable=["batch_stats"])
    return out, changed["batch_stats"]


def expected_block(p: Leaves, x: np.ndarray, stride: int, bottleneck: bool, train: bool) -> np.ndarray:
    def layer(x: np.ndarray, i: int, stride: int, margin: int) -> np.ndarray:
        y = convolution(x, p[f"params/conv{i}/kernel"], stride, margin)
        return batch_norm(y, p, f"norm{i}", train)

    if bottleneck:
        y = np.maximum(layer(x, 1, 1, 0), 0)
        y = layer(np.maximum(layer(y, 2, stride, 1), 0), 3, 1, 0)
    else:
        y = layer(np.maximum(layer(x, 1, stride, 1), 0), 2, 1, 1)
    if "params/shortcut/kernel" in p:
        x = batch_norm(convolution(x, p["params/shortcut/kernel"], stride, 0), p, "shortcut_norm", train)
    return np.maximum(x + y, 0)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    ("bottleneck", "features", "stride", "shortcut"),
    [(False, 4, 1, False), (False, 5, 2, True), (True, 1, 1, False), (True, 3, 1, True), (True, 2, 2, True)],
)
def test_a_block_is_the_formula(bottleneck: bool, features: int, stride: int, shortcut: bool, train: bool) -> None:
    module = Block(features, stride, bottleneck)
    variables = randomised(module, X_BHWC)
    p = double(variables)
    assert ("params/shortcut/kernel" in p) == shortcut and not any(path.endswith("conv1/bias") for path in p)
    out, _ = apply(module, variables, X_BHWC, train)
    np.testing.assert_allclose(out, expected_block(p, X_BHWC.astype(np.float64), stride, bottleneck, train), atol=1e-4)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(("kind", "side", "stride"), [("imagenet", 7, 2), ("small", 3, 1)])
def test_the_stem_is_the_formula(kind: str, side: int, stride: int, train: bool) -> None:
    x_BHWC = RNG.normal(size=(2, 11, 8, 3)).astype(np.float32)
    module = Stem(5, kind)
    variables = randomised(module, x_BHWC)
    p = double(variables)
    assert p["params/conv1/kernel"].shape == (side, side, 3, 5)
    y = convolution(x_BHWC.astype(np.float64), p["params/conv1/kernel"], stride, side // 2)
    y = np.maximum(batch_norm(y, p, "norm1", train), 0)
    out, _ = apply(module, variables, x_BHWC, train)
    np.testing.assert_allclose(out, max_pool(y) if kind == "imagenet" else y, atol=1e-4)


def test_running_statistics_move_a_tenth_of_the_way() -> None:
    module = Stem(5, "small")
    variables = randomised(module, X_BHWC)
    p = double(variables)
    y = convolution(X_BHWC.astype(np.float64), p["params/conv1/kernel"], 1, 1)
    _, stats = apply(module, variables, X_BHWC, train=True)
    for name, batch in (("mean", y.mean(axis=(0, 1, 2))), ("var", y.var(axis=(0, 1, 2)))):
        expected = 0.9 * p[f"batch_stats/norm1/{name}"] + 0.1 * batch
        np.testing.assert_allclose(stats["norm1"][name], expected, atol=1e-4)


def test_the_head_sees_the_mean_over_rows_and_columns() -> None:
    model = tiny_model("resnet")
    variables = randomised(model.module, model.example())
    x_BHWC, pool = RNG.normal(size=(2, 4, 3, 16)).astype(np.float32), model.stages.index("pool")
    mean_BC = x_BHWC.astype(np.float64).mean(axis=(1, 2))
    head = double(variables["params"]["head"])
    np.testing.assert_allclose(model.module.apply(variables, x_BHWC, pool, pool + 1), mean_BC, atol=1e-6)
    np.testing.assert_allclose(
        model.module.apply(variables, x_BHWC, pool), mean_BC @ head["kernel"] + head["bias"], atol=1e-5
    )


def test_each_level_halves_the_resolution_and_doubles_the_channels() -> None:
    model = resnet((64, 48, 3), depths=(2, 1, 2), width=8, bottleneck=True)
    assert model.stages == ("stem", *(f"block_{i}" for i in range(5)), "pool", "head")
    variables = jax.eval_shape(lambda: model.init(0))
    shapes = [
        jax.eval_shape(lambda v, k=k: model.module.apply(v, model.example(), 0, k), variables).shape[1:]
        for k in range(1, 9)
    ]
    first, second, third = (16, 12, 32), (8, 6, 64), (4, 3, 128)
    assert shapes == [(16, 12, 8), first, first, second, third, third, (128,), (5,)]


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({"depths": (2, 2, 2, 2)}, 11_689_512),
        ({"depths": (3, 4, 6, 3)}, 21_797_672),
        ({"depths": (3, 4, 6, 3), "bottleneck": True}, 25_557_032),
    ],
)
def test_the_number_of_parameters_is_that_of_torchvision(settings: dict[str, Any], parameters: int) -> None:
    model = resnet((224, 224, 3), 1000, **settings)
    assert tree.count(jax.eval_shape(lambda: model.init(0))["params"]) == parameters


def test_leaves_start_as_published() -> None:
    for path, leaf in tree.flatten(jax.jit(resnet(depths=(1,), width=16, bottleneck=True).init)(0)).items():
        name = path.rsplit("/", 1)[1]
        if name == "kernel" and "head" not in path:
            side, _, _, features = leaf.shape
            # He et al. (2015b), equation 14: over what a kernel feeds.
            assert np.std(leaf) == pytest.approx(np.sqrt(2 / (side * side * features)), rel=0.15), path
        elif name == "kernel":
            assert np.std(leaf) == pytest.approx(0.02, rel=0.15)
        else:
            assert np.all(np.asarray(leaf) == (1.0 if name in ("scale", "var") else 0.0)), path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (2, 0)}, "depths[1]: expected an integer from 1 to 64, got 0"),
        ({"depths": ("2", 2)}, "depths[0]: expected an integer from 1 to 64, got '2'"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(check_fields("model", FIELDS, changes), (32, 32, 3))
    assert str(caught.value) == message


def test_a_stem_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model.stem: unknown value 'smal' \(did you mean 'small'\?\)$"):
        check_fields("model", FIELDS, {"stem": "smal"})

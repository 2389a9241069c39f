"""EfficientNet-Lite against loops written out in numpy, and against its published sizes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from formulas import Leaves, batch_norm, convolution, double, randomised
from tiny import tiny_model

from tlx import tree
from tlx.errors import ConfigError
from tlx.fields import check_fields
from tlx.models.efficientnet import FIELDS, VARIANTS, Block, Pool, Stem, check, levels
from tlx.models.registry import Model

RNG = np.random.default_rng(0)
EPSILON = 1e-3


def efficientnet(side: int = 32, classes: int = 1000, **settings: Any) -> Model:
    return Model("efficientnet", tuple(check_fields("model", FIELDS, settings).items()), classes, (side, side, 3))


def same(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """A convolution as TensorFlow pads it: as many outputs as strides fit, what is odd goes to the far side."""
    margins = []
    for size in x.shape[1:3]:
        total = max((-(-size // stride) - 1) * stride + kernel.shape[0] - size, 0)
        margins.append((total // 2, total - total // 2))
    x = np.pad(x, ((0, 0), *margins, (0, 0)))
    if kernel.shape[2] == x.shape[3]:
        return convolution(x, kernel, stride, 0)
    each = [convolution(x[..., c : c + 1], kernel[..., c : c + 1], stride, 0) for c in range(x.shape[3])]
    return np.concatenate(each, axis=-1)


def relu6(x: np.ndarray) -> np.ndarray:
    return np.clip(x, 0, 6)


def expected_block(p: Leaves, x: np.ndarray, stride: int, train: bool) -> np.ndarray:
    y = x
    for name in ("expand", "depthwise", "project"):
        if f"params/{name}/kernel" in p:
            y = same(y, p[f"params/{name}/kernel"], stride if name == "depthwise" else 1)
            y = batch_norm(y, p, f"{name}_norm", train, EPSILON)
            y = y if name == "project" else relu6(y)
    return x + y if x.shape == y.shape else y


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    ("features", "side", "stride", "expand"), [(4, 3, 1, 1), (5, 3, 2, 6), (4, 5, 1, 6), (4, 5, 2, 6), (6, 3, 1, 6)]
)
def test_a_block_is_the_formula(features: int, side: int, stride: int, expand: int, train: bool) -> None:
    x = (3 * RNG.normal(size=(2, 7, 6, 4))).astype(np.float32)
    module = Block(features, side, stride, expand)
    variables = randomised(module, x)
    p = double(variables)
    assert ("params/expand/kernel" in p) == (expand > 1)
    out = module.apply(variables, x, train=train, mutable=["batch_stats"])[0]
    np.testing.assert_allclose(out, expected_block(p, x.astype(np.float64), stride, train), atol=2e-4)


@pytest.mark.parametrize("train", [False, True])
def test_the_stem_and_the_pool_are_the_formulas(train: bool) -> None:
    x = RNG.uniform(-1, 1, (2, 8, 7, 3)).astype(np.float32)
    stem = Stem(5, mean=(0.3, 0.4, 0.5), std=(0.1, 0.2, 0.3))
    variables = randomised(stem, x)
    p = double(variables)
    given = (0.5 + x.astype(np.float64) / 2 - [0.3, 0.4, 0.5]) / [0.1, 0.2, 0.3]
    y = relu6(batch_norm(same(given, p["params/conv/kernel"], 2), p, "norm", train, EPSILON))
    out = stem.apply(variables, x, train=train, mutable=["batch_stats"])[0]
    np.testing.assert_allclose(out, y, atol=1e-4)
    pool = Pool(6, dropout=0.0)
    variables = randomised(pool, out)
    p = double(variables)
    y = relu6(batch_norm(same(y, p["params/conv/kernel"], 1), p, "norm", train, EPSILON)).mean(axis=(1, 2))
    np.testing.assert_allclose(pool.apply(variables, out, train=train, mutable=["batch_stats"])[0], y, atol=1e-4)


def test_running_statistics_move_a_hundredth_of_the_way() -> None:
    x = RNG.uniform(-1, 1, (2, 8, 7, 3)).astype(np.float32)
    stem = Stem(5)
    variables = randomised(stem, x)
    p = double(variables)
    y = same(x.astype(np.float64), p["params/conv/kernel"], 2)
    changed = stem.apply(variables, x, train=True, mutable=["batch_stats"])[1]["batch_stats"]
    for name, batch in (("mean", y.mean(axis=(0, 1, 2))), ("var", y.var(axis=(0, 1, 2)))):
        expected = 0.99 * p[f"batch_stats/norm/{name}"] + 0.01 * batch
        np.testing.assert_allclose(changed["norm"][name], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "parameters", "depths", "widths"),
    [
        ("lite0", 4_652_008, (1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320)),
        ("lite1", 5_416_680, (1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320)),
        ("lite2", 6_092_072, (1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352)),
        ("lite3", 8_197_096, (1, 3, 3, 5, 5, 6, 1), (24, 32, 48, 96, 136, 232, 384)),
        ("lite4", 13_006_568, (1, 4, 4, 6, 6, 8, 1), (24, 32, 56, 112, 160, 272, 448)),
    ],
)
def test_variants_have_their_published_sizes(
    variant: str, parameters: int, depths: tuple[int, ...], widths: tuple[int, ...]
) -> None:
    assert levels({"variant": variant, "depths": (), "widths": ()}) == (depths, widths)
    model = efficientnet(variant=variant)
    assert tree.count(jax.eval_shape(lambda: model.init(0))["params"]) == parameters
    assert [*VARIANTS] == [f"lite{i}" for i in range(5)]


def test_five_of_its_strides_halve_the_resolution() -> None:
    model = efficientnet(64, stem=8, features=24, depths=(1,) * 7, widths=(8, 8, 12, 12, 16, 16, 20))
    variables = jax.eval_shape(lambda: model.init(0))
    shapes = [
        jax.eval_shape(lambda v, k=k: model.module.apply(v, model.example(), 0, k), variables).shape[1:]
        for k in range(1, len(model.stages) + 1)
    ]
    sides = [(32, 8), (32, 8), (16, 8), (8, 12), (4, 12), (4, 16), (2, 16), (2, 20)]
    assert shapes == [*((side, side, width) for side, width in sides), (24,), (1000,)]


def test_drop_connect_leaves_whole_branches_out() -> None:
    block = Block(4, 3, 1, 6, drop=0.5)
    x = jnp.asarray(RNG.normal(size=(64, 3, 3, 4)), jnp.float32)
    variables = randomised(block, x)
    kept = block.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)})[0] - x
    branch = Block(4, 3, 1, 6).apply(variables, x, train=True, mutable=["batch_stats"])[0] - x
    gone = np.all(np.asarray(kept) == 0, axis=(1, 2, 3))
    assert 16 < gone.sum() < 48
    np.testing.assert_allclose(kept[~gone], 2 * branch[~gone], atol=1e-4)


def test_drop_connect_rises_from_the_first_block_to_the_last() -> None:
    model = tiny_model("efficientnet", drop_connect=0.4, depths=(2, 2))
    bound = model.module.bind(compiled(model))
    assert [block.drop for block in bound.block] == pytest.approx([0.0, 0.1, 0.2, 0.3])


def compiled(model: Model) -> Any:
    return jax.jit(model.init)(0)


def test_leaves_start_as_published() -> None:
    model = efficientnet(stem=32, features=64, depths=(1, 1), widths=(32, 32))
    for path, leaf in tree.flatten(compiled(model)).items():
        if path.endswith("kernel") and "head" not in path:
            side, _, _, features = leaf.shape
            fan = side * side * (1 if "depthwise" in path else features)
            assert np.std(leaf) == pytest.approx(np.sqrt(2 / fan), rel=0.2), path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (1, 0), "widths": (8, 8)}, "depths[1]: expected an integer from 1 to 64, got 0"),
        ({"widths": (8, "8"), "depths": (1, 1)}, "widths[1]: expected an integer from 1 to 8192, got '8'"),
        (
            {"depths": (1, 1)},
            "depths: expected as many levels as there are widths, 7, and at most 7, got 2",
        ),
        (
            {"depths": (1,) * 8, "widths": (8,) * 8},
            "depths: expected as many levels as there are widths, 8, and at most 7, got 8",
        ),
        ({"mean": (0.5, 0.5)}, "std: 1 numbers, but there are 2 of mean"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(check_fields("model", FIELDS, changes), (32, 32, 3))
    assert str(caught.value) == message

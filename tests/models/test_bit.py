"""BiT's residual network against loops written out in numpy, and against its published sizes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from formulas import Leaves, convolution, double, randomised
from tiny import adapt, tiny_model

from tlx import tree
from tlx.adapt.merging import merge
from tlx.errors import ConfigError
from tlx.fields import check_fields
from tlx.models.bit import FIELDS, Block, Pool, Stem, check, standardised
from tlx.models.registry import Model

RNG = np.random.default_rng(0)
GROUPS = 2


def standard(kernel: np.ndarray) -> np.ndarray:
    """Output by output."""
    out = np.zeros_like(kernel)
    for o in range(kernel.shape[-1]):
        own = kernel[..., o]
        out[..., o] = (own - own.mean()) / np.sqrt(own.var() + 1e-10)
    return out


def group_norm(x: np.ndarray, p: Leaves, name: str) -> np.ndarray:
    """Image by image and group by group."""
    out, size = np.zeros_like(x), x.shape[-1] // GROUPS
    for b in range(len(x)):
        for g in range(GROUPS):
            own = x[b, :, :, g * size : (g + 1) * size]
            out[b, :, :, g * size : (g + 1) * size] = (own - own.mean()) / np.sqrt(own.var() + 1e-5)
    return out * p[f"params/{name}/scale"] + p[f"params/{name}/bias"]


def expected_block(p: Leaves, x: np.ndarray, stride: int) -> np.ndarray:
    def layer(x: np.ndarray, name: str, stride: int, margin: int) -> np.ndarray:
        return convolution(x, standard(p[f"params/{name}/kernel"]), stride, margin)

    y = np.maximum(group_norm(x, p, "norm1"), 0)
    shortcut = layer(y, "shortcut", stride, 0) if "params/shortcut/kernel" in p else x
    y = np.maximum(group_norm(layer(y, "conv1", 1, 0), p, "norm2"), 0)
    y = np.maximum(group_norm(layer(y, "conv2", stride, 1), p, "norm3"), 0)
    return shortcut + layer(y, "conv3", 1, 0)


@pytest.mark.parametrize(
    ("channels", "features", "stride", "shortcut"), [(8, 2, 1, False), (8, 2, 2, True), (4, 2, 1, True)]
)
def test_a_block_is_the_formula(channels: int, features: int, stride: int, shortcut: bool) -> None:
    x = RNG.normal(size=(2, 5, 4, channels)).astype(np.float32)
    module = Block(features, stride, GROUPS)
    given = randomised(module, x)
    p = double(given)
    assert ("params/shortcut/kernel" in p) == shortcut
    np.testing.assert_allclose(module.apply(given, x), expected_block(p, x.astype(np.float64), stride), atol=1e-4)


def test_the_stem_pools_within_a_margin_of_zeros() -> None:
    x = RNG.uniform(-1, 1, (2, 9, 8, 3)).astype(np.float32)
    module = Stem(4)
    given = randomised(module, x)
    # All that leaves the convolution is negative, so that every margin shows.
    kernel = -np.abs(RNG.normal(size=(7, 7, 3, 4))).astype(np.float32)
    x = x - x.min()
    y = convolution(x.astype(np.float64), standard(kernel.astype(np.float64)), 2, 3)
    padded = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = module.apply({"params": {"conv1": {"kernel": kernel}}}, x)
    assert [*tree.flatten(given)] == ["params/conv1/kernel"] and out.shape == (2, 3, 2, 4)
    for i in range(3):
        for j in range(2):
            square = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(axis=(1, 2))
            np.testing.assert_allclose(out[:, i, j], square, atol=1e-4)


def test_the_head_sees_the_mean_of_what_is_normed() -> None:
    x = RNG.normal(size=(2, 3, 4, 8)).astype(np.float32)
    module = Pool(GROUPS)
    given = randomised(module, x)
    y = np.maximum(group_norm(x.astype(np.float64), double(given), "norm"), 0).mean(axis=(1, 2))
    np.testing.assert_allclose(module.apply(given, x), y, atol=1e-5)


def test_kernels_are_standardised_whatever_their_scale_and_mean() -> None:
    kernel = jnp.asarray(RNG.normal(size=(3, 3, 4, 5)), jnp.float32)
    expected = standardised(kernel)
    np.testing.assert_allclose(expected.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(expected.var(axis=(0, 1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(standardised(7 * kernel + 2), expected, atol=1e-4)
    half = standardised(kernel.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), expected, atol=0.03)


@pytest.mark.parametrize(
    ("depths", "parameters"), [((3, 4, 6, 3), 25_549_352), ((3, 4, 23, 3), 44_541_480)], ids=["r50", "r101"]
)
def test_the_number_of_parameters_is_that_of_timm(depths: tuple[int, ...], parameters: int) -> None:
    settings = check_fields("model", FIELDS, {"depths": depths})
    model = Model("bit", tuple(settings.items()), 1000, (64, 64, 3))
    assert tree.count(jax.eval_shape(lambda: model.init(0))["params"]) == parameters


def test_what_a_method_adds_cannot_be_folded_into_standardised_kernels() -> None:
    for method in ("lora", "ssf", "ia3"):
        adapted = adapt(method, tiny_model("bit"))
        with pytest.raises(ConfigError, match=f"^name: {method!r} cannot be merged: 'bit' standardises its kernels$"):
            merge(adapted, adapted.abstract())
    full = adapt("full", tiny_model("bit"))
    assert merge(full, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), full.abstract())).kept == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (2, 0)}, "depths[1]: expected an integer from 1 to 64, got 0"),
        ({"width": 24}, "groups: 32 groups do not divide the width 24"),
        ({"std": (0.5, 0.5)}, "std: 2 numbers, but there are 1 of mean"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(check_fields("model", FIELDS, changes), (32, 32, 3))
    assert str(caught.value) == message

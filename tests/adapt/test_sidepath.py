"""Side paths beside every kind of layer equal the layer with the updated kernel, in outputs and gradients."""

import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import first
from tiny import tiny_model

from tlx.adapt.hooks import Pass
from tlx.adapt.lora import side_path
from tlx.errors import ConfigError

FACTOR = 1.5
LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "dense": (nn.Dense(5), (2, 3, 4)),
    "dense without bias": (nn.Dense(5, use_bias=False), (2, 4)),
    "to two axes": (nn.DenseGeneral((2, 3)), (2, 3, 4)),
    "from two axes": (nn.DenseGeneral(5, axis=(-2, -1)), (2, 3, 2, 4)),
    "from two axes, last first": (nn.DenseGeneral(5, axis=(-1, 1)), (2, 3, 2, 4)),
    "from a middle axis": (nn.DenseGeneral((2, 3), axis=1), (2, 6, 4)),
    "conv": (nn.Conv(5, (3, 3)), (2, 6, 6, 4)),
    "strided conv": (nn.Conv(5, (3, 2), strides=2, padding="VALID"), (2, 7, 6, 4)),
    "uneven conv": (nn.Conv(5, (3, 3), strides=(2, 1), padding=((1, 0), (2, 1))), (2, 7, 6, 4)),
    "dilated conv": (nn.Conv(5, (3, 3), kernel_dilation=2, input_dilation=(2, 1), padding=1), (2, 7, 6, 4)),
    "conv over time": (nn.Conv(5, 3, padding=[(2, 0)], use_bias=False), (2, 7, 4)),
    "conv of one image": (nn.Conv(5, (3, 3)), (6, 6, 4)),
    "conv of videos": (nn.Conv(5, (3, 3)), (2, 3, 6, 6, 4)),
    "embedding": (nn.Embed(7, 4), (2, 3)),
}


class Net(nn.Module):
    """One layer, named as in a model."""

    layer: nn.Module

    def setup(self) -> None:
        self.only = self.layer.copy()

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.only(x)


def inputs(layer: nn.Module, shape: tuple[int, ...], seed: int = 0) -> jax.Array:
    rng = np.random.default_rng(seed)
    if isinstance(layer, nn.Embed):
        return jnp.asarray(rng.integers(0, layer.num_embeddings, shape), jnp.int32)
    return jnp.asarray(rng.normal(0, 1, shape), jnp.float32)


def run(net: Net, variables: Any, x: jax.Array, scale: Any = 1.0, **changes: Any) -> Any:
    settings = {"rank": 2, "dropout": 0.0, "target": "only", **changes}
    context = Pass(tiny_model(), scale, {}, changes.get("train", False))
    fresh = "adapters" not in variables
    key = jax.random.key(changes.get("seed", 1))
    with nn.intercept_methods(side_path(settings, context, FACTOR)):
        mutable = ["adapters"] if fresh else False
        return net.apply(variables, x, mutable=mutable, rngs={"adapters": key, "dropout": key})


def begin(name: str) -> tuple[Net, jax.Array, Any, dict[str, jax.Array]]:
    """A net, its input, its parameters and fresh adapters."""
    layer, shape = LAYERS[name]
    net, x = Net(layer), inputs(layer, shape)
    params = net.init(jax.random.key(0), x)["params"]
    y, added = run(net, {"params": params}, x)
    np.testing.assert_array_equal(y, net.apply({"params": params}, x))
    return net, x, params, added["adapters"]["only"]


@pytest.mark.parametrize("name", first(6, LAYERS))
def test_it_equals_the_updated_kernel(name: str) -> None:
    net, x, params, fresh = begin(name)
    rng = np.random.default_rng(1)
    a, b = (jnp.asarray(rng.normal(0, 0.5, fresh[leaf].shape), jnp.float32) for leaf in ("lora_a", "lora_b"))
    kernel = "embedding" if name == "embedding" else "kernel"

    def beside(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        adapters = {"only": {"lora_a": a, "lora_b": b}}
        y = run(net, {"params": params, "adapters": adapters}, x, scale=jnp.float32(0.6))
        return jnp.sum(jnp.sin(y)), y

    def oracle(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        update = 0.6 * FACTOR * jnp.einsum("nr,rm->nm", a.reshape(-1, 2), b.reshape(2, -1))
        own = {**params["only"], kernel: params["only"][kernel] + update.reshape(params["only"][kernel].shape)}
        y = net.apply({"params": {"only": own}}, x)
        return jnp.sum(jnp.sin(y)), y

    (_, y), grads = jax.value_and_grad(beside, (0, 1), has_aux=True)(a, b)
    (_, expected), wanted = jax.value_and_grad(oracle, (0, 1), has_aux=True)(a, b)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    assert np.abs(y - net.apply({"params": params}, x)).max() > 0.1
    for grad, want in zip(grads, wanted, strict=True):
        assert np.abs(want).max() > 0.1
        np.testing.assert_allclose(grad, want, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        ("dense", (4, 2), (2, 5)),
        ("to two axes", (4, 2), (2, 2, 3)),
        ("from two axes", (2, 4, 2), (2, 5)),
        ("strided conv", (3, 2, 4, 2), (2, 5)),
        ("conv over time", (3, 4, 2), (2, 5)),
        ("embedding", (7, 2), (2, 4)),
    ],
)
def test_shapes_and_starts(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    _, _, _, fresh = begin(name)
    assert (fresh["lora_a"].shape, fresh["lora_b"].shape) == (a, b)
    zero, drawn = ("lora_a", "lora_b") if name == "embedding" else ("lora_b", "lora_a")
    assert not np.any(fresh[zero]) and np.all(fresh[drawn])
    if name != "embedding":
        bound = 1 / np.sqrt(np.prod(a[:-1]))
        assert np.abs(fresh["lora_a"]).max() <= bound < 2.5 * np.abs(fresh["lora_a"]).max()


def test_an_embedding_s_b_is_standard_normal() -> None:
    net, x = Net(nn.Embed(64, 64)), jnp.zeros((1,), jnp.int32)
    _, added = run(net, {"params": net.init(jax.random.key(0), x)["params"]}, x, rank=64)
    b = np.asarray(added["adapters"]["only"]["lora_b"])
    # 4096 draws: mean and spread within five standard errors.
    assert abs(b.mean()) < 5 / 64 and abs(b.std() - 1) < 5 / np.sqrt(2 * 4096)
    assert np.abs(b).max() > 3


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        (nn.Conv(4, (3, 3), feature_group_count=2), "'only' convolves in groups"),
        (nn.Conv(4, (3, 3), padding="CIRCULAR"), "'only' pads by 'CIRCULAR'"),
        (nn.DenseGeneral(4, batch_dims=(0,)), "'only' has a kernel for each example"),
    ],
)
def test_layers_that_cannot_be_taken_apart_are_refused(layer: nn.Module, problem: str) -> None:
    net, x = Net(layer), jnp.ones((2, 6, 6, 4))
    params = net.init(jax.random.key(0), x)["params"]
    with pytest.raises(ConfigError, match=f"^target: {re.escape(problem)}"):
        run(net, {"params": params}, x)


@pytest.mark.parametrize(("name", "most"), [("dense", 4), ("conv", 5), ("to two axes", 4), ("embedding", 4)])
def test_the_rank_fits_the_smaller_side(name: str, most: int) -> None:
    net, x, params, _ = begin(name)
    run(net, {"params": params}, x, rank=most)
    with pytest.raises(ConfigError, match=f"^rank: expected at most {most} for 'only', got {most + 1}"):
        run(net, {"params": params}, x, rank=most + 1)


def test_dropout_acts_on_the_side_path_in_training_alone() -> None:
    """With A, B of ones and zeros the side path shows what was dropped: nothing, or an input made larger."""
    net, x = Net(nn.Dense(4)), jnp.ones((1000, 4))
    params = net.init(jax.random.key(0), x)["params"]
    own = {"params": params, "adapters": {"only": {"lora_a": jnp.eye(4), "lora_b": jnp.eye(4)}}}
    base = net.apply({"params": params}, x)
    side = np.asarray(run(net, own, x, rank=4, dropout=0.25, train=True) - base) / FACTOR
    kept = np.abs(side - 4 / 3) < 1e-5
    assert np.all(kept | (np.abs(side) < 1e-5))
    # 4000 draws: within five standard errors of three quarters.
    assert abs(kept.mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 4000)
    other = np.asarray(run(net, own, x, rank=4, dropout=0.25, train=True, seed=2) - base) / FACTOR
    assert 0.2 < np.mean(kept != (np.abs(other - 4 / 3) < 1e-5)) < 0.6
    for quiet in ({"dropout": 0.25}, {"dropout": 0.0, "train": True}):
        np.testing.assert_allclose((run(net, own, x, rank=4, **quiet) - base) / FACTOR, 1.0, atol=1e-5)


def test_ids_are_not_dropped() -> None:
    net, x, params, fresh = begin("embedding")
    own = {"params": params, "adapters": {"only": jax.tree.map(jnp.ones_like, fresh)}}
    np.testing.assert_array_equal(run(net, own, x, dropout=0.9, train=True), run(net, own, x))


def test_leaves_stay_float32_beside_a_layer_of_bfloat16() -> None:
    net, x = Net(nn.Dense(5, dtype=jnp.bfloat16)), inputs(nn.Dense(5), (8, 4))
    params = net.init(jax.random.key(0), x)["params"]
    y, added = run(net, {"params": params}, x)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(added)} == {jnp.dtype("float32")}
    adapters = jax.tree.map(lambda leaf: leaf + 0.5, dict(added["adapters"]))
    moved = run(net, {"params": params, "adapters": adapters}, x, scale=jnp.float32(0.5))
    assert moved.dtype == jnp.bfloat16
    a, b = (np.asarray(adapters["only"][leaf]) for leaf in ("lora_a", "lora_b"))
    expected = np.asarray(x) @ (np.asarray(params["only"]["kernel"]) + 0.5 * FACTOR * a @ b)
    np.testing.assert_allclose(moved.astype(jnp.float32), expected, atol=0.03 * np.abs(expected).max())


def test_other_methods_of_a_layer_are_left_alone() -> None:
    """What `attend` computes is not the lookup that is adapted."""

    class Tied(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            only = nn.Embed(7, 4, name="only")
            return only(x), only.attend(jnp.ones((3, 4)))

    net, x = Tied(), jnp.arange(3)
    params = net.init(jax.random.key(0), x)["params"]
    adapters = {"only": {"lora_a": jnp.ones((7, 2)), "lora_b": jnp.ones((2, 4))}}
    base = net.apply({"params": params}, x)
    y = run(net, {"params": params, "adapters": adapters}, x)
    np.testing.assert_allclose(y[0], base[0] + 2 * FACTOR, atol=1e-6)
    assert np.array_equal(y[1], base[1])

"""DoRA against the formula written out: outputs, the gradient with its norm held still, and the start."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import first
from tiny import adapt, batch, compiled_init, tiny_model, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.dora import DORA
from tlx.adapt.hooks import Pass
from tlx.adapt.merging import merge
from tlx.errors import ConfigError

FACTOR = 3.0 / 2
SETTINGS = {"rank": 2, "alpha": 3.0, "dropout": 0.0}
TARGETS = [f"block_{i}/attention/{name}" for i in (0, 1) for name in ("query", "value")]
LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "dense": (nn.Dense(5), (2, 3, 4)),
    "dense without bias": (nn.Dense(5, use_bias=False), (2, 4)),
    "dense to two axes": (nn.DenseGeneral((2, 3)), (2, 3, 4)),
    "conv": (nn.Conv(5, (3, 3), strides=2), (2, 6, 6, 4)),
    "embedding": (nn.Embed(7, 4), (2, 3)),
}


class Net(nn.Module):
    layer: nn.Module

    def setup(self) -> None:
        self.only = self.layer.copy()

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.only(x)


def dora(**settings: Any) -> Adapted:
    return adapt("dora", **{**SETTINGS, **settings})


def run(net: Net, params: Any, adapters: Any, x: jax.Array, scale: Any = 1.0) -> Any:
    intercept = DORA.interceptor({**SETTINGS, "target": "only"}, Pass(tiny_model(), scale, {}, False))
    with nn.intercept_methods(intercept):
        variables = {"params": {"only": params}}
        if adapters is None:
            _, new = net.apply(variables, x, mutable=["adapters"], rngs={"adapters": jax.random.key(1)})
            return new["adapters"]["only"]
        return net.apply({**variables, "adapters": {"only": adapters}}, x)


def column_norms(kernel: np.ndarray, outputs: int) -> np.ndarray:
    """One norm for each output, by hand."""
    shape = kernel.shape[kernel.ndim - outputs :]
    columns = np.asarray(kernel, np.float64).reshape(-1, int(np.prod(shape)))
    return np.array([np.sqrt(sum(w * w for w in column)) for column in columns.T]).reshape(shape)


@pytest.mark.parametrize("name", first(2, LAYERS))
def test_it_equals_the_formula(name: str) -> None:
    """W' = m (W + s A B) / c with c the column norms; c is a constant for the gradient."""
    layer, shape = LAYERS[name]
    net, rng = Net(layer), np.random.default_rng(0)
    is_lookup = isinstance(layer, nn.Embed)
    x = jnp.asarray(rng.integers(0, 7, shape), jnp.int32) if is_lookup else jnp.asarray(rng.normal(0, 1, shape), "f4")
    own = dict(net.init(jax.random.key(0), x)["params"]["only"])
    if "bias" in own:
        own["bias"] = jnp.asarray(rng.normal(0, 1, own["bias"].shape), jnp.float32)
    kernel = own["embedding" if is_lookup else "kernel"]
    outputs = 2 if isinstance(layer, nn.DenseGeneral) else 1
    fresh = run(net, own, None, x)
    np.testing.assert_allclose(fresh["lora_magnitude"], column_norms(kernel, outputs), rtol=1e-6)
    np.testing.assert_allclose(run(net, own, fresh, x), net.apply({"params": {"only": own}}, x), atol=1e-6)
    adapters = {leaf: value + jnp.asarray(rng.normal(0, 0.5, value.shape), "f4") for leaf, value in fresh.items()}

    def update(leaves: Any) -> jax.Array:
        flat = jnp.einsum("nr,rm->nm", leaves["lora_a"].reshape(-1, 2), leaves["lora_b"].reshape(2, -1))
        return kernel + FACTOR * flat.reshape(kernel.shape)

    constant = jnp.asarray(column_norms(update(adapters), outputs), jnp.float32)

    def oracle(leaves: Any) -> jax.Array:
        gain = jnp.broadcast_to(leaves["lora_magnitude"] / constant, kernel.shape)
        plain = {**own, "embedding" if is_lookup else "kernel": gain * update(leaves)}
        return net.apply({"params": {"only": plain}}, x)

    expected = oracle(adapters)
    np.testing.assert_allclose(run(net, own, adapters, x), expected, atol=2e-5)
    assert np.abs(expected - net.apply({"params": {"only": own}}, x)).max() > 0.1
    grads = jax.grad(lambda leaves: jnp.sum(jnp.sin(run(net, own, leaves, x))))(adapters)
    wanted = jax.grad(lambda leaves: jnp.sum(jnp.sin(oracle(leaves))))(adapters)
    for leaf, want in wanted.items():
        assert np.abs(want).max() > 0.05
        np.testing.assert_allclose(grads[leaf], want, atol=2e-5 * max(1.0, np.abs(want).max()), err_msg=leaf)


def moved(adapted: Adapted) -> dict[str, Any]:
    rng, whole = np.random.default_rng(0), variables(adapted)
    adapters = jax.tree.map(lambda leaf: leaf + jnp.asarray(rng.normal(0, 0.3, leaf.shape), "f4"), whole["adapters"])
    return {**whole, "adapters": adapters}


def test_in_a_model_it_is_the_model_with_other_kernels() -> None:
    adapted = dora()
    whole, x_BHWC = moved(adapted), batch(adapted.model)["input"]
    leaves, sides = dict(tree.flatten(whole["params"])), tree.flatten(whole["adapters"])
    for path in TARGETS:
        direction = leaves[f"{path}/kernel"] + FACTOR * sides[f"{path}/lora_a"] @ sides[f"{path}/lora_b"]
        gain = sides[f"{path}/lora_magnitude"] / column_norms(direction, 1)
        leaves[f"{path}/kernel"] = direction * np.asarray(gain, np.float32)[None]
    expected_BC = adapted.model.module.apply({"params": tree.unflatten(leaves)}, x_BHWC)
    logits_BC, _ = adapted.apply(whole, x_BHWC)
    np.testing.assert_allclose(logits_BC, expected_BC, atol=1e-5)
    merged = tree.flatten(merge(adapted, whole).variables["params"])
    for path in TARGETS:
        np.testing.assert_allclose(merged[f"{path}/kernel"], leaves[f"{path}/kernel"], atol=1e-6)


def test_the_scale_draws_a_line_from_the_base_kernel() -> None:
    net, rng = Net(nn.Dense(5)), np.random.default_rng(0)
    x = jnp.asarray(rng.normal(0, 1, (3, 4)), jnp.float32)
    own = dict(net.init(jax.random.key(0), x)["params"]["only"])
    adapters = jax.tree.map(lambda leaf: leaf + 0.3, dict(run(net, own, None, x)))
    base, half, all_of_it = (run(net, own, adapters, x, jnp.float32(scale)) for scale in (0.0, 0.5, 1.0))
    assert np.array_equal(base, net.apply({"params": {"only": own}}, x))
    np.testing.assert_allclose(half, (base + all_of_it) / 2, atol=1e-6)
    assert np.abs(all_of_it - base).max() > 0.1


def test_a_rank_beyond_the_kernel_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^rank: expected at most 16 for 'block_0/attention/query', got 17"):
        dora(rank=17).init_adapters(compiled_init(tiny_model())(0), 0)

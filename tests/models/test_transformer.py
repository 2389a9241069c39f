"""The sublayers of transformers against formulas written out in numpy."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from formulas import attend, attention, dense, double, doubled_dropout, mlp, randomised

from tlx import tree
from tlx.errors import ConfigError
from tlx.models.transformer import ACTIVATIONS, Attention, Mlp, check_heads

RNG = np.random.default_rng(0)
X_BTD = RNG.normal(size=(3, 5, 6)).astype(np.float32)
MASK_BT = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 1, 0], [1, 1, 1, 1, 1]])


@pytest.mark.parametrize("heads", [1, 2, 6])
def test_attention_is_the_formula(heads: int) -> None:
    variables = randomised(Attention(heads), X_BTD)
    expected = attention(X_BTD.astype(np.float64), double(variables["params"]), heads)
    np.testing.assert_allclose(Attention(heads).apply(variables, X_BTD), expected, atol=1e-5)


@pytest.mark.parametrize("kind", [bool, np.float32, np.int32])
def test_nobody_asks_masked_tokens(kind: Any) -> None:
    variables = randomised(Attention(2), X_BTD)
    expected = attention(X_BTD.astype(np.float64), double(variables["params"]), 2, MASK_BT)
    y_BTD = Attention(2).apply(variables, X_BTD, jnp.asarray(MASK_BT.astype(kind)))
    np.testing.assert_allclose(y_BTD, expected, atol=1e-5)
    disturbed = np.where(MASK_BT[..., None] > 0, X_BTD, np.float32(50.0))
    again = Attention(2).apply(variables, disturbed, jnp.asarray(MASK_BT.astype(kind)))
    np.testing.assert_allclose(np.asarray(again)[MASK_BT > 0], np.asarray(y_BTD)[MASK_BT > 0], atol=1e-6)


def test_where_nobody_may_be_asked_all_count_alike() -> None:
    variables = randomised(Attention(2), X_BTD)
    p = double(variables["params"])
    mean_B1D = dense(X_BTD.astype(np.float64), p, "value").mean(axis=1, keepdims=True)
    y_BTD = Attention(2).apply(variables, X_BTD, jnp.zeros((3, 5)))
    np.testing.assert_allclose(y_BTD, np.broadcast_to(dense(mean_B1D, p, "out"), y_BTD.shape), atol=1e-5)
    grads = jax.grad(lambda v: jnp.sum(Attention(2).apply(v, X_BTD, jnp.zeros((3, 5)))))(variables)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("masked", [False, True])
def test_keys_and_values_may_be_longer_than_queries(masked: bool) -> None:
    variables = randomised(Attention(2), X_BTD)
    p, x = double(variables["params"]), X_BTD.astype(np.float64)
    prefix = {name: RNG.normal(size=(2, 6)).astype(np.float32) for name in ("key", "value")}

    def prepend(layer: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if isinstance(module, Attention):
            x_BTD, mask_BT, *rest = args
            longer = None if mask_BT is None else jnp.pad(mask_BT, ((0, 0), (2, 0)), constant_values=1)
            return layer(x_BTD, longer, *rest, **kwargs)
        y_BTD = layer(*args, **kwargs)
        if module.name not in prefix:
            return y_BTD
        return jnp.concatenate([jnp.broadcast_to(prefix[module.name][None], (3, 2, 6)), y_BTD], axis=1)

    mask_BT = MASK_BT if masked else np.ones_like(MASK_BT)
    expected = np.zeros_like(x)
    for b in range(3):
        q, k, v = (dense(x[b], p, name) for name in ("query", "key", "value"))
        asked = mask_BT[b] > 0
        k, v = (np.concatenate([prefix[name], rows[asked]]) for name, rows in (("key", k), ("value", v)))
        expected[b] = dense(attend(q, k, v, 2), p, "out")
    with nn.intercept_methods(prepend):
        y_BTD = Attention(2).apply(variables, X_BTD, jnp.asarray(mask_BT) if masked else None)
    np.testing.assert_allclose(y_BTD, expected, atol=1e-5)


@pytest.mark.parametrize("lead", [0, 2])
@pytest.mark.parametrize("queries", [0, 1, 3])
def test_causal_tokens_ask_those_before_them_and_what_stands_in_front_of_all(lead: int, queries: int) -> None:
    module = Attention(2, causal=True, queries=queries)
    variables = randomised(module, X_BTD)
    p, x = double(variables["params"]), X_BTD.astype(np.float64)
    front = {name: RNG.normal(size=(lead, 6)).astype(np.float32) for name in ("key", "value")}

    def prepend(layer: Any, args: Any, kwargs: Any, context: Any) -> Any:
        y_BTD = layer(*args, **kwargs)
        if context.module.name not in front:
            return y_BTD
        return jnp.concatenate([jnp.broadcast_to(front[context.module.name][None], (3, lead, 6)), y_BTD], axis=1)

    expected = np.zeros_like(x)
    for b in range(3):
        q, k, v = (dense(x[b], p, name) for name in ("query", "key", "value"))
        k, v = np.concatenate([front["key"], k]), np.concatenate([front["value"], v])
        for t in range(5):
            mixed = attend(q[t : t + 1], k[: lead + t + 1], v[: lead + t + 1], 2)
            expected[b, t] = dense(mixed, p, "out")[0]
    with nn.intercept_methods(prepend):
        y_BTD = module.apply(variables, X_BTD)
    np.testing.assert_allclose(y_BTD, expected[:, : queries or 5], atol=1e-5)


def test_an_activation_goes_by_its_name() -> None:
    x = np.linspace(-3, 3, 13, dtype=np.float32)
    np.testing.assert_allclose(ACTIVATIONS["quick_gelu"](x), x / (1 + np.exp(-1.702 * x)), atol=1e-6)
    variables = randomised(Mlp(hidden=12), X_BTD)
    for name, exact in (("gelu", True), ("gelu_pytorch_tanh", False)):
        expected = Mlp(hidden=12, gelu_exact=exact).apply(variables, X_BTD)
        assert np.array_equal(Mlp(hidden=12, activation=name).apply(variables, X_BTD), expected)
    quick = Mlp(hidden=12, activation="quick_gelu").apply(variables, X_BTD)
    assert np.abs(quick - expected).max() > 1e-4


@pytest.mark.parametrize("exact", [False, True])
def test_the_mlp_is_the_formula(exact: bool) -> None:
    module = Mlp(hidden=12, gelu_exact=exact)
    variables = randomised(module, X_BTD)
    p, x = double(variables["params"]), X_BTD.astype(np.float64)
    np.testing.assert_allclose(module.apply(variables, X_BTD), mlp(x, p, exact), atol=1e-5)
    assert np.abs(mlp(x, p, exact) - mlp(x, p, not exact)).max() > 1e-4


def test_attention_drops_weights_and_outputs() -> None:
    module = Attention(2, dropout=0.5)
    variables = randomised(module, X_BTD)
    with nn.intercept_methods(doubled_dropout):
        y_BTD = module.apply(variables, X_BTD, train=True)
        still_BTD = module.apply(variables, X_BTD, train=False)
    p, x = double(variables["params"]), X_BTD.astype(np.float64)
    np.testing.assert_allclose(y_BTD, attention(x, p, 2, factor=2.0), atol=1e-5)
    np.testing.assert_allclose(still_BTD, attention(x, p, 2), atol=1e-5)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_a_dropped_output_is_zero_and_the_others_make_up_for_it(rate: float) -> None:
    x_BTD = RNG.normal(size=(20, 10, 10)).astype(np.float32)
    module = Mlp(hidden=4, dropout=rate)
    variables = randomised(module, x_BTD)
    y_BTD = np.asarray(module.apply(variables, x_BTD))
    dropped, again, other = (
        np.asarray(module.apply(variables, x_BTD, train=True, rngs={"dropout": jax.random.key(seed)}))
        for seed in (0, 0, 1)
    )
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], y_BTD[kept] / (1 - rate), rtol=1e-5)
    # 2000 draws: within five standard errors.
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / kept.size)
    assert np.array_equal(dropped, again) and np.any(kept != (other != 0))


@pytest.mark.parametrize("module", [Attention(2), Mlp(8)], ids=["attention", "mlp"])
def test_without_dropout_training_needs_no_randomness(module: Any) -> None:
    variables = randomised(module, X_BTD)
    assert np.array_equal(module.apply(variables, X_BTD, train=True), module.apply(variables, X_BTD))


def test_kernels_start_as_told() -> None:
    x_BTD = jnp.zeros((1, 2, 64))
    for make in (lambda **k: Attention(4, **k), lambda **k: Mlp(64, **k)):
        for init, spread in ((None, 64**-0.5), (nn.initializers.normal(0.3), 0.3)):
            module = make() if init is None else make(kernel_init=init)
            for path, leaf in tree.flatten(module.init(jax.random.key(0), x_BTD)).items():
                if path.endswith("kernel"):
                    assert np.std(leaf) == pytest.approx(spread, rel=0.06), path
                else:
                    assert not np.any(leaf), path


def test_heads_must_share_the_width() -> None:
    check_heads({"width": 64, "heads": 16})
    with pytest.raises(ConfigError, match="^heads: 3 heads do not divide the width 64$"):
        check_heads({"width": 64, "heads": 3})

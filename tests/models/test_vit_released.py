"""What released vision transformers need: a class token, other poolings and norms, and the images they know."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from formulas import attention, below, double, layer_norm, mlp, randomised
from tiny import adapt, tiny_model

from tlx.errors import ConfigError
from tlx.fields import check_fields
from tlx.models.registry import Model
from tlx.models.vit import FIELDS, check

X = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 1)).astype(np.float32)


def leaves_of(model: Model) -> dict[str, Any]:
    return randomised(model.module, model.example())


def by_hand(model: Model, variables: dict[str, Any], x_BHWC: np.ndarray) -> np.ndarray:
    """Logits, block by block."""
    settings, p = dict(model.settings), double(variables["params"])
    epsilon, pool = settings["epsilon"], settings["pool"]
    cut = x_BHWC.astype(np.float64).reshape(len(x_BHWC), 2, 4, 2, 4, 1).transpose(0, 1, 3, 2, 4, 5)
    x = cut.reshape(len(x_BHWC), 4, 16) @ p["embed/patches/kernel"] + p["embed/patches/bias"]
    if pool != "mean":
        x = np.concatenate([np.repeat(p["embed/cls"], len(x), axis=0), x], axis=1)
    x = x + p["embed/position"]
    for i in range(2):
        own = below(p, f"block_{i}/")
        x = x + attention(layer_norm(x, own, "norm1", epsilon), below(own, "attention/"), 2)
        x = x + mlp(layer_norm(x, own, "norm2", epsilon), below(own, "mlp/"), exact=settings["gelu_exact"])
    if settings["final_norm"] == "before":
        x = layer_norm(x, p, "pool/norm", epsilon)
    x = {"class": x[:, 0], "patches": x[:, 1:].mean(axis=1), "mean": x.mean(axis=1)}[pool]
    if settings["final_norm"] == "after":
        x = layer_norm(x, p, "pool/norm", epsilon)
    return x @ p["head/kernel"] + p["head/bias"]


@pytest.mark.parametrize("final_norm", ["before", "after"])
@pytest.mark.parametrize("pool", ["class", "patches", "mean"])
def test_logits_are_those_of_the_formulas(pool: str, final_norm: str) -> None:
    model = tiny_model(pool=pool, final_norm=final_norm, gelu_exact=True, epsilon=1e-12, hidden=20)
    variables = leaves_of(model)
    assert variables["params"]["block_1"]["mlp"]["up"]["kernel"].shape == (16, 20)
    np.testing.assert_allclose(model.module.apply(variables, X), by_hand(model, variables, X), atol=2e-5)


@pytest.mark.parametrize(("pool", "tokens"), [("mean", 0), ("class", 1), ("patches", 1)])
def test_a_class_token_and_its_position_are_leaves_where_there_is_one(pool: str, tokens: int) -> None:
    model = tiny_model(pool=pool)
    assert model.class_tokens == tokens
    embed = jax.eval_shape(model.init, 0)["params"]["embed"]
    assert embed["position"].shape == (1, 4 + tokens, 16)
    assert ("cls" in embed) == bool(tokens)


def test_a_class_token_starts_at_zero() -> None:
    assert not np.any(jax.jit(lambda: tiny_model(pool="class").init(0)["params"]["embed"]["cls"])())


def test_a_small_epsilon_is_not_drowned_by_rounding() -> None:
    """A stream whose mean is large beside its spread, as E[x²] - E[x]² cannot tell."""
    model = tiny_model(pool="class", epsilon=1e-12)
    variables = leaves_of(model)
    x_BTD = (100 + 0.01 * np.random.default_rng(1).normal(size=(2, 5, 16))).astype(np.float32)
    at = model.stages.index("pool")
    pooled = model.module.apply(variables, x_BTD, at, at + 1)
    expected = layer_norm(x_BTD[:, 0].astype(np.float64), double(variables["params"]["pool"]), "norm", 1e-12)
    np.testing.assert_allclose(pooled, expected, atol=2e-3)


def test_images_are_normalised_and_resized_first() -> None:
    mean, std = (0.2, 0.5, 0.7), (0.3, 0.2, 0.1)
    plain = tiny_model("vit", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    prepared = tiny_model("vit", mean=mean, std=std, resize=8)
    variables = leaves_of(plain)
    pixels = np.random.default_rng(2).uniform(0, 1, (2, 4, 4, 3)).astype(np.float32)
    larger = jax.image.resize(pixels, (2, 8, 8, 3), "bilinear")
    normal = (np.asarray(larger) - np.float32(mean)) / np.float32(std)
    expected = plain.module.apply(variables, normal)
    np.testing.assert_allclose(prepared.module.apply(variables, 2 * pixels - 1), expected, atol=2e-5)
    gray = np.repeat(X, 3, axis=-1)
    np.testing.assert_allclose(plain.module.apply(variables, X), plain.module.apply(variables, gray), atol=1e-6)


def test_patches_tile_images_as_they_are_resized() -> None:
    check(check_fields("model", FIELDS, {"patch": 16, "resize": 32}), (30, 17, 3))
    with pytest.raises(ConfigError, match="^patch: patches of 16 pixels do not tile images of 24×24$"):
        check(check_fields("model", FIELDS, {"patch": 16, "resize": 24}), (32, 32, 3))
    with pytest.raises(ConfigError, match="^mean: 3 numbers, but the images have 2 channels$"):
        check(check_fields("model", FIELDS, {"mean": (0.5,) * 3, "std": (0.5,) * 3}), (28, 28, 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"std": (0.0,)}, "std: expected numbers above 0"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(check_fields("model", FIELDS, changes), (28, 28, 1))
    assert str(caught.value).startswith(message)


def test_prompts_stand_behind_the_class_token() -> None:
    adapted = adapt("vpt_shallow", tiny_model(pool="class"))
    whole = adapted.init_adapters(leaves_of(adapted.model), 1)
    tokens, _ = adapted.apply(whole, X, last=1)
    base_BTD = adapted.model.module.apply({"params": whole["params"]}, X, last=1)
    assert tokens.shape == (2, 5 + 3, 16)
    assert np.array_equal(tokens[:, :1], base_BTD[:, :1]) and np.array_equal(tokens[:, 4:], base_BTD[:, 1:])
    assert np.array_equal(tokens[0, 1:4], whole["adapters"]["embed"]["vpt_prompt"])


@pytest.mark.parametrize("pool", ["class", "patches"])
def test_it_runs_in_bfloat16(pool: str) -> None:
    model = tiny_model(pool=pool, gelu_exact=True, mean=(0.4,), std=(0.3,))
    variables = leaves_of(model)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    # The norms compute in float32, by a promotion that the tests' settings forbid.
    with jax.numpy_dtype_promotion("standard"):
        logits = model.module.apply(half, jnp.asarray(X, jnp.bfloat16))
    assert logits.dtype == jnp.bfloat16
    np.testing.assert_allclose(logits.astype(jnp.float32), model.module.apply(variables, X), atol=0.15)

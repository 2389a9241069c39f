"""Prompt tuning: where the prompts stand, what pools them, how they begin, and what is refused."""

import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import float64
from flows import away, bert_embed, dense, layer_norm, run, tokens_of
from tiny import adapt, batch, tiny_model, variables

from tlx.adapt.adapted import Adapted
from tlx.errors import ConfigError

P, T = 3, 6
POOL = 3


def prompt(model: str = "bert", **settings: Any) -> Adapted:
    return adapt("prompt", tiny_model(model), **{"length": P, **settings})


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_prompts_join_the_words_before_positions_and_norm(scale: float) -> None:
    adapted = prompt()
    leaves, ids = away(adapted), batch(adapted.model)["input"]
    params = float64(leaves["params"])
    prompt_PD = scale * np.asarray(leaves["adapters"]["embed"]["word"]["prompt"], np.float64)
    word_BTD = params["embed/word/embedding"][np.asarray(ids)]
    joined = np.concatenate([np.broadcast_to(prompt_PD, (len(ids), P, 16)), word_BTD], axis=1)
    flow = run(adapted, leaves, ids, last=1, scale=scale)
    np.testing.assert_allclose(flow["hidden"], bert_embed(params, joined, range(P + T)), atol=2e-5)
    np.testing.assert_array_equal(flow["mask"], np.concatenate([np.ones((len(ids), P)), np.asarray(ids) != 0], axis=1))


def test_prompts_stand_before_the_patches() -> None:
    adapted = prompt("vit")
    leaves, x_BHWC = away(adapted), batch(adapted.model)["input"]
    base_BTD = adapted.model.module.apply({"params": leaves["params"]}, x_BHWC, 0, 1)
    x_BTD = run(adapted, leaves, x_BHWC, last=1)
    np.testing.assert_allclose(x_BTD[:, P:], base_BTD, atol=1e-6)
    for row_PD in x_BTD[:, :P]:
        np.testing.assert_array_equal(row_PD, leaves["adapters"]["embed"]["prompt"])


@pytest.mark.parametrize(("pool", "first"), [("class", P), ("prompt", 0)])
def test_which_token_bert_pools(pool: str, first: int) -> None:
    adapted = prompt(pool=pool)
    leaves, ids = away(adapted), batch(adapted.model)["input"]
    below = run(adapted, leaves, ids, last=POOL)
    assert below["hidden"].shape == (len(ids), P + T, 16)
    expected = np.tanh(dense(float64(leaves["params"]), "pool/dense", tokens_of(below)[:, first]))
    np.testing.assert_allclose(run(adapted, leaves, below, POOL, POOL + 1), expected, atol=1e-5)


@pytest.mark.parametrize(("pool", "first"), [("class", P), ("prompt", 0)])
def test_which_tokens_the_vit_averages(pool: str, first: int) -> None:
    adapted = prompt("vit", pool=pool)
    leaves, x_BHWC = away(adapted), batch(adapted.model)["input"]
    below = run(adapted, leaves, x_BHWC, last=POOL)
    normed = layer_norm(float64(leaves["params"]), "pool/norm", tokens_of(below), epsilon=1e-6)
    np.testing.assert_allclose(run(adapted, leaves, below, POOL, POOL + 1), normed[:, first:].mean(axis=1), atol=1e-5)


def test_every_token_attends_to_the_prompts_and_none_to_pads() -> None:
    adapted = prompt()
    leaves, ids = away(adapted), batch(adapted.model)["input"]
    logits_BC = run(adapted, leaves, ids)
    longer = jnp.concatenate([ids, jnp.zeros((len(ids), 2), jnp.int32)], axis=1)
    np.testing.assert_allclose(run(adapted, leaves, longer), logits_BC, atol=1e-5)
    assert np.abs(run(adapted, leaves, ids, scale=0.0) - logits_BC).min(axis=1).max() > 1e-3


def test_a_uniform_start_is_within_a_half() -> None:
    prompt_PD = np.asarray(variables(prompt(length=10))["adapters"]["embed"]["word"]["prompt"])
    assert prompt_PD.shape == (10, 16)
    assert 0.45 < np.abs(prompt_PD).max() <= 0.5
    # 160 draws: within five standard errors.
    assert abs(prompt_PD.mean()) < 5 * 0.5 / np.sqrt(3 * 160)


def test_a_start_at_words_takes_each_word_once() -> None:
    model = tiny_model("bert", positions=64)
    whole = variables(adapt("prompt", model, length=45, init="vocabulary"))
    table_VD = np.asarray(whole["params"]["embed"]["word"]["embedding"])
    distance_PV = np.abs(np.asarray(whole["adapters"]["embed"]["word"]["prompt"])[:, None] - table_VD[None]).max(axis=2)
    assert np.all(distance_PV.min(axis=1) == 0)
    assert len(set(distance_PV.argmin(axis=1))) == 45


def test_more_prompts_than_words_repeat_some() -> None:
    adapted = adapt("prompt", tiny_model("bert", vocab=4), length=9, init="vocabulary")
    assert variables(adapted)["adapters"]["embed"]["word"]["prompt"].shape == (9, 16)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("bert", {"length": 11}, "length: expected at most 10 for 16 positions and 6 tokens, got 11"),
        ("vit", {"init": "vocabulary"}, "init: expected 'uniform', as the model has no table of words"),
        ("resnet", {}, "name: the method needs a model that works on tokens, which 'resnet' does not"),
    ],
)
def test_what_does_not_fit_is_refused(model: str, settings: dict[str, Any], message: str) -> None:
    adapted = prompt(model, **settings)
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        adapted.labels()


def test_prompts_may_fill_all_positions() -> None:
    adapted = prompt(length=10)
    assert run(adapted, variables(adapted), batch(adapted.model)["input"], last=1)["hidden"].shape[1] == 16

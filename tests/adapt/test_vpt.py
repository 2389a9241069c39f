"""Visual prompt tuning: where prompts go in and out, deep ones replaced by hand, how they begin and are dropped."""

import math
import re
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import stacked
from flows import away, run, tokens_of
from tiny import adapt, batch, tiny_model, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.errors import ConfigError
from tlx.models.registry import Model

P = 3
CLASS_TOKENS = {"bert": 1, "vit": 0}


def vpt(method: str, model: str = "vit", **settings: Any) -> Adapted:
    changes = {key: settings.pop(key) for key in ("scan", "remat") if key in settings}
    return adapt(method, tiny_model(model, **changes), **{"length": P, **settings})


def put(x_BTD: np.ndarray, new_PD: np.ndarray, at: int) -> np.ndarray:
    new_BPD = np.broadcast_to(new_PD, (len(x_BTD), *new_PD.shape))
    return np.concatenate([x_BTD[:, :at], new_BPD, x_BTD[:, at:]], axis=1)


def take(flow: Any, at: int) -> Any:
    """What flows without the prompts' slots."""
    return jax.tree.map(lambda x: np.concatenate([x[:, :at], x[:, at + P :]], axis=1), flow)


@pytest.mark.parametrize("model", ["bert", "vit"])
def test_shallow_prompts_follow_the_class_token(model: str) -> None:
    adapted = vpt("vpt_shallow", model)
    leaves, x, at = away(adapted), batch(adapted.model)["input"], CLASS_TOKENS[model]
    base = adapted.model.module.apply({"params": leaves["params"]}, x, 0, 1)
    prompt_PD = leaves["adapters"]["embed"]["vpt_prompt"]
    flow = run(adapted, leaves, x, last=1)
    np.testing.assert_allclose(tokens_of(flow), put(tokens_of(base), prompt_PD, at), atol=1e-5)
    half = run(adapted, leaves, x, last=1, scale=0.5)
    np.testing.assert_allclose(tokens_of(half)[0, at : at + P], 0.5 * prompt_PD, atol=1e-6)
    if model == "bert":
        mask_BT = np.asarray(x) != 0
        np.testing.assert_array_equal(flow["mask"], np.insert(mask_BT, [at] * P, True, axis=1))


@pytest.mark.thorough
@pytest.mark.parametrize("model", ["bert", "vit"])
def test_deep_prompts_are_new_ones_in_every_block(model: str) -> None:
    """Every block of the base model by itself, the slots filled by hand before it and cut out after it."""
    adapted = vpt("vpt_deep", model)
    leaves, x, at = away(adapted), batch(adapted.model)["input"], CLASS_TOKENS[model]
    module, params = adapted.model.module, {"params": leaves["params"]}
    flow = module.apply(params, x, 0, 1)
    for k in (1, 2):
        prompt_PD = leaves["adapters"][f"block_{k - 1}"]["vpt_prompt"]
        full = {"hidden": put(flow["hidden"], prompt_PD, at)} if model == "bert" else put(flow, prompt_PD, at)
        if model == "bert":
            full["mask"] = np.insert(np.asarray(flow["mask"]), [at] * P, 1.0, axis=1)
        after = module.apply(params, full, k, k + 1)
        np.testing.assert_allclose(tokens_of(run(adapted, leaves, x, last=k + 1)), tokens_of(after), atol=2e-5)
        flow = take(after, at)
    np.testing.assert_allclose(run(adapted, leaves, x), module.apply(params, flow, 3), atol=2e-5)


@pytest.mark.parametrize("method", ["vpt_deep", "vpt_shallow"])
@pytest.mark.parametrize("model", ["bert", "vit"])
def test_pooling_does_not_see_the_prompts(method: str, model: str) -> None:
    adapted = vpt(method, model)
    leaves, x = away(adapted), batch(adapted.model)["input"]
    below = run(adapted, leaves, x, last=3)
    expected = adapted.model.module.apply({"params": leaves["params"]}, take(below, CLASS_TOKENS[model]), 3)
    np.testing.assert_allclose(run(adapted, leaves, below, 3), expected, atol=1e-5)


def test_the_cut_of_deep_prompts_is_below_the_first_block() -> None:
    assert vpt("vpt_shallow").cut() == 0
    assert vpt("vpt_deep").cut() == 1


@pytest.mark.parametrize("method", ["vpt_deep", "vpt_shallow"])
def test_pads_change_nothing(method: str) -> None:
    adapted = vpt(method, "bert")
    leaves, ids = away(adapted), batch(adapted.model)["input"]
    longer = jnp.concatenate([ids, jnp.zeros((len(ids), 2), jnp.int32)], axis=1)
    np.testing.assert_allclose(run(adapted, leaves, longer), run(adapted, leaves, ids), atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("model", "bound"),
    [
        (replace(tiny_model("vit", patch=2), input_shape=(8, 8, 3)), math.sqrt(6 / (2 * 2 * 3 + 16))),
        (tiny_model("bert"), math.sqrt(6 / (16 + 16))),
    ],
    ids=["vit", "bert"],
)
def test_prompts_begin_evenly_within_the_bound(model: Model, bound: float) -> None:
    for leaf in jax.tree.leaves(variables(adapt("vpt_deep", model, length=40))["adapters"]):
        assert leaf.shape == (40, 16)
        assert 0.97 * bound < np.abs(leaf).max() <= bound
        # 640 draws: within five standard errors.
        assert abs(np.asarray(leaf).mean()) < 5 * bound / math.sqrt(3 * 640)


def test_dropout_is_for_training_alone_and_for_each_example_anew() -> None:
    adapted = vpt("vpt_shallow", length=40, dropout=0.25)
    leaves, x_BHWC = away(adapted), batch(adapted.model)["input"]
    prompt_PD = np.asarray(leaves["adapters"]["embed"]["vpt_prompt"])
    calm = run(adapted, leaves, x_BHWC, last=1)
    np.testing.assert_array_equal(calm[0, :40], prompt_PD)
    dropped, _ = adapted.apply(leaves, x_BHWC, last=1, train=True, rng=jax.random.key(0))
    np.testing.assert_array_equal(dropped[:, 40:], calm[:, 40:])
    gone = np.asarray(dropped[:, :40]) == 0
    # 5120 draws: within five standard errors.
    assert abs(gone.mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / gone.size)
    np.testing.assert_allclose(dropped[:, :40], np.where(gone, 0, prompt_PD / 0.75), atol=1e-6)
    assert np.any(gone[0] != gone[1])


@pytest.mark.parametrize("model", ["bert", "vit"])
def test_scanned_blocks_have_prompts_of_their_own(model: str) -> None:
    adapted, scanned = vpt("vpt_deep", model), vpt("vpt_deep", model, scan=True, remat=True)
    leaves, x = away(adapted), batch(adapted.model)["input"]
    given, fresh = stacked(leaves), variables(scanned)
    assert tree.flatten(given).keys() == tree.flatten(fresh).keys()
    np.testing.assert_allclose(run(scanned, given, x), run(adapted, leaves, x), atol=1e-5)
    drawn = np.asarray(fresh["adapters"]["blocks"]["vpt_prompt"])
    assert drawn.shape == (2, P, 16) and np.abs(drawn[0] - drawn[1]).max() > 0.1


def test_scanned_blocks_drop_different_prompts() -> None:
    adapted = vpt("vpt_deep", scan=True, dropout=0.5)
    leaves, x_BHWC = variables(adapted), batch(adapted.model)["input"]
    train = jax.jit(lambda key: adapted.apply(leaves, x_BHWC, train=True, rng=key)[0])
    one, again, other = (np.asarray(train(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-5


@pytest.mark.parametrize("method", ["vpt_deep", "vpt_shallow"])
def test_a_model_without_tokens_is_refused(method: str) -> None:
    message = "name: the method needs a model that works on tokens, which 'resnet' does not"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        vpt(method, "resnet").labels()

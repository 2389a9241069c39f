"""Side tuning: the blend by hand, where the side network comes from, and what it leaves alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import float64
from flows import away, dense, run, tokens_of
from tiny import adapt, batch, compiled_init, differing, tiny_model, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.errors import ConfigError

MODELS = ["bert", "resnet", "vit"]


def side(model: str, **settings: Any) -> Adapted:
    return adapt("side", tiny_model(model), **settings)


def copied(adapted: Adapted, leaves: Any, x: Any, stages: int) -> np.ndarray:
    """The side network's features, from the plain model with its leaves: mean over positions, projection."""
    own = leaves["adapters"]["head"]["side"]
    flow = adapted.model.module.apply({"params": own["copy"], "batch_stats": own.get("stats", {})}, x, 0, stages)
    y = tokens_of(flow)
    if isinstance(flow, dict):
        weight_BT1 = np.asarray(flow["mask"], np.float64)[..., None]
        y = (y * weight_BT1).sum(axis=1) / weight_BT1.sum(axis=1)
    else:
        y = y.reshape(len(y), -1, y.shape[-1]).mean(axis=1)
    return y @ np.asarray(own["kernel"], np.float64) + np.asarray(own["bias"], np.float64) if "kernel" in own else y


@pytest.mark.thorough
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("scale", [None, 0.5])
def test_the_head_reads_a_blend_of_both(model: str, scale: float | None) -> None:
    adapted = side(model)
    leaves, x = away(adapted), batch(adapted.model)["input"]
    base = {key: leaf for key, leaf in leaves.items() if key != "adapters"}
    head = len(adapted.model.stages) - 1
    base_BD = np.asarray(adapted.model.module.apply(base, x, 0, head), np.float64)
    blend = 1 / (1 + np.exp(-leaves["adapters"]["head"]["side"]["blend"][0]))
    assert abs(blend - 0.5) > 0.01
    share = (1 - blend) * (1.0 if scale is None else scale)
    features_BD = (1 - share) * base_BD + share * copied(adapted, leaves, x, 2)
    expected = dense(float64(leaves["params"]), "head", features_BD)
    np.testing.assert_allclose(run(adapted, leaves, x, scale=scale), expected, atol=2e-5)


@pytest.mark.parametrize("model", MODELS)
def test_it_starts_with_equal_shares_and_a_copy_of_the_first_stages(model: str) -> None:
    adapted = side(model)
    whole = variables(adapted)
    own = whole["adapters"]["head"]["side"]
    assert own["blend"].tolist() == [0]
    for key, name in (("params", "copy"), ("batch_stats", "stats")):
        if key in whole:
            stages = adapted.model.stages[:2]
            assert differing({stage: whole[key][stage] for stage in stages}, own[name]) == set()
    assert ("kernel" in own) == (model == "resnet")
    assert ("stats" in own) == (model == "resnet")


def test_the_projection_is_drawn_and_its_bias_is_zero() -> None:
    own = variables(side("resnet"))["adapters"]["head"]["side"]
    kernel_ED = np.asarray(own["kernel"])
    assert kernel_ED.shape == (8, 16) and not np.any(own["bias"])
    # LeCun: variance 1/8; 128 draws, within five standard errors.
    assert abs(kernel_ED.std() - 8**-0.5) < 5 * 8**-0.5 / np.sqrt(2 * 128)


@pytest.mark.parametrize("model", MODELS)
def test_a_scale_of_zero_is_the_base_model(model: str) -> None:
    adapted = side(model)
    leaves, x = away(adapted), batch(adapted.model)["input"]
    base = {key: leaf for key, leaf in leaves.items() if key != "adapters"}
    np.testing.assert_allclose(run(adapted, leaves, x, scale=0.0), adapted.model.module.apply(base, x), atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_all_of_the_frozen_network_lies_below_the_cut(model: str) -> None:
    adapted = side(model)
    assert adapted.cut() == len(adapted.model.stages) - 1
    labels = adapted.labels()
    moving = {path for path, label in labels.items() if label != "frozen"}
    own = {path for path in labels if path.startswith("adapters/") and "/stats/" not in path}
    assert moving == own | {"params/head/kernel", "params/head/bias"}


def test_gradients_reach_the_copy_and_the_blend() -> None:
    adapted = side("vit")
    leaves, data = away(adapted), batch(adapted.model)

    @jax.jit
    def slopes(adapters: Any) -> Any:
        return jax.grad(lambda a: jnp.mean(adapted.apply({**leaves, "adapters": a}, data["input"])[0] ** 2))(adapters)

    grads = tree.flatten(slopes(leaves["adapters"]))
    assert all(np.any(np.asarray(grad)) for path, grad in grads.items() if not path.endswith("attention/key/bias"))


def test_padding_changes_nothing() -> None:
    adapted = side("bert", stages=3)
    leaves, ids = away(adapted), batch(adapted.model)["input"]
    longer = jnp.concatenate([ids, jnp.zeros((len(ids), 2), jnp.int32)], axis=1)
    np.testing.assert_allclose(run(adapted, leaves, longer), run(adapted, leaves, ids), atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_more_stages_than_there_are_before_the_pooling_are_refused(model: str) -> None:
    assert side(model, stages=3).labels()
    with pytest.raises(ConfigError, match=r"^stages: expected at most 3, up to the pooling, got 4"):
        side(model, stages=4).labels()


def test_it_copies_the_tree_that_is_adapted() -> None:
    adapted = side("vit")
    base = compiled_init(adapted.model)(5)
    own = adapted.init_adapters(base, 0)["adapters"]["head"]["side"]["copy"]
    assert differing(own, {stage: base["params"][stage] for stage in ("embed", "block_0")}) == set()

"""Prefix tuning: attention with prefixes by hand, positions, the reparametrisation and its removal, what is refused."""

import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import float64, stacked, vit_block
from flows import away, bert_block, bert_embed, run, tokens_of
from tiny import adapt, batch, tiny_model, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.prefix import drop_reparam
from tlx.errors import ConfigError

P, T = 3, 6
SHARED = ("embedding", "first/kernel", "first/bias")


def build(model: str = "bert", method: str = "ptuning_v2", **settings: Any) -> Adapted:
    changes = {key: settings.pop(key) for key in ("scan", "remat") if key in settings}
    return adapt(method, tiny_model(model, **changes), **{"length": P, **settings})


@pytest.mark.parametrize("scale", [None, 0.4])
def test_every_token_attends_to_prefixes_and_to_no_pad(scale: float | None) -> None:
    """One block of BERT; the scale is a factor on the prefixes' values alone."""
    adapted = build()
    leaves, ids = away(adapted), batch(adapted.model)["input"]
    params, sides = float64(leaves["params"]), float64(leaves["adapters"])
    below = run(adapted, leaves, ids, last=1)
    np.testing.assert_array_equal(below["mask"], np.asarray(ids) != 0)
    allowed_BS = np.concatenate([np.ones((len(ids), P)), np.asarray(ids) != 0], axis=1)
    prefix = (
        sides["block_0/attention/key/prefix_key"],
        (1.0 if scale is None else scale) * sides["block_0/attention/value/prefix_value"],
    )
    expected = bert_block(params, "block_0", tokens_of(below), allowed_BS, 2, prefix)
    flow = run(adapted, leaves, below, 1, 2, scale)
    np.testing.assert_allclose(flow["hidden"], expected, atol=3e-5)
    np.testing.assert_array_equal(flow["mask"], below["mask"])


def test_it_works_without_a_mask() -> None:
    adapted = build("vit")
    leaves, x_BHWC = away(adapted), batch(adapted.model)["input"]
    sides = float64(leaves["adapters"])
    below = run(adapted, leaves, x_BHWC, last=1)

    def call(path: str, layer: Any, x: np.ndarray) -> np.ndarray:
        for name in ("key", "value"):
            if path == f"attention/{name}":
                prefix_PD = sides[f"block_0/attention/{name}/prefix_{name}"]
                return np.concatenate([np.broadcast_to(prefix_PD, (len(x), P, 16)), layer(x)], axis=1)
        return layer(x)

    expected = vit_block(float64(leaves["params"], "block_0/"), tokens_of(below), 2, call)
    np.testing.assert_allclose(run(adapted, leaves, below, 1, 2), expected, atol=3e-5)
    np.testing.assert_allclose(run(adapted, leaves, below, 1, 2, scale=1.0), expected, atol=3e-5)


@pytest.mark.parametrize(("offset", "positions"), [(True, range(P, P + T)), (False, range(T))])
def test_positions_begin_after_the_prefix_or_at_zero(offset: bool, positions: range) -> None:
    adapted = build(offset_positions=offset)
    leaves, ids = away(adapted), batch(adapted.model)["input"]
    params = float64(leaves["params"])
    expected = bert_embed(params, params["embed/word/embedding"][np.asarray(ids)], positions)
    np.testing.assert_allclose(run(adapted, leaves, ids, last=1)["hidden"], expected, atol=2e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("model", ["bert", "vit"])
@pytest.mark.parametrize("static", [False, True])
def test_a_scale_of_zero_is_the_base_model(model: str, static: bool) -> None:
    adapted = build(model)
    leaves, x = away(adapted), batch(adapted.model)["input"]
    base_BC = run(adapt("full", adapted.model), {"params": leaves["params"]}, x)
    logits_BC = adapted.apply(leaves, x, scale=0.0)[0] if static else run(adapted, leaves, x, scale=0.0)
    np.testing.assert_allclose(logits_BC, base_BC, atol=1e-5)
    assert np.abs(run(adapted, leaves, x, scale=1e-3) - base_BC).max() > 1e-3


def test_pads_change_nothing() -> None:
    adapted = build()
    leaves, ids = away(adapted), batch(adapted.model)["input"]
    longer = jnp.concatenate([ids, jnp.zeros((len(ids), 2), jnp.int32)], axis=1)
    np.testing.assert_allclose(run(adapted, leaves, longer), run(adapted, leaves, ids), atol=1e-5)


def test_prefixes_are_drawn_from_a_normal() -> None:
    whole = tree.flatten(variables(build("vit", length=32))["adapters"])
    assert whole.keys() == {f"block_{i}/attention/{side}/prefix_{side}" for i in range(2) for side in ("key", "value")}
    drawn = np.concatenate([np.asarray(leaf).ravel() for leaf in whole.values()])
    # 2048 draws: within five standard errors.
    assert drawn.size == 2048 and abs(drawn.mean()) < 5 / np.sqrt(2048) and abs(drawn.std() - 1) < 5 / np.sqrt(4096)


def test_the_target_says_which_layers_have_prefixes() -> None:
    adapted = build("vit", target="block_1/attention")
    assert {path.split("/")[0] for path in tree.flatten(variables(adapted)["adapters"])} == {"block_1"}
    assert adapted.cut() == 2
    leaves, x_BHWC = away(adapted), batch(adapted.model)["input"]
    base = adapted.model.module.apply({"params": leaves["params"]}, x_BHWC, 0, 2)
    np.testing.assert_allclose(run(adapted, leaves, x_BHWC, last=2), base, atol=1e-5)
    assert np.all(np.isfinite(run(adapted, leaves, x_BHWC)))


def test_a_network_makes_the_prefixes() -> None:
    """Dropping it leaves the prefixes that the formula gives, and the same logits."""
    adapted = build("bert", "prefix", reparam=5)
    assert adapted.cut() == 1
    leaves, ids = away(adapted), batch(adapted.model)["input"]
    sides = float64(leaves["adapters"])
    embedding_PD, kernel_DH, bias_H = (sides[f"block_0/prefix/{name}"] for name in SHARED)
    assert embedding_PD.shape == (P, 16) and kernel_DH.shape == (16, 5)
    hidden = np.tanh(embedding_PD @ kernel_DH + bias_H)
    dropped = tree.flatten(drop_reparam(leaves["adapters"]))
    plain = build("bert", "prefix", reparam=0)
    assert dropped.keys() == tree.flatten(variables(plain)["adapters"]).keys() and len(dropped) == 4
    for path, prefix_PD in dropped.items():
        expected = hidden @ sides[f"{path}/kernel"] + sides[f"{path}/bias"]
        np.testing.assert_allclose(prefix_PD, expected, atol=1e-5, err_msg=path)
    without = {"params": leaves["params"], "adapters": tree.unflatten(dropped)}
    np.testing.assert_allclose(run(plain, without, ids), run(adapted, leaves, ids), atol=1e-5)


def test_the_network_lies_in_the_first_stage_with_prefixes() -> None:
    adapted = build("vit", "prefix", reparam=5, target="block_1/attention")
    assert adapted.cut() == 2 and "prefix" in variables(adapted)["adapters"]["block_1"]
    assert np.all(np.isfinite(run(adapted, variables(adapted), batch(adapted.model)["input"])))


@pytest.mark.parametrize("method", ["prefix", "ptuning_v2"])
def test_scanned_blocks_have_prefixes_of_their_own(method: str) -> None:
    reparam = {"reparam": 5} if method == "prefix" else {}
    adapted, scanned = build("bert", method, **reparam), build("bert", method, scan=True, remat=True, **reparam)
    leaves, ids = away(adapted), batch(adapted.model)["input"]
    given = stacked(leaves)
    if reparam:
        # What all layers share has no axis for the blocks.
        given["adapters"]["prefix"] = leaves["adapters"]["block_0"]["prefix"]
        del given["adapters"]["blocks"]["prefix"]
        assert (adapted.cut(), scanned.cut()) == (1, 0)
    assert tree.flatten(given).keys() == tree.flatten(variables(scanned)).keys()
    np.testing.assert_allclose(run(scanned, given, ids), run(adapted, leaves, ids), atol=1e-5)
    drawn = np.asarray(tree.flatten(variables(scanned)["adapters"])[_some_key(method)])
    assert drawn.shape[0] == 2 and np.abs(drawn[0] - drawn[1]).max() > 0.1
    if method == "prefix":
        one, other = (tree.flatten(drop_reparam(each["adapters"])) for each in (given, leaves))
        for path, prefix_LPD in one.items():
            both = [other[path.replace("blocks", f"block_{i}")] for i in range(2)]
            np.testing.assert_allclose(prefix_LPD, both, atol=1e-5)


def _some_key(method: str) -> str:
    return "blocks/attention/key/prefix_key" + ("/kernel" if method == "prefix" else "")


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("bert", {"length": 11}, "length: expected at most 10 for 16 positions and 6 tokens, got 11"),
        (
            "bert",
            {"target": "block_0/mlp"},
            "target: 'block_0/mlp' matches no layer of 'bert' that 'ptuning_v2' adapts",
        ),
        ("resnet", {}, "name: the method needs a model that works on tokens, which 'resnet' does not"),
    ],
)
def test_what_does_not_fit_is_refused(model: str, settings: dict[str, Any], message: str) -> None:
    adapted = build(model, **settings)
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        adapted.labels()


def test_prefixes_without_positions_may_be_longer_than_these() -> None:
    adapted = build(length=20, offset_positions=False)
    assert np.all(np.isfinite(run(adapted, variables(adapted), batch(adapted.model)["input"])))

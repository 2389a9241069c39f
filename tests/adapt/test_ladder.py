"""Ladder side tuning: the ladder by hand, no backpropagation through the model, and what is refused."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import float64, gelu_tanh, stacked
from flows import attention, away, dense, layer_norm, run, tokens_of
from tiny import adapt, batch, tiny_model, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.errors import ConfigError


def ladder(model: str = "vit", reduction: int = 4, **changes: Any) -> Adapted:
    return adapt("ladder", tiny_model(model, **changes), reduction=reduction)


def by_hand(adapted: Adapted, leaves: Any, x: Any) -> np.ndarray:
    """The features the ladder hands to the head, from the plain model's outputs."""
    sides, params = float64(leaves["adapters"]), {"params": leaves["params"]}
    is_bert = adapted.model.name == "bert"
    flows = [adapted.model.module.apply(params, x, 0, k) for k in (1, 2, 3)]
    allowed_BT = np.asarray(flows[0]["mask"]) if is_bert else np.ones(flows[0].shape[:2])
    h = dense(sides, "embed/ladder/down", tokens_of(flows[0]))
    for i in range(2):
        at = f"block_{i}/ladder"
        gate = 1 / (1 + np.exp(-sides[f"{at}/gate"] / 0.1))
        h = gate * dense(sides, f"{at}/down", tokens_of(flows[i + 1])) + (1 - gate) * h
        h = h + attention(sides, f"{at}/attention", layer_norm(sides, f"{at}/norm1", h, 1e-6), allowed_BT, 2)
        hidden = gelu_tanh(dense(sides, f"{at}/mlp/up", layer_norm(sides, f"{at}/norm2", h, 1e-6)))
        h = h + dense(sides, f"{at}/mlp/down", hidden)
    h = layer_norm(sides, "pool/ladder/norm", h, 1e-6)
    return dense(sides, "pool/ladder/up", h[:, 0] if is_bert else h.mean(axis=1))


@pytest.mark.parametrize("model", ["bert", "vit"])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_the_head_reads_the_ladder(model: str, scale: float | None) -> None:
    adapted = ladder(model)
    leaves, x = away(adapted), batch(adapted.model)["input"]
    base_BD = np.asarray(adapted.model.module.apply({"params": leaves["params"]}, x, 0, 4), np.float64)
    share = 1.0 if scale is None else scale
    features_BD = (1 - share) * base_BD + share * by_hand(adapted, leaves, x)
    expected = dense(float64(leaves["params"]), "head", features_BD)
    np.testing.assert_allclose(run(adapted, leaves, x, scale=scale), expected, atol=1e-4)


def test_it_starts_with_half_open_gates_and_a_quarter_of_the_width() -> None:
    sides = tree.flatten(variables(ladder())["adapters"])
    assert [sides[f"block_{i}/ladder/gate"].tolist() for i in range(2)] == [[0], [0]]
    shapes = {path: leaf.shape for path, leaf in sides.items() if path.endswith("kernel")}
    assert shapes["embed/ladder/down/kernel"] == shapes["block_1/ladder/down/kernel"] == (16, 4)
    assert shapes["block_0/ladder/attention/query/kernel"] == (4, 4)
    assert shapes["block_0/ladder/mlp/up/kernel"] == (4, 16)
    assert shapes["pool/ladder/up/kernel"] == (4, 16)


def flops(adapted: Adapted, differentiate: bool) -> float:
    whole, x = adapted.abstract(), batch(adapted.model)["input"]

    def loss(adapters: Any, params: Any, x: jax.Array) -> jax.Array:
        return jnp.mean(adapted.apply({"params": params, "adapters": adapters}, x)[0] ** 2)

    # What does not move is an argument too: constants would be folded away.
    run = jax.jit(jax.grad(loss) if differentiate else loss)
    return float(run.lower(whole["adapters"], whole["params"], x).compile().cost_analysis()["flops"])


@pytest.mark.thorough
@pytest.mark.parametrize("changes", [{}, {"scan": True}])
def test_nothing_is_propagated_back_through_the_model(changes: dict[str, Any]) -> None:
    """A gradient of the ladder costs little more than the loss; LoRA's, which must, costs about as much again."""
    wide = {"width": 64, **changes}
    cost = {
        method: [flops(adapted, differentiate) for differentiate in (False, True)]
        for method, adapted in (("ladder", ladder(reduction=16, **wide)), ("lora", adapt("lora", tiny_model(**wide))))
    }
    assert cost["ladder"][1] < 1.1 * cost["ladder"][0]
    assert cost["lora"][1] > 1.8 * cost["lora"][0]


@pytest.mark.parametrize("model", ["bert", "vit"])
def test_a_scale_of_zero_is_the_base_model(model: str) -> None:
    adapted = ladder(model)
    leaves, x = away(adapted), batch(adapted.model)["input"]
    base_BC = adapted.model.module.apply({"params": leaves["params"]}, x)
    np.testing.assert_allclose(run(adapted, leaves, x, scale=0.0), base_BC, atol=1e-5)


def test_pads_change_nothing() -> None:
    adapted = ladder("bert")
    leaves, ids = away(adapted), batch(adapted.model)["input"]
    longer = jnp.concatenate([ids, jnp.zeros((len(ids), 2), jnp.int32)], axis=1)
    np.testing.assert_allclose(run(adapted, leaves, longer), run(adapted, leaves, ids), atol=2e-5)


@pytest.mark.parametrize("model", ["bert", "vit"])
def test_scanned_blocks_have_rungs_of_their_own(model: str) -> None:
    adapted, scanned = ladder(model), ladder(model, scan=True, remat=True)
    leaves, x = away(adapted), batch(adapted.model)["input"]
    given, fresh = stacked(leaves), variables(scanned)
    assert tree.flatten(given).keys() == tree.flatten(fresh).keys()
    np.testing.assert_allclose(run(scanned, given, x), run(adapted, leaves, x), atol=2e-5)
    drawn = np.asarray(fresh["adapters"]["blocks"]["ladder"]["down"]["kernel"])
    assert drawn.shape == (2, 16, 4) and np.abs(drawn[0] - drawn[1]).max() > 0.05


def test_a_reduction_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match=r"^reduction: expected a divisor of the width 16, got 3"):
        ladder(reduction=3).labels()


def test_the_heads_divide_the_ladder_s_width() -> None:
    adapted = ladder(reduction=16)
    assert math.prod(variables(adapted)["adapters"]["block_0"]["ladder"]["attention"]["query"]["kernel"].shape) == 1
    assert np.all(np.isfinite(run(adapted, variables(adapted), batch(adapted.model)["input"])))


def test_a_model_without_attention_is_refused() -> None:
    message = "name: the method needs a model that works on tokens, which 'resnet' does not"
    with pytest.raises(ConfigError, match=f"^{message}"):
        adapt("ladder", tiny_model("resnet")).labels()

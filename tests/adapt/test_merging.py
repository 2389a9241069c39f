"""Merging gives plain models of the same output, and can be undone to the last bit."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import adapt, batch, compiled_forward, differing, tiny_method, tiny_model, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.merging import gap, merge, unmerge
from tlx.adapt.registry import METHODS
from tlx.errors import ConfigError

pytestmark = pytest.mark.thorough

MERGEABLE = [
    (method, model)
    for method in sorted(METHODS)
    if METHODS[method].merge
    for model in ("resnet", "vit")
    if tiny_method(method).applies(model)
]
QUERY = "params/block_0/attention/query/kernel"


def moved(adapted: Adapted, size: float = 0.2) -> dict[str, Any]:
    """The variables with noise on every leaf that may move."""
    rng, leaves = np.random.default_rng(0), tree.flatten(variables(adapted))
    for path, label in adapted.labels().items():
        if label != "frozen":
            leaves[path] = leaves[path] + jnp.asarray(rng.normal(0, size, leaves[path].shape), leaves[path].dtype)
    return tree.unflatten(leaves)


def base(whole: dict[str, Any]) -> dict[str, Any]:
    return {key: leaves for key, leaves in whole.items() if key not in ("adapters", "reference")}


def together(*parts: tuple[str, dict[str, Any]]) -> Adapted:
    """Several methods on the small vision transformer, the main one first."""
    (main, given), *others = parts
    also = tuple((name, adapt(name, **settings).settings) for name, settings in others)
    return Adapted(tiny_model(), main, adapt(main, **given).settings, also)


@pytest.mark.parametrize(("method", "model"), MERGEABLE, ids=["-".join(pair) for pair in MERGEABLE])
def test_a_merged_model_computes_the_same(method: str, model: str) -> None:
    adapted = adapt(method, tiny_model(model))
    whole, x = moved(adapted), batch(adapted.model)["input"]
    before = tree.digest(whole)
    merged = merge(adapted, whole)
    assert tree.digest(whole) == before
    assert tree.flatten(merged.variables).keys() == tree.flatten(base(whole)).keys()
    logits, _ = compiled_forward(adapted)(whole, x)
    assert np.abs(logits - jax.jit(adapted.model.module.apply)(base(whole), x)).max() > 1e-4
    assert gap(adapted, whole, merged, x) <= 1e-5 * max(1.0, float(np.abs(logits).max()))
    assert differing(base(whole), merged.variables) == merged.kept.keys() != set()
    assert differing(base(whole), unmerge(merged)) == set()


def test_scanned_layers_merge_one_by_one() -> None:
    adapted = adapt("dora", tiny_model(scan=True))
    whole, x = moved(adapted), batch(adapted.model)["input"]
    merged = merge(adapted, whole)
    assert set(merged.kept) == {f"params/blocks/attention/{name}/kernel" for name in ("query", "value")}
    assert gap(adapted, whole, merged, x) <= 1e-5


def test_an_embedding_merges_into_its_table() -> None:
    adapted = adapt("lora", tiny_model("bert"), target="embed/word")
    whole, x = moved(adapted), batch(adapted.model)["input"]
    merged, side = merge(adapted, whole), whole["adapters"]["embed"]["word"]
    assert set(merged.kept) == {"params/embed/word/embedding"}
    table = whole["params"]["embed"]["word"]["embedding"] + 4.0 / 2 * side["lora_a"] @ side["lora_b"]
    np.testing.assert_allclose(merged.variables["params"]["embed"]["word"]["embedding"], table, atol=1e-6)
    assert gap(adapted, whole, merged, x) <= 1e-5


def test_sums_are_rounded_once_to_the_leaf_s_own_dtype() -> None:
    adapted = adapt("lora")
    whole = moved(adapted)
    whole["params"] = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), whole["params"])
    merged = merge(adapted, whole)
    kernel, side = whole["params"]["block_0"]["attention"]["query"]["kernel"], whole["adapters"]["block_0"]
    a, b = (np.asarray(side["attention"]["query"][f"lora_{name}"], np.float64) for name in "ab")
    expected = jnp.asarray(np.asarray(kernel, np.float64) + 4.0 / 2 * a @ b, jnp.float32).astype(jnp.bfloat16)
    found = tree.flatten(merged.variables)[QUERY]
    assert found.dtype == jnp.bfloat16
    # One kernel entry in a thousand may lie on the edge between two roundings.
    assert np.mean(np.asarray(found) == np.asarray(expected)) > 0.99
    assert {leaf.dtype for leaf in jax.tree.leaves(merged.variables)} == {jnp.dtype("bfloat16")}
    restored = unmerge(merged)
    assert differing(base(whole), restored) == set()
    assert np.any(np.asarray(found) != np.asarray(tree.flatten(restored)[QUERY]))


@pytest.mark.parametrize("method", ["full", "head", "freeze"])
def test_a_method_without_adapters_is_merged_already(method: str) -> None:
    adapted = adapt(method)
    merged = merge(adapted, variables(adapted))
    assert not merged.kept and differing(variables(adapted), merged.variables) == set()


@pytest.mark.parametrize(
    "parts",
    [
        (("lora", {"target": ".*/(query|up)"}), ("vera", {"target": ".*/(query|down)"})),
        (("lora", {"target": ".*/(query|up)"}), ("ssf", {})),
        (("ssf", {}), ("lora", {"target": ".*/(query|up)"})),
        (("ia3", {}), ("lora", {"target": ".*/(value|down)"})),
        (("lora", {"target": ".*/(value|down)"}), ("ia3", {})),
    ],
    ids=lambda parts: "+".join(name for name, _ in parts),
)
def test_composed_methods_merge_from_the_layer_outwards(parts: tuple[tuple[str, dict[str, Any]], ...]) -> None:
    adapted = together(*parts)
    whole, x_BHWC = moved(adapted), batch(adapted.model)["input"]
    merged = merge(adapted, whole)
    assert gap(adapted, whole, merged, x_BHWC) <= 1e-5
    logits, _ = compiled_forward(adapted)(whole, x_BHWC)
    assert np.abs(logits - jax.jit(adapted.model.module.apply)(base(whole), x_BHWC)).max() > 0.01
    assert differing(base(whole), unmerge(merged)) == set()


def test_the_gap_is_the_largest_difference_of_any_logit() -> None:
    adapted = adapt("lora")
    whole, x_BHWC = moved(adapted), batch(adapted.model)["input"]
    merged = merge(adapted, whole)
    head = dict(merged.variables["params"]["head"])
    head["bias"] = head["bias"] + jnp.asarray([0.25, -0.75, 0.0])
    merged.variables["params"]["head"] = head
    assert gap(adapted, whole, merged, x_BHWC) == pytest.approx(0.75, abs=1e-4)


def test_what_has_no_place_in_a_plain_model_is_refused() -> None:
    adapted = adapt("houlsby")
    message = "name: 'houlsby' cannot be merged: it adds what a plain model has no place for"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        merge(adapted, variables(adapted))
    composed = together(("lora", {}), ("houlsby", {}))
    with pytest.raises(ConfigError, match=r"^also\.houlsby\.name: 'houlsby' cannot be merged"):
        merge(composed, variables(composed))

"""RoBERTa's positions, the poolings and the heads of a BERT, against formulas written out in numpy."""

import functools
import re
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from formulas import Leaves, dense, double, erf, layer_norm, randomised
from tiny import CLASSES, adapt, tiny_model, variables

from tlx import tree
from tlx.adapt.anatomy import Anatomy
from tlx.errors import ConfigError
from tlx.fields import check_fields
from tlx.models.bert import FIELDS, check
from tlx.models.registry import Model

PAD, VOCAB = 1, 50
IDS_BT = np.array([[2, 7, 9, 4, 8, 3], [5, 6, 8, PAD, PAD, PAD], [PAD, 9, PAD, 3, 7, PAD]], np.int32)
MASK_BT = IDS_BT != PAD


def model_of(**changes: Any) -> Model:
    model = tiny_model("bert", **{"depth": 1, "pad": PAD, **changes})
    return replace(model, num_classes=VOCAB) if changes.get("head") == "mlm" else model


@functools.cache
def leaves(model: Model) -> Any:
    return randomised(model.module, model.example())


def hidden(model: Model) -> np.ndarray:
    """What the last block hands on, [B, T, D]."""
    before = len(model.stages) - 2
    return np.asarray(model.module.apply(leaves(model), IDS_BT, 0, before)["hidden"], np.float64)


def outputs(model: Model) -> tuple[np.ndarray, np.ndarray, Leaves]:
    """Features, logits and the leaves in double precision."""
    head = len(model.stages) - 1
    features = model.module.apply(leaves(model), IDS_BT, 0, head)
    logits = model.module.apply(leaves(model), features, head)
    np.testing.assert_array_equal(logits, model.module.apply(leaves(model), IDS_BT))
    return np.asarray(features), np.asarray(logits), double(leaves(model)["params"])


def test_positions_count_the_words_from_behind_the_padding_on() -> None:
    model = model_of(after_pad=True, epsilon=1e-5)
    p = double(leaves(model)["params"])
    assert p["embed/position/embedding"].shape == (16 + PAD + 1, 16)
    position_BT = np.array([[2, 3, 4, 5, 6, 7], [2, 3, 4, 1, 1, 1], [1, 2, 1, 3, 4, 1]])
    x_BTD = p["embed/word/embedding"][IDS_BT] + p["embed/type/embedding"][0]
    x_BTD = layer_norm(x_BTD + p["embed/position/embedding"][position_BT], p, "embed/norm", 1e-5)
    flow = model.module.apply(leaves(model), IDS_BT, 0, 1)
    np.testing.assert_allclose(flow["hidden"], x_BTD, atol=1e-5)
    np.testing.assert_array_equal(flow["mask"], MASK_BT)


def test_where_prompts_join_all_tokens_are_counted_from_behind_the_padding_on() -> None:
    model = model_of(after_pad=True)
    adapted = adapt("prompt", model, length=2)
    found = variables(adapted)
    prompt_PD = np.asarray(found["adapters"]["embed"]["word"]["prompt"])
    flow = adapted.apply(found, IDS_BT[:1], last=1)[0]
    p = double(found["params"])
    x_TD = np.concatenate([prompt_PD, p["embed/word/embedding"][IDS_BT[0]]]) + p["embed/type/embedding"][0]
    x_TD = layer_norm(x_TD + p["embed/position/embedding"][2:10], p, "embed/norm", 1e-12)
    np.testing.assert_allclose(flow["hidden"][0], x_TD, atol=1e-5)


def test_a_sequence_may_be_as_long_as_there_are_positions() -> None:
    model = model_of(after_pad=True, positions=6)
    assert np.all(np.isfinite(model.module.apply(leaves(model), IDS_BT)))
    with pytest.raises(ConfigError, match="6 positions do not reach the end of sequences of 7 tokens"):
        model.module.apply(leaves(model), np.full((1, 7), 3, np.int32))


def expected_features(pool: str, x_BTD: np.ndarray, p: Leaves) -> np.ndarray:
    if pool == "mean":
        return np.stack([x_TD[mask_T].mean(axis=0) for x_TD, mask_T in zip(x_BTD, MASK_BT, strict=True)])
    return np.tanh(dense(x_BTD[:, 0], p, "pool/dense")) if pool == "first" else x_BTD[:, 0]


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("pool", ["first", "first_token", "mean"])
def test_poolings(pool: str, normalise: bool) -> None:
    model = model_of(pool=pool, normalise=normalise)
    features_BD, logits_BL, p = outputs(model)
    assert any(path.startswith("pool/") for path in p) == (pool == "first")
    expected_BD = expected_features(pool, hidden(model), p)
    if normalise:
        expected_BD = expected_BD / np.linalg.norm(expected_BD, axis=1, keepdims=True)
    np.testing.assert_allclose(features_BD, expected_BD, atol=1e-5)
    np.testing.assert_allclose(logits_BL, dense(expected_BD, p, "head"), atol=1e-5)


def test_a_sequence_of_padding_has_a_mean_of_zero_and_a_finite_gradient() -> None:
    model = model_of(pool="mean", normalise=True)
    id_BT = np.full((1, 6), PAD, np.int32)

    def embed(given: Any) -> jax.Array:
        return jnp.sum(model.module.apply(given, id_BT, 0, 3))

    value, grads = jax.value_and_grad(embed)(leaves(model))
    assert value == 0.0 and all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))


def test_the_deep_head() -> None:
    features_BD, logits_BL, p = outputs(model_of(pool="first_token", head="classify_deep"))
    h_BD = np.tanh(dense(features_BD, p, "head/dense"))
    np.testing.assert_allclose(logits_BL, h_BD @ p["head/kernel"] + p["head/bias"], atol=1e-5)


def test_a_head_for_every_token() -> None:
    model = model_of(head="tokens")
    features_BTD, logits_BTL, p = outputs(model)
    np.testing.assert_allclose(features_BTD, hidden(model), atol=1e-6)
    assert logits_BTL.shape == (3, 6, CLASSES) and not any(path.startswith("pool/") for path in p)
    np.testing.assert_allclose(logits_BTL, dense(features_BTD, p, "head"), atol=1e-5)


@pytest.mark.parametrize("gelu", ["exact", "tanh"])
def test_a_masked_language_model_ends_in_its_table_of_words(gelu: str) -> None:
    model = model_of(head="mlm", gelu=gelu)
    features_BTD, logits_BTV, p = outputs(model)
    h = dense(features_BTD.astype(np.float64), p, "head/dense")
    inner = erf(h / np.sqrt(2)) if gelu == "exact" else np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3))
    h = layer_norm(0.5 * h * (1 + inner), p, "head/norm", 1e-12)
    np.testing.assert_allclose(logits_BTV, h @ p["embed/word/embedding"].T + p["head/bias"], atol=2e-5)
    assert {path for path in p if path.startswith("head/")} == {
        f"head/{leaf}" for leaf in ("bias", "dense/kernel", "dense/bias", "norm/scale", "norm/bias")
    }


def test_the_table_of_words_is_moved_by_its_use_as_the_last_layer() -> None:
    model = model_of(head="mlm")
    head = len(model.stages) - 1
    features = model.module.apply(leaves(model), IDS_BT, 0, head)
    grads = jax.grad(lambda v: jnp.sum(model.module.apply(v, features, head) ** 2))(leaves(model))
    moved = {path for path, leaf in tree.flatten(grads["params"]).items() if np.any(leaf)}
    assert moved == {
        "embed/word/embedding",
        *(path for path in tree.flatten(leaves(model)["params"]) if "head/" in path),
    }
    with pytest.raises(ConfigError, match="^head: 'mlm' has an output for each of 50 ids, not 3"):
        jax.eval_shape(replace(model, num_classes=3).init, 0)


def test_above_a_cut_a_masked_language_model_still_has_its_words() -> None:
    model = model_of(head="mlm")
    adapted = adapt("head", model)
    depth, anatomy = adapted.cut(), adapted.anatomy
    assert depth == len(model.stages) - 1
    found = tree.flatten(leaves(model))
    above = {path: leaf for path, leaf in found.items() if not anatomy.idle_above(path, depth)}
    assert set(above) == {"params/embed/word/embedding", *(path for path in found if path.startswith("params/head/"))}
    whole, _ = adapted.apply(leaves(model), IDS_BT)
    features, _ = adapted.apply(leaves(model), IDS_BT, last=depth)
    np.testing.assert_array_equal(adapted.apply(tree.unflatten(above), features, first=depth)[0], whole)
    other = Anatomy(model_of())
    assert other.idle_above("params/embed/word/embedding", 1) and not other.idle_above("params/embed/word/embedding", 0)


def test_rates_of_dropout_of_their_own() -> None:
    model = model_of(dropout=0.0)
    still = model.module.apply(leaves(model), IDS_BT)
    for name in ("attention_dropout", "head_dropout"):
        dropping = model_of(dropout=0.0, **{name: 0.5})
        dropped = dropping.module.apply(leaves(model), IDS_BT, train=True, rngs={"dropout": jax.random.key(0)})
        assert np.abs(dropped - still).max() > 0.01, name
        none = model_of(dropout=0.5, attention_dropout=0.0, head_dropout=0.0)
        hidden_BTD = none.module.apply(leaves(model), IDS_BT, 0, 1)
        last = len(none.stages)
        after = none.module.apply(
            leaves(model), none.module.apply(leaves(model), hidden_BTD, 1, 2), 2, last, train=True
        )
        np.testing.assert_allclose(after, still, atol=1e-6)


@pytest.mark.parametrize("changes", [{"pool": "mean", "normalise": True}, {"head": "mlm", "after_pad": True}])
def test_half_precision_stays_half(changes: dict[str, Any]) -> None:
    model = model_of(**changes)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), leaves(model))
    # flax's norms mix both precisions themselves.
    with jax.numpy_dtype_promotion("standard"):
        out, whole = (model.module.apply(given, IDS_BT) for given in (half, leaves(model)))
    assert out.dtype == jnp.bfloat16
    assert np.corrcoef(np.ravel(out).astype(np.float32), np.ravel(whole))[0, 1] > 0.99


@pytest.mark.parametrize("method", ["side", "ladder", "head2toe"])
def test_methods_with_one_prediction_an_example_refuse(method: str) -> None:
    with pytest.raises(ConfigError, match="name: the method needs one prediction an example, 'bert' makes more"):
        adapt(method, model_of(head="tokens")).abstract()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalise": True, "head": "tokens"}, "normalise: expected false, as the head 'tokens' reads every token"),
    ],
)
def test_settings_that_do_not_fit_one_another(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check(check_fields("model", FIELDS, changes), (8,))

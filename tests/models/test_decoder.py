"""Decoders against formulas written out in numpy, and what padding, prompts and settings do to them."""

import functools
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoders import CLASSES, FAMILIES, LENGTH, VOCAB, decoder, expected
from formulas import double, doubled_dropout, randomised

from tlx import tree
from tlx.errors import ConfigError
from tlx.fields import check_fields
from tlx.models.decoder import FIELDS, check
from tlx.models.registry import Model

# No padding, some at the end, some at the start, some at both; in the last row one pad is a token between others.
IDS_BT = np.array(
    [[1, 2, 3, 4, 5, 6], [7, 8, 9, 0, 0, 0], [0, 0, 4, 5, 6, 7], [0, 3, 5, 2, 0, 0], [3, 0, 5, 0, 0, 0]], np.int32
)
SPANS = [(0, 6), (0, 3), (2, 6), (1, 4), (0, 3)]


@functools.cache
def variables_of(model: Model) -> dict[str, Any]:
    return randomised(model.module, model.example())


@functools.cache
def stages_of(model: Model) -> Any:
    """(variables, ids) to what every stage hands on, compiled once."""

    def run(variables: Any, x: Any) -> list[Any]:
        out = []
        for k in range(len(model.stages)):
            x = model.module.apply(variables, x, k, k + 1)
            out.append(x)
        return out

    return jax.jit(run)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_language_model_is_the_formula(family: str) -> None:
    model = decoder(family, head="lm", tied=family == "gpt2")
    variables = variables_of(model)
    p = double(variables["params"])
    *_, features_BTD, logits_BTV = stages_of(model)(variables, IDS_BT)
    assert logits_BTV.shape == (*IDS_BT.shape, VOCAB)
    table = p["embed/word/embedding"].T if family == "gpt2" else p["head/kernel"]
    assert any(path.startswith("head/") for path in p) == (family != "gpt2")
    for row, (first, last) in enumerate(SPANS):
        want_TD = expected(model, p, IDS_BT[row, first:last])
        np.testing.assert_allclose(features_BTD[row, first:last], want_TD, atol=5e-5, err_msg=str(row))
        np.testing.assert_allclose(logits_BTV[row, first:last], want_TD @ table, atol=2e-4, err_msg=str(row))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_classifier_reads_the_last_token_that_is_no_padding(family: str) -> None:
    model = decoder(family)
    variables = variables_of(model)
    p = double(variables["params"])
    *_, features_BD, logits_BL = stages_of(model)(variables, IDS_BT)
    assert logits_BL.shape == (len(IDS_BT), CLASSES)
    for row, (first, last) in enumerate(SPANS):
        want_D = expected(model, p, IDS_BT[row, first:last])[-1]
        np.testing.assert_allclose(features_BD[row], want_D, atol=5e-5)
        np.testing.assert_allclose(logits_BL[row], want_D @ p["head/kernel"], atol=2e-4)


def test_what_flows_between_the_stages() -> None:
    for family in ("gpt2", "llama"):
        model = decoder(family)
        assert model.stages == ("embed", "block_0", "block_1", "pool", "head")
        for flow in stages_of(model)(variables_of(model), IDS_BT)[:3]:
            assert flow.keys() == {"hidden", "mask"} | ({"position"} if family == "llama" else set())
            assert flow["hidden"].shape == (5, LENGTH, 16)
            assert {str(leaf.dtype) for leaf in flow.values()} == {"float32"}
            # The pad between two tokens is a token.
            mask_BT = IDS_BT != 0
            mask_BT[4, 1] = True
            assert np.array_equal(flow["mask"], mask_BT)
        if family == "llama":
            from_start = [0, 1, 2, 3, 4, 5]
            wanted = [from_start, from_start, [0, 0, 0, 1, 2, 3], [0, 0, 1, 2, 3, 4], from_start]
            assert np.array_equal(flow["position"], wanted)


def test_a_tied_head_has_no_leaves_and_the_registry_says_what_it_reads() -> None:
    tied, own = (decoder("llama", head="lm", tied=tied) for tied in (True, False))
    leaves = [set(tree.flatten(jax.eval_shape(lambda m=m: m.init(0)))) for m in (tied, own)]
    assert leaves[1] - leaves[0] == {"params/head/kernel"} and leaves[0] < leaves[1]
    assert tied.kind.shared(dict(tied.settings)) == ("params/embed/word/embedding",)
    assert own.kind.shared(dict(own.settings)) == decoder("llama").kind.shared(dict(decoder("llama").settings)) == ()


def test_a_language_model_has_an_output_for_each_id() -> None:
    model = decoder("llama", head="lm")
    other = Model(model.name, model.settings, CLASSES, model.input_shape)
    with pytest.raises(ConfigError, match=f"^head: 'lm' has an output for each of {VOCAB} ids, not {CLASSES}"):
        jax.eval_shape(lambda: other.init(0))


def with_prompts(prompt_PD: np.ndarray) -> Any:
    """An interceptor that puts vectors in front of the words and lets them be attended to."""

    def join(layer: Any, args: Any, kwargs: Any, context: Any) -> Any:
        out, path = layer(*args, **kwargs), "/".join(context.module.path)
        if context.method_name != "__call__" or path not in ("embed", "embed/word"):
            return out
        if path == "embed":
            return {**out, "mask": jnp.pad(out["mask"], ((0, 0), (len(prompt_PD), 0)), constant_values=1.0)}
        prompt_BPD = jnp.broadcast_to(jnp.asarray(prompt_PD)[None], (len(out), *prompt_PD.shape))
        return jnp.concatenate([prompt_BPD, out], axis=1)

    return nn.intercept_methods(join)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_prompts_in_front_are_read_like_words(family: str) -> None:
    model = decoder(family)
    variables, id_BT = variables_of(model), IDS_BT[:2]
    words = [11, 12, 13]
    longer_BT = np.concatenate([np.tile(words, (2, 1)), id_BT], axis=1).astype(np.int32)
    with with_prompts(np.asarray(variables["params"]["embed"]["word"]["embedding"])[words]):
        logits_BL = model.module.apply(variables, id_BT)
    np.testing.assert_allclose(logits_BL, model.module.apply(variables, longer_BT), atol=1e-5)


def test_prompts_need_positions() -> None:
    model = decoder()
    with with_prompts(np.zeros((11, 16), np.float32)), pytest.raises(ConfigError) as caught:
        model.module.apply(variables_of(model), IDS_BT)
    assert str(caught.value) == "positions: 16 positions do not reach the end of sequences of 17 tokens"


def test_where_dropout_stands() -> None:
    model = decoder(head="lm")
    variables = variables_of(model)
    with nn.intercept_methods(doubled_dropout):
        features_BTD = model.module.apply(variables, IDS_BT[:1], 0, 4, train=True)
    want_TD = expected(model, double(variables["params"]), IDS_BT[0], factor=2.0)
    np.testing.assert_allclose(features_BTD[0], want_TD, atol=1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_it_runs_in_bfloat16(family: str) -> None:
    model = decoder(family, head="lm")
    variables = variables_of(model)
    # Both at once, so that the only difference is how the arithmetic is rounded.
    short = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), short)
    # flax's own LayerNorm mixes its types.
    with jax.numpy_dtype_promotion("standard"):
        one, other = (model.module.apply(leaves, IDS_BT) for leaves in (short, wide))
    assert one.dtype == jnp.bfloat16
    words_BT = IDS_BT != 0
    gap = np.abs(np.asarray(one, np.float32) - np.asarray(other))[words_BT]
    assert gap.mean() < 0.1 * np.std(np.asarray(other)[words_BT])


def test_the_numbers_of_parameters_of_released_models() -> None:
    """124,439,808 of the smallest GPT-2, whose settings are the defaults, and 1,235,814,400 of Llama 3.2 1B."""
    llama = {
        **{"vocab": 128256, "width": 2048, "depth": 16, "heads": 32, "kv_heads": 8, "hidden": 8192},
        **{"position": "rotary", "norm": "rms", "mlp": "swiglu", "bias": "none"},
    }
    for changes, count in (({}, 124_439_808), (llama, 1_235_814_400)):
        settings = check_fields("model", FIELDS, {**changes, "head": "lm"})
        model = Model("decoder", tuple(settings.items()), settings["vocab"], (8,))
        assert tree.count(jax.eval_shape(model.init, 0)) == count


@pytest.mark.parametrize(
    ("changes", "length", "message"),
    [
        ({"heads": 5}, 8, "heads: 5 heads do not divide the width 768"),
        ({"kv_heads": 5}, 8, "kv_heads: 5 heads of keys and values cannot be shared evenly by 12 heads"),
        ({"position": "rotary", "head_width": 5}, 8, "head_width: rotary positions need heads of an even width, got 5"),
        (
            {"rope_scaling": "llama3", "rope_low": 4.0},
            8,
            "rope_high: expected more than rope_low 4, got 4",
        ),
        ({"vocab": 10, "pad": 10}, 8, "pad: expected a token id below 10, got 10"),
        ({"vocab": 10, "eos": (3, 12)}, 8, "eos: expected a token id below 10, got 12"),
        ({"positions": 16}, 17, "positions: 16 positions do not reach the end of sequences of 17 tokens"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], length: int, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check(check_fields("model", FIELDS, changes), (length,))


def test_settings_that_fit() -> None:
    check(check_fields("model", FIELDS, {"heads": 5, "head_width": 7, "positions": 16, "eos": ()}), (16,))

"""BERT against formulas written out in numpy, and what padding, prompts and too long a sequence do to it."""

import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from formulas import Leaves, attention, below, dense, double, doubled_dropout, layer_norm, mlp, randomised
from tiny import batch, tiny_model

from tlx import tree
from tlx.errors import ConfigError
from tlx.fields import check_fields
from tlx.models.bert import FIELDS, check
from tlx.models.registry import Model

IDS_BT = np.array([[2, 7, 9, 4, 1, 3], [5, 5, 8, 0, 0, 0], [6, 1, 0, 0, 0, 0]], np.int32)


def bert(**changes: Any) -> Model:
    return tiny_model("bert", **changes)


def variables_of(model: Model, seed: int = 0) -> dict[str, Any]:
    return randomised(model.module, model.example(), seed=seed)


def expected_logits(p: Leaves, id_BT: np.ndarray, epsilon: float, pad: int = 0, factor: float = 1.0) -> np.ndarray:
    """The whole of the tiny model; `factor` stands for each dropout."""
    mask_BT = id_BT != pad
    x = (
        p["embed/word/embedding"][id_BT]
        + p["embed/type/embedding"][0]
        + p["embed/position/embedding"][: id_BT.shape[1]]
    )
    x = factor * layer_norm(x, p, "embed/norm", epsilon)
    for i in range(2):
        own = below(p, f"block_{i}/")
        x = layer_norm(x + attention(x, below(own, "attention/"), 2, mask_BT, factor), own, "norm1", epsilon)
        x = layer_norm(x + factor * mlp(x, below(own, "mlp/"), exact=True), own, "norm2", epsilon)
    return dense(factor * np.tanh(dense(x[:, 0], p, "pool/dense")), p, "head")


@pytest.mark.parametrize("settings", [{}, {"epsilon": 1e-3}, {"pad": 5}])
def test_it_is_the_formula(settings: dict[str, Any]) -> None:
    model = bert(**settings)
    variables = variables_of(model)
    named = dict(model.settings)
    expected = expected_logits(double(variables["params"]), IDS_BT, named["epsilon"], named["pad"])
    np.testing.assert_allclose(model.module.apply(variables, IDS_BT), expected, atol=2e-5)


def test_where_dropout_stands() -> None:
    model = bert()
    variables = variables_of(model)
    with nn.intercept_methods(doubled_dropout):
        logits_BL = model.module.apply(variables, IDS_BT, train=True)
    expected = expected_logits(double(variables["params"]), IDS_BT, 1e-12, factor=2.0)
    np.testing.assert_allclose(logits_BL, expected, atol=2e-5)


def test_norms_are_exact_for_large_values_close_to_one_another() -> None:
    model = bert()
    variables = variables_of(model)
    variables["params"]["embed"]["word"]["embedding"] += 2000.0
    expected = expected_logits(double(variables["params"]), IDS_BT, 1e-12)
    np.testing.assert_allclose(model.module.apply(variables, IDS_BT), expected, atol=1e-3)


def test_what_flows_between_the_stages() -> None:
    model = bert()
    variables = variables_of(model)
    x: Any = IDS_BT
    for k, stage in enumerate(model.stages):
        x = model.module.apply(variables, x, k, k + 1)
        if stage in ("pool", "head"):
            assert x.shape == (3, {"pool": 16, "head": 3}[stage])
        else:
            assert x.keys() == {"hidden", "mask"} and x["hidden"].shape == (3, 6, 16)
            assert x["mask"].dtype == jnp.float32 and np.array_equal(x["mask"], IDS_BT != 0)


def test_padding_changes_nothing() -> None:
    model = bert()
    variables = variables_of(model)
    shorter = model.module.apply(variables, IDS_BT[1:, :3])
    np.testing.assert_allclose(shorter, model.module.apply(variables, IDS_BT)[1:], atol=1e-5)
    grads = jax.jit(jax.grad(lambda v: jnp.sum(model.module.apply(v, IDS_BT) ** 2)))(variables)
    word_VD = np.asarray(grads["params"]["embed"]["word"]["embedding"])
    assert not np.any(word_VD[0]) and np.all(np.any(word_VD[[1, 2, 3, 4, 5, 6, 7, 8, 9]], axis=1))


def with_prompts(prompt_PD: np.ndarray) -> Any:
    """An interceptor that puts vectors after the first word and lets them be attended to."""

    def join(layer: Any, args: Any, kwargs: Any, context: Any) -> Any:
        out, path = layer(*args, **kwargs), "/".join(context.module.path)
        if context.method_name != "__call__" or path not in ("embed", "embed/word"):
            return out
        if path == "embed":
            return {**out, "mask": jnp.pad(out["mask"], ((0, 0), (len(prompt_PD), 0)), constant_values=1.0)}
        prompt_BPD = jnp.broadcast_to(prompt_PD[None], (len(out), *prompt_PD.shape))
        return jnp.concatenate([out[:, :1], prompt_BPD, out[:, 1:]], axis=1)

    return nn.intercept_methods(join)


def test_prompts_among_the_words_are_read_like_words() -> None:
    model = bert()
    variables = variables_of(model)
    words = [11, 12, 13, 14]
    longer_BT = np.concatenate([IDS_BT[:, :1], np.tile(words, (3, 1)), IDS_BT[:, 1:]], axis=1).astype(np.int32)
    with with_prompts(np.asarray(variables["params"]["embed"]["word"]["embedding"])[words]):
        logits_BL = model.module.apply(variables, IDS_BT)
    np.testing.assert_allclose(logits_BL, model.module.apply(variables, longer_BT), atol=1e-5)
    with with_prompts(np.zeros((11, 16), np.float32)), pytest.raises(ConfigError) as caught:
        model.module.apply(variables, IDS_BT)
    assert str(caught.value) == "positions: 16 positions do not reach the end of sequences of 17 tokens"


def test_dropout_in_training_alone() -> None:
    model, x_BT = bert(dropout=0.5), batch(bert())["input"]
    variables = variables_of(model)
    still, one, again, other = (
        model.module.apply(variables, x_BT, train=train, rngs={"dropout": jax.random.key(seed)})
        for train, seed in ((False, 0), (True, 0), (True, 0), (True, 1))
    )
    assert np.array_equal(still, model.module.apply(variables, x_BT)) and np.array_equal(one, again)
    assert np.abs(one - still).max() > 0.01 and np.abs(one - other).max() > 0.01


def test_leaves_start_as_published() -> None:
    model = Model("bert", tuple(check_fields("model", FIELDS, {"vocab": 99, "width": 96, "depth": 1}).items()), 2, (4,))
    for path, leaf in tree.flatten(jax.jit(model.init)(0)["params"]).items():
        name = path.rsplit("/", 1)[1]
        if name in ("kernel", "embedding"):
            assert np.std(leaf) == pytest.approx(0.02, rel=0.2), path
        else:
            assert np.all(np.asarray(leaf) == (1.0 if name == "scale" else 0.0)), path


def test_the_number_of_parameters_of_bert_base() -> None:
    """109,482,240 of the published encoder with its pooler, and a classifier of two labels."""
    model = Model("bert", tuple(check_fields("model", FIELDS, {}).items()), 2, (128,))
    shapes = jax.eval_shape(lambda: model.init(0))
    assert tree.count(shapes) == 109_482_240 + 2 * 768 + 2
    assert model.stages == ("embed", *(f"block_{i}" for i in range(12)), "pool", "head")


@pytest.mark.parametrize(
    ("changes", "length", "message"),
    [
        ({"heads": 5}, 8, "heads: 5 heads do not divide the width 768"),
        ({"positions": 16}, 17, "positions: 16 positions do not reach the end of sequences of 17 tokens"),
        ({"vocab": 10, "pad": 10}, 8, "pad: expected a token id below 10, got 10"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, int], length: int, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check(check_fields("model", FIELDS, changes), (length,))


def test_settings_that_fit() -> None:
    check(check_fields("model", FIELDS, {"positions": 16}), (16,))
    check(check_fields("model", FIELDS, {"vocab": 10, "pad": 9}), (1,))

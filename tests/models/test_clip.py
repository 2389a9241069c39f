"""CLIP's towers and what is done with both: where texts end, what features are, classifiers out of words."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from formulas import attend, below, dense, double, layer_norm, randomised
from tiny import tiny_model

from tlx.errors import ConfigError
from tlx.fields import check_fields
from tlx.models import clip, clip_text, clip_vision, zero_shot
from tlx.models.registry import Model

X = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
IDS = np.array([[3, 4, 9, 12, 0, 0], [5, 9, 9, 30, 8, 0], [7, 8, 2, 3, 4, 5]], np.int32)
# By the rule: where each text ends.
ENDS = {9: (2, 1, 0), clip_text.HIGHEST: (3, 3, 1)}


def leaves_of(model: Model) -> dict[str, Any]:
    return randomised(model.module, model.example())


def features(model: Model, variables: dict[str, Any], x: Any) -> np.ndarray:
    return np.asarray(model.module.apply(variables, x, last=len(model.stages) - 1))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def blocks(x_TD: np.ndarray, p: dict[str, np.ndarray], causal: bool) -> np.ndarray:
    """One example's, with the sigmoid's approximation of the GELU."""
    for i in range(2):
        own = below(p, f"block_{i}/")
        h = layer_norm(x_TD, own, "norm1", 1e-5)
        q, k, v = (dense(h, own, f"attention/{name}") for name in ("query", "key", "value"))
        if causal:
            mixed = np.stack([attend(q[t : t + 1], k[: t + 1], v[: t + 1], 2)[0] for t in range(len(h))])
        else:
            mixed = attend(q, k, v, 2)
        x_TD = x_TD + dense(mixed, own, "attention/out")
        h = dense(layer_norm(x_TD, own, "norm2", 1e-5), own, "mlp/up")
        x_TD = x_TD + dense(h / (1 + np.exp(-1.702 * h)), own, "mlp/down")
    return x_TD


@pytest.mark.parametrize("normalise", [False, True])
def test_the_image_tower_is_the_formula(normalise: bool) -> None:
    model = tiny_model("clip_vision", normalise=normalise)
    variables = leaves_of(model)
    p, found = double(variables["params"]), []
    for image in X.astype(np.float64):
        cut = image.reshape(2, 4, 2, 4, 3).transpose(0, 2, 1, 3, 4).reshape(4, 48)
        x = np.concatenate([p["embed/cls"][0], cut @ p["embed/patches/kernel"]]) + p["embed/position"][0]
        x = blocks(layer_norm(x, p, "embed/norm", 1e-5), p, causal=False)
        found.append(layer_norm(x[0], p, "pool/norm", 1e-5) @ p["pool/projection/kernel"])
    expected = unit(np.stack(found)) if normalise else np.stack(found)
    np.testing.assert_allclose(features(model, variables, X), expected, atol=2e-5)


@pytest.mark.parametrize("eos", ENDS)
def test_the_text_tower_is_the_formula(eos: int) -> None:
    model = tiny_model("clip_text", eos=eos)
    variables = leaves_of(model)
    p, found = double(variables["params"]), []
    for ids, end in zip(IDS, ENDS[eos], strict=True):
        x = blocks(p["embed/word/embedding"][ids] + p["embed/position/embedding"][:6], p, causal=True)
        found.append(layer_norm(x[end], p, "pool/norm", 1e-5) @ p["pool/projection/kernel"])
    np.testing.assert_allclose(features(model, variables, IDS), unit(np.stack(found)), atol=2e-5)


def test_what_follows_the_end_of_a_text_changes_nothing_and_what_precedes_it_does() -> None:
    model = tiny_model("clip_text", eos=9)
    variables = leaves_of(model)
    one = features(model, variables, IDS[:1])
    behind, before = IDS[:1].copy(), IDS[:1].copy()
    behind[0, 3:], before[0, 0] = (40, 9, 41), 6
    np.testing.assert_allclose(features(model, variables, behind), one, atol=1e-6)
    assert np.abs(features(model, variables, before) - one).max() > 1e-3


def test_no_token_asks_those_behind_it() -> None:
    model = tiny_model("clip_text", eos=9)
    variables, last = leaves_of(model), model.stages.index("pool")
    ids = np.array([[3, 4, 5, 6, 7, 9]], np.int32)
    changed = ids.copy()
    changed[0, 3] = 20
    one, other = (model.module.apply(variables, each, last=last) for each in (ids, changed))
    assert np.array_equal(one["mask"], np.ones((1, 6)))
    differs = np.abs(one["hidden"] - other["hidden"]).max(axis=-1)[0] > 1e-5
    assert differs.tolist() == [False] * 3 + [True] * 3


def test_features_without_projection_have_the_tower_s_width() -> None:
    for name, x in (("clip_vision", X), ("clip_text", IDS)):
        model = tiny_model(name, projection=0)
        variables = leaves_of(model)
        found = features(model, variables, x)
        assert found.shape == (len(x), 16) and "projection" not in variables["params"]["pool"]
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)


def test_zeros_have_no_direction_and_no_bad_gradient() -> None:
    value, slope = jax.value_and_grad(lambda x: jnp.sum(clip.normalised(x)))(jnp.zeros((1, 4)))
    assert value == 0 and np.all(np.isfinite(slope))


def test_similarity_is_the_scaled_cosine() -> None:
    rng = np.random.default_rng(1)
    image, text = rng.normal(size=(2, 4)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)
    expected = np.exp(1.2) * unit(image) @ unit(text).T
    np.testing.assert_allclose(clip.similarity(image, text, 1.2), expected, atol=1e-5)


def test_both_towers_together() -> None:
    vision, text = tiny_model("clip_vision"), tiny_model("clip_text")
    module = clip.Clip(vision.module, text.module)
    variables = randomised(module, X, IDS)
    params = variables["params"]
    assert params.keys() == {"vision", "text", "logit_scale"} and "head" not in {**params["vision"], **params["text"]}
    image, words = (features(m, {"params": params[n]}, x) for m, n, x in ((vision, "vision", X), (text, "text", IDS)))
    expected = np.exp(params["logit_scale"]) * image @ words.T
    np.testing.assert_allclose(module.apply(variables, X, IDS), expected, atol=1e-5)
    start = jax.jit(lambda: module.init(jax.random.key(0), X, IDS)["params"]["logit_scale"])()
    assert float(start) == pytest.approx(np.log(1 / 0.07), rel=1e-6)


def test_prompts_name_every_class_in_every_template() -> None:
    found = zero_shot.prompts(["cat", "{x}"], ["a {}.", "{} or {}"])
    assert found == [["a cat.", "cat or cat"], ["a {x}.", "{x} or {x}"]]
    with pytest.raises(ConfigError, match=r"^templates\[1\]: expected a {} where"):
        zero_shot.prompts(["cat"], ["a {}", "a photo"])


class Heard:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def line(self, text: str) -> None:
        self.told.append(text)

    def start(self, task: str, total: int, done: int = 0) -> None:
        self.told.append(total)

    def advance(self, task: str, units: int) -> None:
        self.told.append(units)


def test_a_zero_shot_classifier_gives_scaled_cosines_with_the_prompts_mean() -> None:
    vision, text = replace(tiny_model("clip_vision"), num_classes=2), tiny_model("clip_text", eos=9)
    towers, heard = [leaves_of(model) for model in (vision, text)], Heard()
    id_LMT = np.random.default_rng(3).integers(3, 50, (2, 3, 6)).astype(np.int32)
    id_LMT[..., 4] = 9
    classes = zero_shot.class_embeddings(text, towers[1], id_LMT, heard)
    each = np.stack([features(text, towers[1], ids) for ids in id_LMT])
    np.testing.assert_allclose(classes, unit(each.mean(axis=1)), atol=1e-5)
    assert heard.told == [2, 1, 1]

    source = zero_shot.classifier(vision, towers[0], classes, 2.0)
    expected = np.exp(2.0) * features(vision, towers[0], X) @ np.asarray(classes).T
    np.testing.assert_allclose(vision.module.apply(source, X), expected, atol=2e-5)
    assert source["params"]["embed"] is towers[0]["params"]["embed"]
    assert not np.any(source["params"]["head"]["bias"])


def test_classifiers_that_cannot_be() -> None:
    vision, classes = replace(tiny_model("clip_vision"), num_classes=2), jnp.ones((2, 12))
    for model, message in (
        (
            tiny_model("clip_vision", normalise=False),
            "^normalise: expected true, as cosines are of normalised features",
        ),
        (tiny_model("clip_vision"), "^projection: 3 classes of 12 features, but got 2 of 12"),
        (replace(tiny_model("clip_vision", projection=0), num_classes=2), "^projection: 2 classes of 16 features, but"),
    ):
        with pytest.raises(ConfigError, match=message):
            zero_shot.classifier(model, {"params": {}}, classes, 0.0)
    assert zero_shot.classifier(vision, {"params": {}}, classes, 0.0)["params"]["head"]["kernel"].shape == (12, 2)


@pytest.mark.parametrize(
    ("kind", "changes", "shape", "message"),
    [
        (clip_vision, {"heads": 7}, (224, 224, 3), "heads: 7 heads do not divide the width 768"),
        (clip_vision, {}, (225, 224, 3), "patch: patches of 32 pixels do not tile images of 225×224"),
        (clip_text, {"heads": 7}, (77,), "heads: 7 heads do not divide the width 512"),
        (clip_text, {"eos": 49408}, (77,), "eos: expected a token id below 49408, got 49408"),
        (clip_text, {"pad": 50000}, (77,), "pad: expected a token id below 49408, got 50000"),
        (clip_text, {}, (78,), "positions: 77 positions do not reach the end of sequences of 78 tokens"),
    ],
)
def test_settings_that_do_not_fit(kind: Any, changes: dict[str, Any], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind.check(check_fields("model", kind.FIELDS, changes), shape)
    assert str(caught.value).startswith(message)


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "x"), [("clip_vision", X), ("clip_text", IDS)])
def test_it_runs_in_bfloat16(name: str, x: Any) -> None:
    model = tiny_model(name)
    variables = leaves_of(model)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    given = x if x.dtype == np.int32 else jnp.asarray(x, jnp.bfloat16)
    # The norms compute in float32, by a promotion that the tests' settings forbid.
    with jax.numpy_dtype_promotion("standard"):
        logits = model.module.apply(half, given)
    assert logits.dtype == jnp.bfloat16
    np.testing.assert_allclose(logits.astype(jnp.float32), model.module.apply(variables, x), atol=0.15)

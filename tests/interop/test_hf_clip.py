"""Hugging Face's CLIP: either tower of a whole model, a tower alone, and both of them back."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_numpy import Arrays, attend, drawn, gelu, layer, linear, norm, patches, quick_gelu, write

from tlx.errors import ConfigError, FileError
from tlx.interop import clip_pair, hf_clip
from tlx.interop import layout as layouts
from tlx.interop.clip_pair import Pair
from tlx.interop.files import open_checkpoint
from tlx.interop.released import recognise, resized

WIDTH, HIDDEN, SPACE, VOCABULARY, LENGTH, EOS = {"vision": 8, "text": 6}, 10, 4, 20, 7, 15
SECTIONS = {
    name: {"hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": HIDDEN}
    for name, width in WIDTH.items()
}
SECTIONS["vision"] |= {"image_size": 4, "patch_size": 2}
SECTIONS["text"] |= {"vocab_size": VOCABULARY, "max_position_embeddings": LENGTH, "pad_token_id": 1}


def config_of(activation: str = "quick_gelu", eos: int = EOS) -> dict[str, Any]:
    vision = {**SECTIONS["vision"], "hidden_act": activation}
    text = {**SECTIONS["text"], "hidden_act": activation, "eos_token_id": eos}
    return {"model_type": "clip", "projection_dim": SPACE, "vision_config": vision, "text_config": text}


def shapes(tower: str) -> dict[str, tuple[int, ...]]:
    """Of one tower with its projection, as it lies on disk."""
    top, width = f"{tower}_model", WIDTH[tower]
    norms = {"vision": ("pre_layrnorm", "post_layernorm"), "text": ("final_layer_norm",)}[tower]
    found: dict[str, tuple[int, ...]] = {}
    if tower == "vision":
        found |= {f"{top}.embeddings.class_embedding": (width,)}
        found |= layer(f"{top}.embeddings.patch_embedding", width, 3, 2, 2, bias=False)
        found |= {f"{top}.embeddings.position_embedding.weight": (5, width)}
    else:
        found |= {f"{top}.embeddings.token_embedding.weight": (VOCABULARY, width)}
        found |= {f"{top}.embeddings.position_embedding.weight": (LENGTH, width)}
    for name in norms:
        found |= layer(f"{top}.{name}", width)
    for i in range(2):
        block = f"{top}.encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found |= layer(f"{block}.self_attn.{name}", width, width)
        found |= layer(f"{block}.layer_norm1", width) | layer(f"{block}.layer_norm2", width)
        found |= layer(f"{block}.mlp.fc1", HIDDEN, width) | layer(f"{block}.mlp.fc2", width, HIDDEN)
    return found | layer({"vision": "visual", "text": "text"}[tower] + "_projection", SPACE, width, bias=False)


TENSORS = {**drawn(shapes("vision")), **drawn(shapes("text"), seed=1), "logit_scale": np.asarray(1.5, np.float32)}
PIXELS = np.random.default_rng(2).uniform(0, 1, (3, 4, 4, 3)).astype(np.float32)
# The first end of text differs from the highest id.
IDS = np.array([[3, 4, EOS, 19, 0, 0, 0], [18, EOS, EOS, 0, 0, 0, 0], [5, 6, 7, 8, 9, 19, EOS]], np.int32)
ENDS = {EOS: (2, 1, 6), 2: (3, 0, 5)}


def blocks(x: np.ndarray, t: Arrays, top: str, activation: str) -> np.ndarray:
    act = {"quick_gelu": quick_gelu, "gelu": gelu}[activation]
    for i in range(2):
        block = f"{top}.encoder.layers.{i}"
        h = norm(x, t, f"{block}.layer_norm1", 1e-5)
        q, k, v = (linear(h, t, f"{block}.self_attn.{letter}_proj") for letter in "qkv")
        x = x + linear(attend(q, k, v, 2, causal=top == "text_model"), t, f"{block}.self_attn.out_proj")
        h = act(linear(norm(x, t, f"{block}.layer_norm2", 1e-5), t, f"{block}.mlp.fc1"))
        x = x + linear(h, t, f"{block}.mlp.fc2")
    return x


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def image_features(t: Arrays, activation: str) -> np.ndarray:
    found, top = [], "vision_model"
    for pixels in PIXELS.astype(np.float64):
        x = patches((pixels - np.array(hf_clip.MEAN)) / np.array(hf_clip.STD), t, f"{top}.embeddings.patch_embedding")
        x = np.concatenate([t[f"{top}.embeddings.class_embedding"][None], x])
        x = norm(x + t[f"{top}.embeddings.position_embedding.weight"], t, f"{top}.pre_layrnorm", 1e-5)
        x = blocks(x, t, top, activation)
        found.append(linear(norm(x[0], t, f"{top}.post_layernorm", 1e-5), t, "visual_projection"))
    return unit(np.stack(found))


def text_features(t: Arrays, activation: str, eos: int) -> np.ndarray:
    found, top = [], "text_model"
    for ids, end in zip(IDS, ENDS[eos], strict=True):
        x = t[f"{top}.embeddings.token_embedding.weight"][ids] + t[f"{top}.embeddings.position_embedding.weight"]
        x = norm(blocks(x.astype(np.float64), t, top, activation), t, f"{top}.final_layer_norm", 1e-5)
        found.append(linear(x[end], t, "text_projection"))
    return unit(np.stack(found))


@pytest.mark.parametrize(("activation", "eos"), [("quick_gelu", 2), ("gelu", EOS)])
def test_both_towers_compute_what_hugging_face_does(activation: str, eos: int, tmp_path: Path) -> None:
    pair, variables, report = clip_pair.load(write(tmp_path / "clip", config_of(activation, eos), TENSORS))
    assert {row.what for row in report.rows} == {"copied"} and len(report.rows) == len(TENSORS)
    expected = np.exp(1.5) * image_features(TENSORS, activation) @ text_features(TENSORS, activation, eos).T
    np.testing.assert_allclose(pair.module.apply(variables, 2 * PIXELS - 1, IDS), expected, atol=2e-5)


@pytest.mark.parametrize("tower", ["vision", "text"])
def test_either_tower_of_a_whole_model(tower: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "clip", config_of(), TENSORS)
    released = recognise(folder, {"vision": "hf-clip", "text": "hf-clip-text"}[tower])
    model, (variables, report) = released.model, released.load()
    other = {"vision": "text", "text": "vision"}[tower]
    assert {row.theirs for row in report.of("left out")} == {*shapes(other), "logit_scale"}
    assert {row.ours for row in report.of("reset")} == {"params/head/kernel", "params/head/bias"}
    x, expected = {
        "vision": (2 * PIXELS - 1, image_features(TENSORS, "quick_gelu")),
        "text": (IDS, text_features(TENSORS, "quick_gelu", EOS)),
    }[tower]
    features = model.module.apply(variables, x, last=len(model.stages) - 1)
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_a_whole_model_is_its_image_tower_unless_told_otherwise(tmp_path: Path) -> None:
    folder = write(tmp_path / "clip", config_of(), TENSORS)
    assert recognise(folder).model.name == "clip_vision"
    text = recognise(folder, "hf-clip-text").model
    assert (text.name, text.input_shape, dict(text.settings)["pad"]) == ("clip_text", (LENGTH,), 1)
    with pytest.raises(FileError, match=r"a 'clip' model is of no known architecture \(one of hf-vit\)"):
        recognise(folder, "hf-vit")


@pytest.mark.parametrize("prefixed", [True, False])
@pytest.mark.parametrize("tower", ["vision", "text"])
def test_a_tower_alone(tower: str, prefixed: bool, tmp_path: Path) -> None:
    own = {name: TENSORS[name] for name in shapes(tower)}
    if not prefixed:
        # A bare `CLIPVisionModel` has no projection either.
        own = {k.removeprefix(f"{tower}_model."): v for k, v in own.items() if "projection" not in k}
    config = {**SECTIONS[tower], "model_type": f"clip_{tower}_model", "eos_token_id": EOS}
    model, (variables, report) = (released := recognise(write(tmp_path / tower, config, own))).model, released.load()
    assert dict(model.settings)["projection"] == (SPACE if prefixed else 0)
    assert ("projection" in variables["params"]["pool"]) == prefixed
    assert len(report.of("copied")) == len(own)


def test_both_are_written_as_they_were_read(tmp_path: Path) -> None:
    pair, variables, _ = clip_pair.load(write(tmp_path / "clip", config_of(eos=2), TENSORS))
    clip_pair.save(tmp_path / "new" / "folder", pair, variables)
    written = open_checkpoint(tmp_path / "new" / "folder")
    assert written.tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert written.tensors[name].shape == value.shape and np.array_equal(written.tensors[name], value), name
    again, _, _ = clip_pair.load(tmp_path / "new" / "folder")
    assert again == pair


@pytest.mark.parametrize("tower", ["vision", "text"])
def test_a_tower_and_its_head_are_written_as_they_were_read(tower: str, tmp_path: Path) -> None:
    name = {"vision": "hf-clip", "text": "hf-clip-text"}[tower]
    head = drawn(layer("head", 3, SPACE))
    released = recognise(write(tmp_path / "clip", config_of(), {**TENSORS, **head}), name)
    assert released.has_head and released.model.num_classes == 3
    format, model = released.format, released.model
    assert format.config is not None
    written = layouts.save(format.layout(dict(model.settings), 3), released.load()[0])
    assert written.keys() == {*shapes(tower), *head}
    again = recognise(write(tmp_path / "again", format.config(model), written))
    assert (again.format.name, again.model) == (name, model)


def test_a_head_starts_fresh_in_a_tower_of_a_pair(tmp_path: Path) -> None:
    pair, variables, _ = clip_pair.load(write(tmp_path / "clip", config_of(), TENSORS))
    wider = Pair(pair.vision_with(5), pair.text)
    tower = clip_pair.tower(wider, variables, "vision")["params"]
    assert tower["head"]["kernel"].shape == (SPACE, 5) and tower["embed"] is variables["params"]["vision"]["embed"]


def test_towers_of_two_spaces_are_not_written(tmp_path: Path) -> None:
    pair, variables, _ = clip_pair.load(write(tmp_path / "clip", config_of(), TENSORS))
    apart = Pair(pair.vision, resized(pair.text, projection=5))
    with pytest.raises(ConfigError, match="^projection: images have 4 features but texts have 5"):
        clip_pair.save(tmp_path / "new", apart, variables)


def test_the_second_object_of_old_configs_counts(tmp_path: Path) -> None:
    config = {**config_of(), "vision_config": {"hidden_size": 99}, "vision_config_dict": config_of()["vision_config"]}
    assert (
        recognise(write(tmp_path / "clip", config, TENSORS)).model
        == recognise(write(tmp_path / "other", config_of(), TENSORS)).model
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**config_of(), "vision_config": 3}, "config.json: vision_config: expected an object, got 3"),
        (
            config_of("relu"),
            "config.json: hidden_act: 'relu' is not supported (one of gelu, gelu_pytorch_tanh, quick_gelu)",
        ),
        ({**config_of(), "vision_config": {**SECTIONS["vision"], "num_attention_heads": 3}}, "3 heads do not divide"),
        (
            {**config_of(), "text_config": {**SECTIONS["text"], "eos_token_id": [1, 2]}},
            "expected an integer, got [1, 2]",
        ),
        (config_of(eos=99), "describes a clip_text that cannot be: eos: expected a token id below 20, got 99"),
    ],
)
def test_configs_that_cannot_be_computed(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=re.escape(message)):
        clip_pair.load(write(tmp_path / "clip", config, TENSORS))


@pytest.mark.parametrize("name", ["logit_scale", "visual_projection.weight", "text_model.final_layer_norm.bias"])
def test_a_whole_model_must_be_whole(name: str, tmp_path: Path) -> None:
    rest = {key: value for key, value in TENSORS.items() if key != name}
    with pytest.raises(FileError, match=re.escape(name)):
        clip_pair.load(write(tmp_path / "clip", config_of(), rest))

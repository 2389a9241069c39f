"""Hugging Face's vision transformers, read under all their names and written back."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_numpy import Arrays, attend, drawn, gelu, layer, linear, norm, patches, write

from tlx.errors import ConfigError, FileError
from tlx.interop import hf_vit
from tlx.interop import layout as layouts
from tlx.interop.released import recognise, resized

SIZE, PATCH, WIDTH, HIDDEN, CLASSES = (4, 6), 2, 8, 12, 3
CONFIG = {
    **{"model_type": "vit", "image_size": list(SIZE), "patch_size": PATCH, "num_channels": 3, "hidden_size": WIDTH},
    **{"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": HIDDEN, "hidden_act": "gelu"},
}
MEAN, STD = [0.5, 0.4, 0.3], [0.25, 0.5, 0.2]


def shapes() -> dict[str, tuple[int, ...]]:
    """Of `ViTForImageClassification`, as it lies on disk."""
    found: dict[str, tuple[int, ...]] = {
        "vit.embeddings.cls_token": (1, 1, WIDTH),
        "vit.embeddings.position_embeddings": (1, 7, WIDTH),
        **layer("vit.embeddings.patch_embeddings.projection", WIDTH, 3, PATCH, PATCH),
        **layer("vit.layernorm", WIDTH),
        **layer("classifier", CLASSES, WIDTH),
    }
    for i in range(2):
        block = f"vit.encoder.layer.{i}"
        for name in ("attention.attention.query", "attention.attention.key", "attention.attention.value"):
            found |= layer(f"{block}.{name}", WIDTH, WIDTH)
        found |= layer(f"{block}.attention.output.dense", WIDTH, WIDTH)
        found |= layer(f"{block}.intermediate.dense", HIDDEN, WIDTH) | layer(f"{block}.output.dense", WIDTH, HIDDEN)
        found |= layer(f"{block}.layernorm_before", WIDTH) | layer(f"{block}.layernorm_after", WIDTH)
    return found


TENSORS = drawn(shapes())
PIXELS = np.random.default_rng(1).uniform(0, 1, (*SIZE, 3)).astype(np.float32)


def logits_of(t: Arrays, pixels_HWC: np.ndarray) -> np.ndarray:
    """One image's, as Hugging Face computes them."""
    x = patches((pixels_HWC - np.array(MEAN)) / np.array(STD), t, "vit.embeddings.patch_embeddings.projection")
    x = np.concatenate([t["vit.embeddings.cls_token"][0], x]) + t["vit.embeddings.position_embeddings"][0]
    for i in range(2):
        block = f"vit.encoder.layer.{i}"
        h = norm(x, t, f"{block}.layernorm_before", 1e-12)
        q, k, v = (linear(h, t, f"{block}.attention.attention.{name}") for name in ("query", "key", "value"))
        x = x + linear(attend(q, k, v, 2), t, f"{block}.attention.output.dense")
        h = gelu(linear(norm(x, t, f"{block}.layernorm_after", 1e-12), t, f"{block}.intermediate.dense"))
        x = x + linear(h, t, f"{block}.output.dense")
    return linear(norm(x, t, "vit.layernorm", 1e-12)[0], t, "classifier")


def in_memory(name: str) -> str:
    """The name in a state dict of transformers 5."""
    renamed = {
        **{"attention.attention.query": "attention.q_proj", "attention.attention.key": "attention.k_proj"},
        **{"attention.attention.value": "attention.v_proj", "attention.output.dense": "attention.o_proj"},
        **{"intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2", "vit.encoder.layer": "vit.layers"},
    }
    for old, new in renamed.items():
        name = name.replace(old, new)
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "vit", CONFIG, TENSORS)
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    return tmp_path / "vit"


def test_it_computes_what_hugging_face_does(folder: Path) -> None:
    released = recognise(folder)
    model, (variables, report) = released.model, released.load()
    assert (released.format.name, model.num_classes, model.input_shape) == ("hf-vit", CLASSES, (*SIZE, 3))
    assert {row.what for row in report.rows} == {"copied"} and len(report.rows) == len(TENSORS)
    logits = model.module.apply(variables, 2 * PIXELS[None] - 1)[0]
    np.testing.assert_allclose(logits, logits_of(TENSORS, PIXELS), atol=1e-5)


def test_gray_images_have_one_mean(tmp_path: Path) -> None:
    projection = "vit.embeddings.patch_embeddings.projection.weight"
    tensors = {**TENSORS, projection: TENSORS[projection][:, :1]}
    released = recognise(write(tmp_path / "gray", {**CONFIG, "num_channels": 1}, tensors))
    model, (variables, _) = released.model, released.load()
    assert model.input_shape == (*SIZE, 1) and dict(model.settings)["mean"] == (0.5,)
    assert model.module.apply(variables, 2 * PIXELS[None, ..., :1] - 1).shape == (1, CLASSES)


@pytest.mark.parametrize("spell", [in_memory, lambda name: in_memory(name).removeprefix("vit.")])
def test_other_names_of_the_same_tensors(folder: Path, tmp_path: Path, spell: Any) -> None:
    renamed = {spell(name): value for name, value in TENSORS.items()}
    assert sum(a != b for a, b in zip(renamed, TENSORS, strict=True)) >= 32
    _assert_same(recognise(write(tmp_path / "other", CONFIG, renamed)).load()[0], recognise(folder).load()[0])


def _assert_same(one: Any, other: Any) -> None:
    flat = [layouts.save(hf_vit.layout({"depth": 2, "patch": PATCH}, CLASSES), each) for each in (one, other)]
    assert flat[0].keys() == flat[1].keys() and all(np.array_equal(flat[0][k], flat[1][k]) for k in flat[0])


def test_it_is_written_as_it_was_read(folder: Path, tmp_path: Path) -> None:
    released = recognise(folder)
    written = layouts.save(hf_vit.layout(dict(released.model.settings), CLASSES), released.load()[0])
    assert written.keys() == TENSORS.keys()
    assert all(np.array_equal(written[name], TENSORS[name]) for name in written)
    config = hf_vit.config(released.model)
    again = recognise(write(tmp_path / "again", config, written))
    # The images' statistics lie in a file of their own.
    assert again.model == resized(released.model, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert config["id2label"] == {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}


def test_a_model_that_pools_otherwise_is_not_written(folder: Path) -> None:
    with pytest.raises(ConfigError, match="^pool: Hugging Face's ViT reads its class token, so no 'mean' can be"):
        hf_vit.config(resized(recognise(folder).model, pool="mean"))


def test_a_bare_encoder_keeps_a_fresh_head_and_its_pooler_is_left_out(tmp_path: Path) -> None:
    bare = {name.removeprefix("vit."): value for name, value in TENSORS.items() if not name.startswith("classifier")}
    pooler = drawn(layer("pooler.dense", WIDTH, WIDTH))
    released = recognise(write(tmp_path / "bare", CONFIG, {**bare, **pooler}))
    variables, report = released.load()
    assert not released.has_head and released.model.num_classes == 2
    assert {row.theirs for row in report.of("left out")} == {"pooler.dense.weight", "pooler.dense.bias"}
    assert {row.ours for row in report.of("reset")} == {"params/head/kernel", "params/head/bias"}
    assert variables["params"]["head"]["kernel"].shape == (WIDTH, 2)


def test_positions_follow_the_images(tmp_path: Path) -> None:
    square = {**TENSORS, "vit.embeddings.position_embeddings": drawn({"p": (1, 5, WIDTH)})["p"]}
    released = recognise(write(tmp_path / "square", {**CONFIG, "image_size": 4}, square))
    variables, report = released.load(replace(released.model, input_shape=(8, 8, 3)))
    (row,) = report.of("resized from 1×5×8")
    assert row.ours == "params/embed/position" and variables["params"]["embed"]["position"].shape == (1, 17, WIDTH)
    assert np.array_equal(variables["params"]["embed"]["position"][:, 0], square[row.theirs][:, 0])
    with pytest.raises(ConfigError, match="^resize: positions of 8 patches form no square"):
        released.load(replace(released.model, input_shape=(8, 4, 3)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qkv_bias": False}, "config.json: qkv_bias: False is not supported (one of True)"),
        ({"hidden_act": "relu"}, "config.json: hidden_act: 'relu' is not supported"),
        ({"hidden_size": "8"}, "config.json: hidden_size: expected an integer, got '8'"),
        ({"image_size": [4]}, "config.json: image_size: expected an integer or two, got [4]"),
        ({"patch_size": [2, 3]}, "config.json: patch_size: 2×3 is not supported, only squares are"),
        ({"num_attention_heads": 3}, "describes a vit that cannot be: heads: 3 heads do not divide the width 8"),
        ({"patch_size": 4}, "describes a vit that cannot be: patch: patches of 4 pixels do not tile images of 4×6"),
    ],
)
def test_configs_that_cannot_be_computed(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FileError, match=re.escape(message)) as caught:
        recognise(write(tmp_path / "vit", {**CONFIG, **changes}, TENSORS))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        ({"image_mean": 0.5}, "image_mean: expected a list of numbers, got 0.5"),
        ({"image_std": [0.5, "1"]}, "image_std: expected a list of numbers, got"),
        ({"do_rescale": False}, "do_rescale: only images with pixels from 0 to 1"),
        ({"image_std": [0.0, 0.5, 0.5]}, "std: expected numbers above 0"),
    ],
)
def test_preprocessors_that_cannot_be_followed(folder: Path, processor: dict[str, Any], message: str) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(FileError, match=re.escape(message)):
        recognise(folder)


def test_images_that_are_not_normalised(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False, "image_mean": MEAN}))
    settings = dict(recognise(folder).model.settings)
    assert (settings["mean"], settings["std"]) == ((0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vit.encoder.layer.1.output.dense.bias": None}, "has no tensor 'vit.encoder.layer.1.output.dense.bias'"),
        ({"vit.layernorm.weight": np.ones(9, np.float32)}, "tensor 'vit.layernorm.weight' has shape (9,), which does"),
        ({"vit.strange": np.ones(2, np.float32)}, "has a tensor 'vit.strange' that the model has no place for"),
        ({"vit.layernorm.bias": np.ones(8, np.int32)}, "tensor 'vit.layernorm.bias' is int32"),
        (
            {"vit.embeddings.position_embeddings": np.ones((1, 5, 6), np.float32)},
            "tensor 'vit.embeddings.position_embeddings' has shape (1, 5, 6), which does not make",
        ),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    tensors = {name: value for name, value in {**TENSORS, **changes}.items() if value is not None}
    folder = write(tmp_path / "vit", {**CONFIG, "image_size": [8, 8]} if "(1, 5, 6)" in message else CONFIG, tensors)
    with pytest.raises(FileError, match=re.escape(message)) as caught:
        recognise(folder).load()
    assert str(caught.value).startswith(str(folder)) and "\n" not in str(caught.value)

"""timm's vision transformers, with and without a config, read and written back."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_numpy import Arrays, attend, drawn, gelu, layer, linear, norm, patches, write
from safetensors.numpy import save_file

from tlx.errors import ConfigError, FileError
from tlx.interop import layout as layouts
from tlx.interop import timm_vit
from tlx.interop.released import recognise, resized

PATCH, WIDTH, HIDDEN, CLASSES, SIDE = 2, 8, 12, 3, 4
MEAN, STD = [0.5, 0.4, 0.3], [0.25, 0.5, 0.2]
# Pooling: arguments, what the head reads, and the name of the last norm.
POOLS: dict[str, tuple[dict[str, Any], str, str]] = {
    "class": ({"global_pool": "token"}, "class", "norm"),
    "mean": ({"global_pool": "avg", "class_token": False}, "mean", "fc_norm"),
    "patches": ({"global_pool": "avg"}, "patches", "fc_norm"),
    "before": ({"global_pool": "avg", "class_token": False, "fc_norm": False}, "mean", "norm"),
}


def tensors_of(pool: str, width: int = WIDTH) -> dict[str, np.ndarray]:
    arguments, _, last = POOLS[pool]
    has_class = arguments.get("class_token", True)
    shapes: dict[str, tuple[int, ...]] = {
        **({"cls_token": (1, 1, width)} if has_class else {}),
        "pos_embed": (1, 4 + has_class, width),
        **layer("patch_embed.proj", width, 3, PATCH, PATCH),
        **layer(last, width),
        **layer("head", CLASSES, width),
    }
    for i in range(2):
        block = f"blocks.{i}"
        shapes |= layer(f"{block}.norm1", width) | layer(f"{block}.norm2", width)
        shapes |= layer(f"{block}.attn.qkv", 3 * width, width) | layer(f"{block}.attn.proj", width, width)
        shapes |= layer(f"{block}.mlp.fc1", HIDDEN, width) | layer(f"{block}.mlp.fc2", width, HIDDEN)
    return drawn(shapes)


def config_of(pool: str, **changes: Any) -> dict[str, Any]:
    arguments = {"num_heads": 2, "img_size": SIDE, **POOLS[pool][0], **changes}
    return {
        "architecture": "vit_tiny_patch16_224",
        "model_args": arguments,
        "pretrained_cfg": {"mean": MEAN, "std": STD},
    }


def logits_of(t: Arrays, pool: str, pixels_HWC: np.ndarray) -> np.ndarray:
    """One image's, as timm computes them."""
    x = patches((pixels_HWC - np.array(MEAN)) / np.array(STD), t, "patch_embed.proj")
    lead = int("cls_token" in t)
    x = (np.concatenate([t["cls_token"][0], x]) if lead else x) + t["pos_embed"][0]
    for i in range(2):
        q, k, v = np.split(linear(norm(x, t, f"blocks.{i}.norm1", 1e-6), t, f"blocks.{i}.attn.qkv"), 3, axis=1)
        x = x + linear(attend(q, k, v, 2), t, f"blocks.{i}.attn.proj")
        h = gelu(linear(norm(x, t, f"blocks.{i}.norm2", 1e-6), t, f"blocks.{i}.mlp.fc1"))
        x = x + linear(h, t, f"blocks.{i}.mlp.fc2")
    if "norm.weight" in t:
        x = norm(x, t, "norm", 1e-6)
    x = x[0] if pool == "class" else x[lead:].mean(axis=0)
    return linear(norm(x, t, "fc_norm", 1e-6) if "fc_norm.weight" in t else x, t, "head")


@pytest.mark.parametrize("pool", POOLS)
def test_it_computes_what_timm_does_and_is_written_as_it_was_read(pool: str, tmp_path: Path) -> None:
    tensors = tensors_of(pool)
    released = recognise(write(tmp_path / "vit", config_of(pool), tensors))
    model, (variables, report) = released.model, released.load()
    assert released.format.name == "timm-vit" and dict(model.settings)["pool"] == POOLS[pool][1]
    assert (model.num_classes, model.input_shape) == (CLASSES, (SIDE, SIDE, 3))
    assert {row.what for row in report.rows} == {"copied"}
    pixels = np.random.default_rng(1).uniform(0, 1, (SIDE, SIDE, 3)).astype(np.float32)
    logits = model.module.apply(variables, 2 * pixels[None] - 1)[0]
    np.testing.assert_allclose(logits, logits_of(tensors, pool, pixels), atol=1e-5)

    written = layouts.save(timm_vit.layout(dict(model.settings), CLASSES), variables)
    assert written.keys() == tensors.keys() and all(np.array_equal(written[k], tensors[k]) for k in written)
    assert recognise(write(tmp_path / "again", timm_vit.config(model), written)).model == model


def test_the_parts_of_a_fused_kernel_are_queries_keys_and_values(tmp_path: Path) -> None:
    tensors = tensors_of("class")
    variables, _ = recognise(write(tmp_path / "vit", config_of("class"), tensors)).load()
    fused = tensors["blocks.1.attn.qkv.weight"]
    for i, name in enumerate(("query", "key", "value")):
        own = variables["params"]["block_1"]["attention"][name]
        assert np.array_equal(own["kernel"], fused[i * WIDTH : (i + 1) * WIDTH].T), name
        assert np.array_equal(own["bias"], tensors["blocks.1.attn.qkv.bias"][i * WIDTH : (i + 1) * WIDTH]), name


@pytest.mark.parametrize("pool", ["class", "mean", "patches", "before"])
def test_shapes_suffice_where_the_width_is_a_known_one(pool: str, tmp_path: Path) -> None:
    save_file(tensors_of(pool, width=192), tmp_path / "vit.safetensors")
    settings = dict(recognise(tmp_path / "vit.safetensors").model.settings)
    assert (settings["heads"], settings["hidden"], settings["depth"], settings["patch"]) == (3, HIDDEN, 2, PATCH)
    assert (settings["pool"], settings["mean"]) == (POOLS[pool][1], (0.5, 0.5, 0.5))
    assert settings["final_norm"] == ("before" if POOLS[pool][2] == "norm" else "after")


def test_a_config_of_old(tmp_path: Path) -> None:
    flat = {"architecture": "vit_tiny_patch16_224", "global_pool": "token", "mean": MEAN, "std": STD}
    released = recognise(write(tmp_path / "vit", flat, tensors_of("class", width=192)))
    assert dict(released.model.settings)["mean"] == tuple(MEAN)


def test_positions_follow_the_images(tmp_path: Path) -> None:
    released = recognise(write(tmp_path / "vit", config_of("class"), tensors_of("class")))
    variables, report = released.load(replace(released.model, input_shape=(6, 6, 3)))
    (row,) = report.of("resized from 1×5×8")
    assert variables["params"]["embed"]["position"].shape == row.shape == (1, 10, WIDTH)


def test_the_ratio_gives_the_hidden_width_back(tmp_path: Path) -> None:
    released = recognise(write(tmp_path / "vit", config_of("class"), tensors_of("class")))
    for width, hidden in ((1408, 6144), (8, 12), (88, 379), (1152, 4304)):
        model = resized(released.model, width=width, hidden=hidden)
        assert int(width * timm_vit.config(model)["model_args"]["mlp_ratio"]) == hidden


def test_what_timm_cannot_compute_is_not_written(tmp_path: Path) -> None:
    model = recognise(write(tmp_path / "vit", config_of("class"), tensors_of("class"))).model
    for changes in ({"gelu_exact": False}, {"epsilon": 1e-5}):
        with pytest.raises(ConfigError, match="^gelu_exact: timm's ViT has the exact GELU and an epsilon of 1e-6"):
            timm_vit.config(resized(model, **changes))


@pytest.mark.parametrize(
    ("config", "tensors", "message"),
    [
        (None, {}, "no model of width 8 is known: config.json must say model_args.num_heads"),
        (config_of("class", num_heads="2"), {}, "model_args.num_heads: expected an integer, got '2'"),
        (config_of("class", qk_norm=True), {}, "model_args.qk_norm: True is not supported (one of False)"),
        (config_of("class", act_layer="relu"), {}, "model_args.act_layer: is not supported"),
        (config_of("class", global_pool="map"), {}, "global_pool: 'map' is not supported here (avg or token)"),
        ({**config_of("class"), "model_args": 3}, {}, "model_args: expected an object, got 3"),
        ({**config_of("class"), "pretrained_cfg": 3}, {}, "pretrained_cfg: expected an object, got 3"),
        (config_of("class"), {"pos_embed": (1, 4, WIDTH)}, "'pos_embed' has 3 positions beside the class token's"),
        (config_of("class"), {"pos_embed": (4, WIDTH)}, "is no tensor of a vision transformer"),
        (config_of("class"), {"blocks.0.ls1.gamma": (WIDTH,)}, "has a tensor 'blocks.0.ls1.gamma' that the model"),
        (config_of("class"), {"blocks.0.attn.qkv.weight": (3 * WIDTH + 1, WIDTH)}, "'blocks.0.attn.qkv.weight' has"),
    ],
)
def test_what_cannot_be_read(config: Any, tensors: dict[str, tuple[int, ...]], message: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "vit", config, {**tensors_of("class"), **drawn(tensors)})
    with pytest.raises(FileError, match=re.escape(message)) as caught:
        recognise(folder).load()
    assert "\n" not in str(caught.value)

"""Residual networks under the names of torchvision, timm, Hugging Face and BiT: read, refused, and written back."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny import differing

from tlx.errors import ConfigError, FileError
from tlx.fields import check_fields
from tlx.interop import bit, hf_resnet, torchvision_resnet
from tlx.interop.format import Format
from tlx.interop.layout import save
from tlx.interop.released import recognise, resized
from tlx.interop.write import save_released
from tlx.models.registry import MODELS, Model

MEAN, STD = (0.4, 0.45, 0.5), (0.2, 0.25, 0.3)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def model(name: str = "resnet", classes: int = 3, side: int = 224, **settings: Any) -> Model:
    given = {"mean": MEAN, "std": STD, **settings}
    return Model(name, tuple(sorted(check_fields("m", MODELS[name].fields, given).items())), classes, (side, side, 3))


def leaves(model: Model) -> dict[str, Any]:
    """Random leaves, so that no two tensors are alike."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, 0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


BASIC = model(depths=(1, 2, 1, 1), width=64)
NARROW = model(depths=(1, 2), width=8)
BOTTLENECK = model(depths=(2, 1), width=8, bottleneck=True)
HALVED = model(depths=(2, 1), width=8, bottleneck=True, halve_first=True)
BIT = model("bit", depths=(2, 1), width=32)
TORCHVISION, HUGGING_FACE = torchvision_resnet.RESNET, hf_resnet.RESNET

HEAD_NAMES = {"fc.weight": (3, 16), "fc.bias": (3,)}


def bare(path: Path, format: Format, model: Model, drop: str = "", **more: np.ndarray) -> Path:
    """One file with tensors alone."""
    tensors = save(format.layout(dict(model.settings), model.num_classes), leaves(model))
    tensors = {name: tensors[name] for name in tensors if not (drop and name.startswith(drop))} | more
    if path.suffix == ".npz":
        np.savez(path, **tensors)
    else:
        save_file(tensors, path)
    return path


def changed_config(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def refusal(path: Path) -> str:
    with pytest.raises(FileError) as caught:
        recognise(path).load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("format", "saved"),
    [(TORCHVISION, BASIC), (HUGGING_FACE, NARROW), (HUGGING_FACE, BOTTLENECK), (HUGGING_FACE, HALVED)],
)
def test_what_is_written_is_read_back(format: Format, saved: Model, tmp_path: Path) -> None:
    given = leaves(saved)
    save_released(tmp_path / "out", format, saved, given)
    if format is HUGGING_FACE:
        beside = {"image_mean": MEAN, "image_std": STD}
        (tmp_path / "out" / "preprocessor_config.json").write_text(json.dumps(beside))
    found = recognise(tmp_path / "out")
    assert found.format is format and found.has_head and found.model == saved
    loaded, report = found.load()
    assert differing(given, loaded) == set()
    assert report.line().endswith("reset none, left out none")


def test_names_and_shapes_of_torchvision(tmp_path: Path) -> None:
    tensors = load_file(bare(tmp_path / "a.safetensors", TORCHVISION, NARROW))
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert shapes["conv1.weight"] == (8, 3, 7, 7) and shapes["bn1.running_var"] == (8,)
    assert shapes["layer2.0.conv1.weight"] == (16, 8, 3, 3) and shapes["layer2.1.conv2.weight"] == (16, 16, 3, 3)
    assert shapes["layer2.0.downsample.0.weight"] == (16, 8, 1, 1) and shapes["layer2.0.downsample.1.bias"] == (16,)
    assert {name: shapes[name] for name in HEAD_NAMES} == HEAD_NAMES
    assert not any(name.startswith(("layer1.0.downsample", "layer2.1.downsample", "layer3")) for name in shapes)
    assert tensors["bn1.num_batches_tracked"].dtype == np.int64 and shapes["bn1.num_batches_tracked"] == ()
    want = leaves(NARROW)["params"]["stem"]["conv1"]["kernel"]
    np.testing.assert_array_equal(tensors["conv1.weight"], np.transpose(want, (3, 2, 0, 1)))


def test_names_of_hugging_face() -> None:
    names = {tensor.theirs for tensor in HUGGING_FACE.layout(dict(BOTTLENECK.settings), 3).tensors}
    first = "resnet.encoder.stages.0.layers.0"
    assert {f"{first}.layer.{k}.convolution.weight" for k in range(3)} <= names
    assert {f"{first}.shortcut.convolution.weight", f"{first}.shortcut.normalization.running_mean"} <= names
    assert {"resnet.embedder.embedder.convolution.weight", "classifier.1.weight", "classifier.1.bias"} <= names
    assert not any("stages.0.layers.1.shortcut" in name for name in names)


@pytest.mark.parametrize("saved", [NARROW, BOTTLENECK], ids=["basic", "bottleneck"])
def test_a_file_alone_tells_its_sizes(saved: Model, tmp_path: Path) -> None:
    found = recognise(bare(tmp_path / "a.safetensors", TORCHVISION, saved))
    assert found.model == resized(saved, **IMAGENET) and found.has_head
    assert differing(leaves(saved), found.load()[0]) == set()


def test_a_file_without_a_head(tmp_path: Path) -> None:
    found = recognise(bare(tmp_path / "a.safetensors", TORCHVISION, NARROW, drop="fc."))
    assert not found.has_head
    loaded, report = found.load()
    assert {row.ours for row in report.of("reset")} == {"params/head/kernel", "params/head/bias"}
    assert np.asarray(loaded["params"]["head"]["kernel"]).shape[0] == 16


def test_files_of_the_bare_encoder_have_no_prefix(tmp_path: Path) -> None:
    save_released(tmp_path / "out", HUGGING_FACE, NARROW, leaves(NARROW), with_head=False)
    path = tmp_path / "out" / "model.safetensors"
    save_file({name.removeprefix("resnet."): value for name, value in load_file(path).items()}, path)
    loaded, _ = recognise(tmp_path / "out").load()
    assert differing(leaves(NARROW)["batch_stats"], loaded["batch_stats"]) == set()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_bit_s_own_files(suffix: str, tmp_path: Path) -> None:
    # The names hold slashes, which no file format minds.
    found = recognise(bare(tmp_path / f"a{suffix}", bit.NPZ, BIT))
    assert found.format is bit.NPZ
    assert found.model == resized(BIT, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert differing(leaves(BIT), found.load()[0]) == set()


def test_names_and_shapes_of_bit() -> None:
    tensors = save(bit.NPZ.layout(dict(BIT.settings), 3), leaves(BIT))
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert shapes["resnet/root_block/standardized_conv2d/kernel"] == (7, 7, 3, 32)
    assert shapes["resnet/block1/unit02/b/standardized_conv2d/kernel"] == (3, 3, 32, 32)
    assert shapes["resnet/block2/unit01/a/proj/standardized_conv2d/kernel"] == (1, 1, 128, 256)
    assert shapes["resnet/block2/unit01/a/group_norm/gamma"] == (128,)
    assert shapes["resnet/group_norm/beta"] == (256,)
    assert shapes["resnet/head/conv2d/kernel"] == (1, 1, 256, 3) and shapes["resnet/head/conv2d/bias"] == (3,)
    assert not any("unit02/a/proj" in name for name in shapes)


def test_bit_as_timm_writes_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    bare(tmp_path / "in" / "model.safetensors", bit.TIMM, BIT)
    config = {"architecture": "resnetv2_50x1_bit", "pretrained_cfg": {"mean": MEAN, "std": STD}}
    (tmp_path / "in" / "config.json").write_text(json.dumps(config))
    found = recognise(tmp_path / "in")
    assert found.format is bit.TIMM and found.model == BIT
    assert differing(leaves(BIT), found.load()[0]) == set()
    changed_config(tmp_path / "in", architecture="resnetv2_50d_gn")
    assert "config.json: architecture: 'resnetv2_50d_gn' is not supported (one of resnetv2_50x1_bit, " in refusal(
        tmp_path / "in"
    )


NAMES = {
    (TORCHVISION, "resnet18"): {"depths": (2, 2, 2, 2)},
    (TORCHVISION, "resnet34"): {"depths": (3, 4, 6, 3)},
    (TORCHVISION, "resnet50"): {"depths": (3, 4, 6, 3), "bottleneck": True},
    (TORCHVISION, "resnet101"): {"depths": (3, 4, 23, 3), "bottleneck": True},
    (TORCHVISION, "resnet152"): {"depths": (3, 8, 36, 3), "bottleneck": True},
    (bit.TIMM, "resnetv2_50x1_bit"): {},
    (bit.TIMM, "resnetv2_152x4_bit"): {"depths": (3, 8, 36, 3), "width": 256},
}


@pytest.mark.parametrize(("format", "name"), NAMES)
def test_the_name_that_timm_knows_it_by(format: Format, name: str) -> None:
    saved = model(format.model, classes=7, side=96, **NAMES[format, name])
    assert format.config is not None
    config = format.config(saved)
    assert config["architecture"] == name and config["num_classes"] == 7
    assert config["model_args"] == {"num_classes": 7, "in_chans": 3}
    assert config["pretrained_cfg"]["mean"] == list(MEAN) and config["pretrained_cfg"]["input_size"] == [3, 96, 96]


@pytest.mark.parametrize(
    ("format", "settings", "message"),
    [
        (
            TORCHVISION,
            {"stem": "small"},
            "stem: timm's residual networks have 'imagenet', so 'small' cannot be written",
        ),
        (TORCHVISION, {"width": 8}, "width: timm's residual networks have 64, so 8 cannot be written"),
        (TORCHVISION, {"halve_first": True}, "halve_first: timm's residual networks have False, so True cannot be"),
        (TORCHVISION, {"depths": (1, 2)}, r"depths: timm's residual networks have 4, so (1, 2) cannot be written"),
        (
            HUGGING_FACE,
            {"stem": "small"},
            "stem: their residual networks have 'imagenet', so 'small' cannot be written",
        ),
        (bit.TIMM, {"depths": (1, 2)}, "depths: timm has no BiT of (1, 2) blocks and width 64"),
        (bit.TIMM, {"groups": 16}, "groups: timm's norms have 32 groups, so 16 cannot be written"),
    ],
)
def test_what_their_libraries_cannot_compute_is_not_written(
    format: Format, settings: dict[str, Any], message: str
) -> None:
    assert format.config is not None
    with pytest.raises(ConfigError) as caught:
        format.config(model(format.model, **settings))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet50d"}, "config.json: architecture: 'resnet50d' is not supported (one of resnet18, "),
        ({"global_pool": "max"}, "config.json: global_pool: 'max' is not supported (avg alone is)"),
        ({"model_args": {"act_layer": "silu"}}, "config.json: model_args.act_layer: is not supported"),
        ({"model_args": 3}, "config.json: model_args: expected an object, got 3"),
        ({"pretrained_cfg": {"mean": 0.5}}, "config.json: mean: expected a list of numbers, got 0.5"),
        ({"pretrained_cfg": {"mean": [0.5], "std": [0.0]}}, "describes a resnet that cannot be: std: expected numbers"),
        ({"pretrained_cfg": {"input_size": [3, 64]}}, "config.json: input_size: expected channels, rows and columns"),
        ({"pretrained_cfg": {"input_size": [3, 64, 32]}}, "config.json: input_size: 64×32 is not supported"),
        ({"pretrained_cfg": []}, "config.json: pretrained_cfg: expected an object, got []"),
    ],
)
def test_configs_of_timm_that_cannot_be(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_released(tmp_path / "out", TORCHVISION, BASIC, leaves(BASIC))
    assert message in refusal(changed_config(tmp_path / "out", **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "gelu"}, "config.json: hidden_act: 'gelu' is not supported (one of relu)"),
        ({"downsample_in_first_stage": True}, "config.json: downsample_in_first_stage: True is not supported"),
        ({"layer_type": "wide"}, "config.json: layer_type: 'wide' is not supported (one of basic, bottleneck)"),
        ({"depths": 3}, "config.json: depths: expected a list of integers, got 3"),
        ({"depths": ["1", 2]}, "config.json: depths: expected a list of integers, got ['1', 2]"),
        ({"hidden_sizes": [8, 24]}, "hidden_sizes: [8, 24] is not supported beside this embedding_size, [8, 16] is"),
        ({"embedding_size": "8"}, "config.json: embedding_size: expected an integer, got '8'"),
        ({"depths": [1, 3]}, "has no tensor 'resnet.encoder.stages.1.layers.2.layer.0.convolution.weight'"),
        ({"depths": [1, 1]}, "has a tensor 'resnet.encoder.stages.1.layers.1.layer.0.convolution.weight'"),
    ],
)
def test_configs_of_hugging_face_that_cannot_be(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_released(tmp_path / "out", HUGGING_FACE, NARROW, leaves(NARROW))
    assert message in refusal(changed_config(tmp_path / "out", **changes))


@pytest.mark.parametrize(
    ("drop", "more", "message"),
    [
        ("layer2.1.bn2.running_var", {}, "has no tensor 'layer2.1.bn2.running_var', wanted for"),
        ("", {"layer1.0.se.fc1.weight": np.zeros((2, 8), np.float32)}, "has a tensor 'layer1.0.se.fc1.weight'"),
        ("", {"layer1.0.conv1.weight": np.zeros((8, 4, 3, 3), np.float32)}, "'layer1.0.conv1.weight' has shape"),
        ("", {"conv1.weight": np.zeros((8, 3, 3, 3), np.float32)}, "only 7×7 kernels are supported"),
        ("", {"bn1.weight": np.zeros(8, np.int64)}, "tensor 'bn1.weight' is int64, expected floating-point numbers"),
        ("bn1.running_mean", {}, "these tensors is of no known architecture"),
    ],
)
def test_tensors_that_make_no_network(drop: str, more: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert message in refusal(bare(tmp_path / "a.safetensors", TORCHVISION, NARROW, drop, **more))


def test_a_first_kernel_that_is_none(tmp_path: Path) -> None:
    flat = {"resnet/root_block/standardized_conv2d/kernel": np.zeros(4, np.float32)}
    assert "has shape (4,), which is no kernel's" in refusal(bare(tmp_path / "a.npz", bit.NPZ, BIT, **flat))

"""EfficientNet-Lite under the names of timm and of the first port: read, refused, and written back."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny import differing

from tlx import tree
from tlx.errors import ConfigError, FileError
from tlx.fields import check_fields
from tlx.interop.efficientnet_lite import PTH, TIMM
from tlx.interop.files import Checkpoint, Tensors
from tlx.interop.format import Format
from tlx.interop.layout import save
from tlx.interop.released import recognise, resized
from tlx.models.efficientnet import FIELDS
from tlx.models.registry import Model

HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
TENSORFLOW = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}


def model(classes: int = 3, side: int = 224, **settings: Any) -> Model:
    return Model(
        "efficientnet", tuple(sorted(check_fields("m", FIELDS, {**HALF, **settings}).items())), classes, (side, side, 3)
    )


NARROW = model(depths=(1, 2, 1), widths=(8, 12, 16), stem=8, features=24)


def leaves(model: Model) -> dict[str, Any]:
    """Random leaves, so that no two tensors are alike."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, 0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def tensors_of(format: Format, model: Model) -> dict[str, np.ndarray]:
    return save(format.layout(dict(model.settings), model.num_classes), leaves(model))


def written(path: Path, format: Format, drop: str = "", **more: np.ndarray) -> Path:
    tensors = tensors_of(format, NARROW)
    save_file({name: tensors[name] for name in tensors if not (drop and name.startswith(drop))} | more, path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(FileError) as caught:
        recognise(path).load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("format", "images"), [(TIMM, HALF), (PTH, TENSORFLOW)], ids=["timm", "pth"])
def test_a_file_alone_tells_its_sizes(format: Format, images: dict[str, Any], tmp_path: Path) -> None:
    found = recognise(written(tmp_path / "a.safetensors", format))
    assert found.format is format and found.has_head and found.model == resized(NARROW, **images)
    loaded, report = found.load()
    assert differing(leaves(NARROW), loaded) == set()
    assert report.line().endswith("reset none, left out none")


def test_names_and_shapes_of_timm() -> None:
    tensors = tensors_of(TIMM, NARROW)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert shapes["conv_stem.weight"] == (8, 3, 3, 3) and shapes["bn1.running_mean"] == (8,)
    first = {name.removeprefix("blocks.0.0.") for name in shapes if name.startswith("blocks.0.0.") and "weight" in name}
    assert first == {"conv_dw.weight", "bn1.weight", "conv_pw.weight", "bn2.weight"}
    assert shapes["blocks.0.0.conv_dw.weight"] == (8, 1, 3, 3) and shapes["blocks.0.0.conv_pw.weight"] == (8, 8, 1, 1)
    assert shapes["blocks.1.1.conv_pw.weight"] == (72, 12, 1, 1) and shapes["blocks.1.1.bn1.weight"] == (72,)
    assert shapes["blocks.2.0.conv_dw.weight"] == (72, 1, 5, 5)
    assert shapes["blocks.2.0.conv_pwl.weight"] == (16, 72, 1, 1) and shapes["blocks.2.0.bn3.bias"] == (16,)
    assert shapes["conv_head.weight"] == (24, 16, 1, 1) and shapes["bn2.running_var"] == (24,)
    assert shapes["classifier.weight"] == (3, 24) and shapes["bn2.num_batches_tracked"] == ()


def test_names_of_the_first_port() -> None:
    shapes = {name: tensor.shape for name, tensor in tensors_of(PTH, NARROW).items()}
    first = {name.removeprefix("_blocks.0.") for name in shapes if name.startswith("_blocks.0.") and "weight" in name}
    assert first == {"_depthwise_conv.weight", "_bn1.weight", "_project_conv.weight", "_bn2.weight"}
    assert shapes["_blocks.2._expand_conv.weight"] == (72, 12, 1, 1) and shapes["_blocks.2._bn0.weight"] == (72,)
    assert shapes["_bn0.bias"] == (8,) and shapes["_bn1.bias"] == (24,) and shapes["_fc.weight"] == (3, 24)


@pytest.mark.thorough
@pytest.mark.parametrize("variant", ["lite0", "lite1", "lite2", "lite3", "lite4"])
@pytest.mark.parametrize("format", [TIMM, PTH], ids=["timm", "pth"])
def test_a_published_variant_is_known_by_its_shapes(variant: str, format: Format) -> None:
    """Of each tensor its shape alone: the largest has 13 million numbers."""
    big = model(variant=variant)
    layout = format.layout(dict(big.settings), 3)
    names = [tensor.theirs for tensor in layout.tensors]
    shapes = {path: leaf.shape for path, leaf in tree.flatten(jax.eval_shape(big.init, 0)).items()}
    theirs = {}
    for tensor in layout.tensors:
        shape = shapes[tensor.ours[0]]
        theirs[tensor.theirs] = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
    found = format.describe(Checkpoint(Path("a"), {}, Tensors(theirs, lambda name: np.zeros(0))))
    assert found.settings["variant"] == variant and "depths" not in found.settings and len({*names}) == len(names)
    assert (
        found.input_shape[:2]
        == {
            "lite0": (224, 224),
            "lite1": (240, 240),
            "lite2": (260, 260),
            "lite3": (280, 280),
            "lite4": (300, 300),
        }[variant]
    )


def test_a_file_without_a_head(tmp_path: Path) -> None:
    for format, head in ((TIMM, "classifier"), (PTH, "_fc")):
        found = recognise(written(tmp_path / f"{head}.safetensors", format, drop=head))
        assert not found.has_head
        assert {row.ours for row in found.load()[1].of("reset")} == {"params/head/kernel", "params/head/bias"}


def test_the_config_that_timm_reads() -> None:
    assert TIMM.config is not None
    config = TIMM.config(model(classes=7, side=96, variant="lite3", **TENSORFLOW))
    assert config["architecture"] == "tf_efficientnet_lite3" and config["num_classes"] == 7
    assert config["pretrained_cfg"]["mean"] == [127 / 255] * 3
    with pytest.raises(
        ConfigError, match=r"^depths: timm has published variants alone, so \(1, 2, 1\) cannot be written"
    ):
        TIMM.config(NARROW)
    with pytest.raises(ConfigError, match=r"^features: timm has published variants alone, so 64 cannot be written"):
        TIMM.config(model(features=64))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        # The same tensors, another padding and epsilon.
        ({"architecture": "efficientnet_lite0"}, "architecture: 'efficientnet_lite0' is not supported (one of tf_"),
        ({"architecture": "tf_efficientnet_b0"}, "architecture: 'tf_efficientnet_b0' is not supported (one of tf_"),
        ({"model_args": {"pad_type": ""}}, "config.json: model_args.pad_type: is not supported"),
    ],
)
def test_configs_of_timm_that_cannot_be(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    written(tmp_path / "model.safetensors", TIMM)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert message in refusal(tmp_path)


KERNEL = np.zeros((4, 8, 1, 1), np.float32)


@pytest.mark.parametrize(
    ("format", "drop", "more", "message"),
    [
        (TIMM, "", {"blocks.1.0.se.conv_reduce.weight": KERNEL}, "these tensors is of no known architecture"),
        (PTH, "", {"_blocks.1._se_reduce.weight": KERNEL}, "these tensors is of no known architecture"),
        (TIMM, "blocks.1.0.conv_pwl", {}, "has no convolution 'blocks.1.0.conv_pwl.weight', as an EfficientNet-Lite"),
        (TIMM, "blocks.1.0.bn3.running_mean", {}, "has no tensor 'blocks.1.0.bn3.running_mean'"),
        (TIMM, "", {"blocks.1.0.extra.weight": KERNEL}, "has a tensor 'blocks.1.0.extra.weight' that the model has no"),
        (TIMM, "", {"conv_stem.weight": np.zeros(8, np.float32)}, "has no convolution 'conv_stem.weight'"),
        (PTH, "_blocks.1._expand", {}, "has no tensor '_blocks.1._expand_conv.weight'"),
        (PTH, "_blocks.1._project", {}, "has no tensor '_blocks.1._project_conv.weight'"),
    ],
)
def test_tensors_that_make_no_network(
    format: Format, drop: str, more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    assert message in refusal(written(tmp_path / "a.safetensors", format, drop, **more))

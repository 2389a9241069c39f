"""Residual networks as Hugging Face writes them: `ResNetModel` and what is built on it."""

from typing import Any

from tlx.errors import ConfigError, FileError
from tlx.interop import images
from tlx.interop.files import Checkpoint
from tlx.interop.format import Description, Format, Settings, only, wanted
from tlx.interop.layout import Layout, Tensor, batch_norm, conv, counters, dense
from tlx.interop.torchvision_resnet import MEAN, SIDE, STD, has_shortcut
from tlx.models.inputs import check_images
from tlx.models.registry import Model

# Files of the bare encoder have no prefix.
SPELLINGS = ((r"((?:embedder|encoder)\..*)", r"resnet.\1"),)
# Channels that leave a bottleneck over those inside it.
WIDER = 4


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the config says so."""
    return checkpoint.config.get("model_type") == "resnet"


def describe(checkpoint: Checkpoint) -> Description:
    """Settings from `config.json`, the images' statistics from `preprocessor_config.json`, the head from the tensors.

    Raises:
      FileError: a value is missing, of another type, or one that the model cannot compute.
    """
    only(checkpoint, "hidden_act", ("relu",), "relu")
    only(checkpoint, "downsample_in_first_stage", (False,), False)
    bottleneck = only(checkpoint, "layer_type", ("basic", "bottleneck"), "bottleneck") == "bottleneck"
    width = wanted(checkpoint, "embedding_size", int, 64)
    depths = _integers(checkpoint, "depths", [3, 4, 6, 3])
    widths = _integers(checkpoint, "hidden_sizes", [256, 512, 1024, 2048])
    needed = _widths({"width": width, "depths": depths, "bottleneck": bottleneck})
    if widths != needed:
        reason = f"hidden_sizes: {list(widths)} is not supported beside this embedding_size, {list(needed)} is"
        raise FileError(checkpoint.path / "config.json", reason)
    settings = {
        "depths": depths,
        "width": width,
        "bottleneck": bottleneck,
        "halve_first": bottleneck and wanted(checkpoint, "downsample_in_bottleneck", bool, False),
        **images.preprocessor(checkpoint, MEAN, STD),
    }
    shape = checkpoint.tensors.shapes.get("classifier.1.weight", (0,))
    return Description(settings, shape[0], (SIDE, SIDE, wanted(checkpoint, "num_channels", int, 3)))


def _integers(checkpoint: Checkpoint, name: str, default: list[int]) -> tuple[int, ...]:
    values = checkpoint.config.get(name, default)
    if not isinstance(values, list) or not values or not all(type(value) is int for value in values):
        raise FileError(checkpoint.path / "config.json", f"{name}: expected a list of integers, got {values!r}")
    return tuple(values)


def _widths(settings: Settings) -> tuple[int, ...]:
    wider = WIDER if settings["bottleneck"] else 1
    return tuple(wider * settings["width"] * 2**level for level in range(len(settings["depths"])))


def layout(settings: Settings, num_classes: int) -> Layout:
    """The tensors of `ResNetForImageClassification`."""
    tensors = _layer("resnet.embedder.embedder", "stem", "conv1", "norm1")
    number, last = 0, 3 if settings["bottleneck"] else 2
    for level, depth in enumerate(settings["depths"]):
        for i in range(depth):
            theirs, ours = f"resnet.encoder.stages.{level}.layers.{i}", f"block_{number}"
            for k in range(last):
                tensors += _layer(f"{theirs}.layer.{k}", ours, f"conv{k + 1}", f"norm{k + 1}")
            if has_shortcut(settings, level, i):
                tensors += _layer(f"{theirs}.shortcut", ours, "shortcut", "shortcut_norm")
            number += 1
    head = dense("classifier.1", "params/head")
    return Layout((*tensors, *head), SPELLINGS, counters=counters(tensors))


def _layer(theirs: str, stage: str, convolution: str, norm: str) -> list[Tensor]:
    return [
        *conv(f"{theirs}.convolution", f"params/{stage}/{convolution}"),
        *batch_norm(f"{theirs}.normalization", f"{stage}/{norm}"),
    ]


def config(model: Model) -> dict[str, Any]:
    """The `config.json` of `ResNetForImageClassification`.

    Raises:
      ConfigError: the first convolution is not theirs.
    """
    settings = dict(model.settings)
    if settings["stem"] != "imagenet":
        raise ConfigError("stem", f"their residual networks have 'imagenet', so {settings['stem']!r} cannot be written")
    labels = {str(i): f"LABEL_{i}" for i in range(model.num_classes)}
    return {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "num_channels": check_images(settings, model.input_shape)[2],
        "embedding_size": settings["width"],
        "hidden_sizes": list(_widths(settings)),
        "depths": list(settings["depths"]),
        "layer_type": "bottleneck" if settings["bottleneck"] else "basic",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": settings["halve_first"],
        "id2label": labels,
        "label2id": {label: int(i) for i, label in labels.items()},
    }


RESNET = Format("hf-resnet", "resnet", recognises, describe, layout, config)

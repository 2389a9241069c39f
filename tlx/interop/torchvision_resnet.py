"""Residual networks as torchvision and timm write them, under the same names.

A file says nothing of strides. Those of a bottleneck are taken to be on its 3x3 convolution, as in both libraries.
"""

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from tlx.errors import ConfigError, FileError
from tlx.interop import timm_config
from tlx.interop.files import Checkpoint
from tlx.interop.format import Description, Format, Settings
from tlx.interop.layout import Layout, Tensor, batch_norm, conv, counters, dense
from tlx.models.registry import Model
from tlx.models.resnet import FIELDS

STEM, FIRST = "conv1.weight", "layer1.0.conv1.weight"
# Of ImageNet, which both libraries mean where a file is silent.
MEAN, STD, SIDE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224
NAMES = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((2, 2, 2, 2), True): "resnet26",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}
LEVELS = 4


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether it holds the tensors of a residual network with batch norm, whether or not a config lies beside them."""
    return {STEM, FIRST, "bn1.running_mean"} <= checkpoint.tensors.keys()


def describe(checkpoint: Checkpoint) -> Description:
    """Settings from the tensors' shapes; the images' statistics from the config, or else ImageNet's.

    Raises:
      FileError: the config names another architecture, or the first convolution is another one.
    """
    shapes, name = checkpoint.tensors.shapes, checkpoint.config.get("architecture", "resnet18")
    if name not in NAMES.values():
        known = ", ".join(NAMES.values())
        raise FileError(checkpoint.path / "config.json", f"architecture: {name!r} is not supported (one of {known})")
    timm_config.check_arguments(checkpoint, ("layers", "channels"))
    if len(shapes[STEM]) != 4 or shapes[STEM][2:] != (7, 7):
        raise FileError(checkpoint.path, f"tensor {STEM!r} has shape {shapes[STEM]}; only 7×7 kernels are supported")
    settings = {
        "depths": depths(shapes, "layer{}.{}.conv1.weight", first=1),
        "width": shapes[STEM][0],
        "bottleneck": "layer1.0.conv3.weight" in shapes,
        **timm_config.statistics(checkpoint, MEAN, STD),
    }
    side = timm_config.side(checkpoint, SIDE)
    return Description(settings, shapes.get("fc.weight", (0,))[0], (side, side, shapes[STEM][1]))


def depths(names: Mapping[str, Any], template: str, first: int = 0, first_block: int = 0) -> tuple[int, ...]:
    """How many blocks there are at each level.

    Args:
      names: of the tensors.
      template: a tensor that every block has, with a place for its level and one for its number.
      first: number of the first level.
      first_block: number of a level's first block.
    """

    def count(level: int) -> int:
        there = (template.format(level, first_block + i) in names for i in range(len(names)))
        return sum(takewhile(bool, there))

    return tuple(takewhile(bool, (count(first + i) for i in range(len(names)))))


def layout(settings: Settings, num_classes: int) -> Layout:
    """The tensors of torchvision's `ResNet`, and timm's."""
    tensors = [*conv("conv1", "params/stem/conv1"), *batch_norm("bn1", "stem/norm1")]
    number, last = 0, 3 if settings["bottleneck"] else 2
    for level, depth in enumerate(settings["depths"]):
        for i in range(depth):
            tensors += _block(f"layer{level + 1}.{i}", f"block_{number}", last)
            if has_shortcut(settings, level, i):
                tensors += conv(f"layer{level + 1}.{i}.downsample.0", f"params/block_{number}/shortcut")
                tensors += batch_norm(f"layer{level + 1}.{i}.downsample.1", f"block_{number}/shortcut_norm")
            number += 1
    return Layout((*tensors, *dense("fc", "params/head")), counters=counters(tensors))


def has_shortcut(settings: Settings, level: int, i: int) -> bool:
    """Whether a block's input needs a convolution to be added to its output: the first of a level that changes it."""
    return i == 0 and (level > 0 or settings["bottleneck"])


def _block(theirs: str, ours: str, last: int) -> list[Tensor]:
    tensors: list[Tensor] = []
    for i in range(1, last + 1):
        tensors += conv(f"{theirs}.conv{i}", f"params/{ours}/conv{i}")
        tensors += batch_norm(f"{theirs}.bn{i}", f"{ours}/norm{i}")
    return tensors


def config(model: Model) -> dict[str, Any]:
    """The `config.json` that `timm.create_model("local-dir:FOLDER")` reads.

    Raises:
      ConfigError: the model is one that timm has no name for.
    """
    settings = dict(model.settings)
    for name, only in {"stem": "imagenet", "width": FIELDS["width"].default, "halve_first": False}.items():
        if settings[name] != only:
            raise ConfigError(name, f"timm's residual networks have {only!r}, so {settings[name]!r} cannot be written")
    if len(settings["depths"]) != LEVELS:
        raise ConfigError(
            "depths", f"timm's residual networks have {LEVELS}, so {settings['depths']} cannot be written"
        )
    shape = (settings["depths"], settings["bottleneck"])
    name = NAMES.get(shape, "resnet50" if settings["bottleneck"] else "resnet18")
    written = timm_config.written(model, name, first_conv="conv1", classifier="fc")
    if shape not in NAMES:
        widths = [settings["width"] * 2**level for level in range(len(settings["depths"]))]
        written["model_args"] |= {"layers": list(settings["depths"]), "channels": widths}
    return written


RESNET = Format("torchvision-resnet", "resnet", recognises, describe, layout, config)

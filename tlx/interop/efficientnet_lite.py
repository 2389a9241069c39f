"""EfficientNet-Lite as timm writes it, and as the first port to PyTorch did, whose `.pth` files are still about.

What the second expects of images is not in its files: it is TensorFlow's (pixel - 127) / 128.
"""

import re
from collections.abc import Callable
from typing import Any

from tlx.errors import ConfigError, FileError
from tlx.interop import timm_config
from tlx.interop.files import Checkpoint
from tlx.interop.format import Description, Format, Settings
from tlx.interop.layout import Layout, Tensor, batch_norm, conv, counters, dense
from tlx.interop.torchvision_resnet import depths
from tlx.models.efficientnet import FIELDS, VARIANTS, levels
from tlx.models.registry import Model

HALF = (0.5, 0.5, 0.5)
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
# timm's names; those without tf_ have other weights, padding and epsilon.
ARCHITECTURES = {f"tf_efficientnet_{variant}": variant for variant in VARIANTS}


def recognises_timm(checkpoint: Checkpoint) -> bool:
    """Whether it holds the tensors of a mobile network of timm's without squeeze-and-excitation."""
    names = {"conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.0.0.bn2.running_mean", "conv_head.weight"}
    others = any(".se." in name or name == "blocks.0.0.conv_pwl.weight" for name in checkpoint.tensors)
    return names <= checkpoint.tensors.keys() and not others


def describe_timm(checkpoint: Checkpoint) -> Description:
    """Settings from the tensors' shapes; the images' size and statistics from the config.

    Raises:
      FileError: the config names an architecture that computes something else, or the tensors are no EfficientNet's.
    """
    name = checkpoint.config.get("architecture", "tf_efficientnet_lite0")
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise FileError(checkpoint.path / "config.json", f"architecture: {name!r} is not supported (one of {known})")
    timm_config.check_arguments(checkpoint)
    found = depths(checkpoint.tensors, "blocks.{}.{}.conv_dw.weight")
    settings = {
        **_settings(checkpoint, found, lambda level, i: f"blocks.{level}.{i}.conv_pw{'l' if level else ''}.weight"),
        **timm_config.statistics(checkpoint, HALF, HALF),
    }
    side = timm_config.side(checkpoint, VARIANTS[settings["variant"]][2])
    classes = checkpoint.tensors.shapes.get("classifier.weight", (0,))[0]
    return Description(settings, classes, (side, side, checkpoint.tensors.shapes["conv_stem.weight"][1]))


def recognises_pth(checkpoint: Checkpoint) -> bool:
    """Whether it holds the tensors of the first port, without squeeze-and-excitation."""
    names = {"_conv_stem.weight", "_blocks.0._depthwise_conv.weight", "_conv_head.weight", "_bn1.running_mean"}
    return names <= checkpoint.tensors.keys() and not any("._se_" in name for name in checkpoint.tensors)


def describe_pth(checkpoint: Checkpoint) -> Description:
    """Settings from the tensors' shapes; a level ends where the number of channels changes.

    Raises:
      FileError: the tensors are no EfficientNet's.
    """
    shapes = checkpoint.tensors.shapes
    numbers = [
        int(match[1]) for name in shapes if (match := re.fullmatch(r"_blocks\.(\d+)\._project_conv\.weight", name))
    ]
    found: list[list[int]] = []
    for number in sorted(numbers):
        width = shapes[f"_blocks.{number}._project_conv.weight"][0]
        if found and width == shapes[f"_blocks.{found[-1][0]}._project_conv.weight"][0]:
            found[-1].append(number)
        else:
            found.append([number])
    settings = _settings(
        checkpoint,
        tuple(len(level) for level in found),
        lambda level, i: f"_blocks.{found[level][i]}._project_conv.weight",
    )
    side, classes = VARIANTS[settings["variant"]][2], shapes.get("_fc.weight", (0,))[0]
    channels = shapes["_conv_stem.weight"][1]
    return Description(settings | {"mean": MEAN, "std": STD}, classes, (side, side, channels))


def _settings(checkpoint: Checkpoint, found: tuple[int, ...], last: Callable[[int, int], str]) -> dict[str, Any]:
    """The published variant of these blocks, or else their numbers.

    Args:
      checkpoint: whose tensors.
      found: blocks at each level.
      last: `(level, block)` to the name of the block's last convolution.
    """
    shapes, prefix = checkpoint.tensors.shapes, "_" if "_conv_stem.weight" in checkpoint.tensors else ""
    names = [last(level, 0) for level in range(len(found))]
    stem, features = f"{prefix}conv_stem.weight", f"{prefix}conv_head.weight"
    for name in (*names, stem, features):
        if len(shapes.get(name, ())) != 4:
            raise FileError(checkpoint.path, f"has no convolution {name!r}, as an EfficientNet-Lite would")
    widths = tuple(shapes[name][0] for name in names)
    sizes = {"stem": shapes[stem][0], "features": shapes[features][0]}
    for variant in VARIANTS:
        if levels({"variant": variant, "depths": (), "widths": ()}) == (found, widths):
            return {"variant": variant, **sizes}
    return {"variant": "lite0", "depths": found, "widths": widths, **sizes}


def layout_timm(settings: Settings, num_classes: int) -> Layout:
    """The tensors of timm's `EfficientNet`."""
    tensors = [*conv("conv_stem", "params/stem/conv"), *batch_norm("bn1", "stem/norm")]
    number = 0
    for level, depth in enumerate(levels(dict(settings))[0]):
        for i in range(depth):
            # The first level's blocks do not expand, and what follows has other names there.
            names = ("conv_pw", "conv_dw", "conv_pwl") if level else ("conv_dw", "conv_pw")
            theirs = [(f"blocks.{level}.{i}.{name}", f"blocks.{level}.{i}.bn{k}") for k, name in enumerate(names, 1)]
            tensors += _block(theirs, f"block_{number}")
            number += 1
    tensors += [*conv("conv_head", "params/pool/conv"), *batch_norm("bn2", "pool/norm")]
    return Layout((*tensors, *dense("classifier", "params/head")), counters=counters(tensors))


def layout_pth(settings: Settings, num_classes: int) -> Layout:
    """The tensors of the first port's `EfficientNet`."""
    tensors = [*conv("_conv_stem", "params/stem/conv"), *batch_norm("_bn0", "stem/norm")]
    all_depths = levels(dict(settings))[0]
    for number in range(sum(all_depths)):
        names = ("_expand_conv", "_depthwise_conv", "_project_conv")
        theirs = [(f"_blocks.{number}.{name}", f"_blocks.{number}._bn{k}") for k, name in enumerate(names)]
        tensors += _block(theirs[0 if number >= all_depths[0] else 1 :], f"block_{number}")
    tensors += [*conv("_conv_head", "params/pool/conv"), *batch_norm("_bn1", "pool/norm")]
    return Layout((*tensors, *dense("_fc", "params/head")), counters=counters(tensors))


def _block(theirs: list[tuple[str, str]], ours: str) -> list[Tensor]:
    """The convolutions and norms of a block, by their names; the first of three expands."""
    tensors: list[Tensor] = []
    for (convolution, norm), name in zip(theirs, ("expand", "depthwise", "project")[-len(theirs) :], strict=True):
        tensors += [*conv(convolution, f"params/{ours}/{name}"), *batch_norm(norm, f"{ours}/{name}_norm")]
    return tensors


def config(model: Model) -> dict[str, Any]:
    """The `config.json` that `timm.create_model("local-dir:FOLDER")` reads.

    Raises:
      ConfigError: the model is no published variant.
    """
    settings = dict(model.settings)
    for name in ("depths", "widths", "stem", "features"):
        if settings[name] != FIELDS[name].default:
            raise ConfigError(name, f"timm has published variants alone, so {settings[name]!r} cannot be written")
    return timm_config.written(
        model, f"tf_efficientnet_{settings['variant']}", first_conv="conv_stem", classifier="classifier"
    )


TIMM = Format("timm-efficientnet", "efficientnet", recognises_timm, describe_timm, layout_timm, config)
PTH = Format("efficientnet-lite-pth", "efficientnet", recognises_pth, describe_pth, layout_pth)

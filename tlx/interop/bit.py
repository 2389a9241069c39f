"""BiT's residual networks: the `.npz` files of their authors, and the same as timm writes it."""

from typing import Any

from tlx.errors import ConfigError, FileError
from tlx.interop import timm_config
from tlx.interop.files import Checkpoint
from tlx.interop.format import Description, Format, Settings
from tlx.interop.layout import Layout, Tensor, conv, norm
from tlx.interop.torchvision_resnet import depths
from tlx.models.bit import FIELDS
from tlx.models.registry import Model

HALF, SIDE = (0.5, 0.5, 0.5), 224
ROOT, STEM = "resnet/root_block/standardized_conv2d/kernel", "stem.conv.weight"
# Letters of a block's convolutions.
LETTERS = {"a": "1", "b": "2", "c": "3"}
ARCHITECTURES = {
    ((3, 4, 6, 3), 1): "resnetv2_50x1_bit",
    ((3, 4, 6, 3), 3): "resnetv2_50x3_bit",
    ((3, 4, 23, 3), 1): "resnetv2_101x1_bit",
    ((3, 4, 23, 3), 3): "resnetv2_101x3_bit",
    ((3, 8, 36, 3), 2): "resnetv2_152x2_bit",
    ((3, 8, 36, 3), 4): "resnetv2_152x4_bit",
}
WIDTH = 64


def recognises_npz(checkpoint: Checkpoint) -> bool:
    """Whether it holds the tensors of BiT's code."""
    return ROOT in checkpoint.tensors


def describe_npz(checkpoint: Checkpoint) -> Description:
    """Settings from the tensors' shapes.

    Raises:
      FileError: the first kernel is none.
    """
    shapes = checkpoint.tensors.shapes
    if len(shapes[ROOT]) != 4:
        raise FileError(checkpoint.path, f"tensor {ROOT!r} has shape {shapes[ROOT]}, which is no kernel's")
    settings = {
        "depths": depths(shapes, "resnet/block{}/unit{:02d}/a/standardized_conv2d/kernel", first=1, first_block=1),
        "width": shapes[ROOT][-1],
        "mean": HALF,
        "std": HALF,
    }
    classes = shapes.get("resnet/head/conv2d/kernel", (0,))[-1]
    return Description(settings, classes, (SIDE, SIDE, shapes[ROOT][2]))


def recognises_timm(checkpoint: Checkpoint) -> bool:
    """Whether timm's config says so: its other networks of this kind have tensors of the same names."""
    return str(checkpoint.config.get("architecture", "")).startswith("resnetv2_") and STEM in checkpoint.tensors


def describe_timm(checkpoint: Checkpoint) -> Description:
    """Settings from the tensors' shapes; the images' size and statistics from the config.

    Raises:
      FileError: the config names a network that is not BiT's, or the first kernel is none.
    """
    shapes, name = checkpoint.tensors.shapes, checkpoint.config["architecture"]
    if name not in ARCHITECTURES.values():
        known = ", ".join(ARCHITECTURES.values())
        raise FileError(checkpoint.path / "config.json", f"architecture: {name!r} is not supported (one of {known})")
    timm_config.check_arguments(checkpoint)
    if len(shapes[STEM]) != 4:
        raise FileError(checkpoint.path, f"tensor {STEM!r} has shape {shapes[STEM]}, which is no kernel's")
    settings = {
        "depths": depths(shapes, "stages.{}.blocks.{}.conv1.weight"),
        "width": shapes[STEM][0],
        **timm_config.statistics(checkpoint, HALF, HALF),
    }
    side = timm_config.side(checkpoint, SIDE)
    return Description(settings, shapes.get("head.fc.weight", (0,))[0], (side, side, shapes[STEM][1]))


def layout_npz(settings: Settings, num_classes: int) -> Layout:
    """The tensors of BiT's code: kernels as ours."""
    tensors = [Tensor(ROOT, ("params/stem/conv1/kernel",))]
    number = 0
    for level, depth in enumerate(settings["depths"], 1):
        for i in range(1, depth + 1):
            theirs, ours = f"resnet/block{level}/unit{i:02d}", f"params/block_{number}"
            for letter, k in LETTERS.items():
                kernel = f"{theirs}/{letter}/standardized_conv2d/kernel"
                tensors += [Tensor(kernel, (f"{ours}/conv{k}/kernel",))]
                tensors += _norm(f"{theirs}/{letter}/group_norm", f"{ours}/norm{k}")
            if i == 1:
                kernel = f"{theirs}/a/proj/standardized_conv2d/kernel"
                tensors += [Tensor(kernel, (f"{ours}/shortcut/kernel",))]
            number += 1
    head = Tensor("resnet/head/conv2d/kernel", ("params/head/kernel",), "1 1 i o -> i o")
    bias = Tensor("resnet/head/conv2d/bias", ("params/head/bias",))
    return Layout((*tensors, *_norm("resnet/group_norm", "params/pool/norm"), head, bias))


def _norm(theirs: str, ours: str) -> list[Tensor]:
    return [Tensor(f"{theirs}/gamma", (f"{ours}/scale",)), Tensor(f"{theirs}/beta", (f"{ours}/bias",))]


def layout_timm(settings: Settings, num_classes: int) -> Layout:
    """The tensors of timm's `ResNetV2`."""
    tensors = conv("stem.conv", "params/stem/conv1")
    number = 0
    for level, depth in enumerate(settings["depths"]):
        for i in range(depth):
            theirs, ours = f"stages.{level}.blocks.{i}", f"params/block_{number}"
            for k in LETTERS.values():
                tensors += conv(f"{theirs}.conv{k}", f"{ours}/conv{k}")
                tensors += norm(f"{theirs}.norm{k}", f"{ours}/norm{k}")
            if i == 0:
                tensors += conv(f"{theirs}.downsample.conv", f"{ours}/shortcut")
            number += 1
    head = Tensor("head.fc.weight", ("params/head/kernel",), "o i 1 1 -> i o")
    bias = Tensor("head.fc.bias", ("params/head/bias",))
    return Layout((*tensors, *norm("norm", "params/pool/norm"), head, bias))


def config(model: Model) -> dict[str, Any]:
    """The `config.json` that `timm.create_model("local-dir:FOLDER")` reads.

    timm adds 1e-8 to a kernel's variance where BiT's code and ours add 1e-10, which changes no trained kernel.

    Raises:
      ConfigError: the model is none of theirs.
    """
    settings = dict(model.settings)
    if settings["groups"] != FIELDS["groups"].default:
        raise ConfigError("groups", f"timm's norms have 32 groups, so {settings['groups']} cannot be written")
    for (blocks, factor), name in ARCHITECTURES.items():
        if (settings["depths"], settings["width"]) == (blocks, WIDTH * factor):
            return timm_config.written(model, name, first_conv="stem.conv", classifier="head.fc")
    raise ConfigError("depths", f"timm has no BiT of {settings['depths']} blocks and width {settings['width']}")


NPZ = Format("bit-npz", "bit", recognises_npz, describe_npz, layout_npz)
TIMM = Format("timm-bit", "bit", recognises_timm, describe_timm, layout_timm, config)

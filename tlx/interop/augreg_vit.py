"""Vision transformers as Google wrote them: the `.npz` files of AugReg and of big_vision, read only.

The files of big_vision whose blocks are stacked, or that pool by attention, such as SigLIP's, are refused.
"""

import math
import re

import numpy as np

from tlx.errors import FileError
from tlx.interop import images, positions
from tlx.interop.files import Checkpoint
from tlx.interop.format import Description, Format, Settings
from tlx.interop.layout import Layout, Tensor

# AugReg's names. Big_vision numbers the parts of a block apart and keeps the positions outside of the transformer.
SPELLINGS = (
    (r"(?:opt/target|params)/(.*)", r"\1"),
    (r"pos_embedding", r"Transformer/posembed_input/pos_embedding"),
    (r"(Transformer/encoderblock_\d+)/MultiHeadDotProductAttention_0/(.*)", r"\1/MultiHeadDotProductAttention_1/\2"),
    (r"(Transformer/encoderblock_\d+)/LayerNorm_1/(.*)", r"\1/LayerNorm_2/\2"),
    (r"(Transformer/encoderblock_\d+)/MlpBlock_0/(.*)", r"\1/MlpBlock_3/\2"),
)
PATCHES, POSITIONS = "embedding/kernel", "Transformer/posembed_input/pos_embedding"
QUERY = "Transformer/encoderblock_{}/MultiHeadDotProductAttention_1/query/kernel"
UP = "Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"


def _shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    names = Layout((), SPELLINGS)
    return {names.spelled(name): shape for name, shape in checkpoint.tensors.shapes.items()}


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether it holds a patch embedding and blocks under these names."""
    shapes = _shapes(checkpoint)
    return PATCHES in shapes and any(name.startswith("Transformer/encoderblock") for name in shapes)


def describe(checkpoint: Checkpoint) -> Description:
    """Settings from the arrays' shapes; everything else is the same in all of these files.

    A head that stands behind a layer of its own (`pre_logits`) is not read, as the model has no such layer.

    Raises:
      FileError: the blocks are stacked, or the positions are no square.
    """
    shapes = _shapes(checkpoint)
    if not {QUERY.format(0), UP, POSITIONS} <= shapes.keys():
        raise FileError(checkpoint.path, "holds no blocks one by one with learned positions")
    patch, _, channels, width = shapes[PATCHES]
    settings = {
        "patch": patch,
        "width": width,
        "depth": sum(re.fullmatch(QUERY.format(r"\d+"), name) is not None for name in shapes),
        "heads": shapes[QUERY.format(0)][1],
        "hidden": shapes[UP][1],
        "gelu_exact": False,
        "epsilon": 1e-6,
        "pool": "class" if "cls" in shapes else "mean",
        "mean": images.HALF,
        "std": images.HALF,
    }
    rows = shapes[POSITIONS][1]
    side = math.isqrt(rows)
    if side**2 != rows and side**2 != rows - 1:
        raise FileError(checkpoint.path, f"{POSITIONS!r} has {rows} rows, which are no square")
    classes = 0 if "pre_logits/kernel" in shapes else shapes.get("head/kernel", (0, 0))[1]
    return Description(settings, classes, (patch * side, patch * side, channels))


def layout(settings: Settings, num_classes: int) -> Layout:
    """The arrays of AugReg."""
    has_class = settings["pool"] == "class"
    patch_sizes = (("p", settings["patch"]), ("q", settings["patch"]))
    tensors = [Tensor("cls", ("params/embed/cls",))] if has_class else []
    tensors += [
        Tensor(POSITIONS, ("params/embed/position",), resize=_with_class if has_class else _without_class),
        Tensor(PATCHES, ("params/embed/patches/kernel",), "p q c d -> (p q c) d", patch_sizes),
        Tensor("embedding/bias", ("params/embed/patches/bias",)),
    ]
    for i in range(settings["depth"]):
        tensors += _block(f"Transformer/encoderblock_{i}", f"params/block_{i}", settings["heads"])
    tensors += [*_pair("Transformer/encoder_norm", "params/pool/norm", "scale")]
    tensors += [*_pair("head", "params/head", "kernel")]
    return Layout(tuple(tensors), SPELLINGS, unused=(r"pre_logits/.*",))


_without_class = positions.resize(positions.linear, leading=0)


def _with_class(position_1TD: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    rows = position_1TD.shape[1]
    if math.isqrt(rows) ** 2 == rows:
        # Big_vision adds positions before the class token joins, which is to give it a position of zeros.
        position_1TD = np.pad(position_1TD, ((0, 0), (1, 0), (0, 0)))
    if position_1TD.shape == shape:
        return position_1TD
    return positions.resize(positions.linear, leading=1)(position_1TD, shape)


def _pair(theirs: str, ours: str, first: str) -> list[Tensor]:
    """A layer whose two leaves have our names and shapes."""
    return [Tensor(f"{theirs}/{leaf}", (f"{ours}/{leaf}",)) for leaf in (first, "bias")]


def _block(theirs: str, ours: str, heads: int) -> list[Tensor]:
    sizes = (("h", heads),)
    tensors = [*_pair(f"{theirs}/LayerNorm_0", f"{ours}/norm1", "scale")]
    for name in ("query", "key", "value"):
        layer, own = f"{theirs}/MultiHeadDotProductAttention_1/{name}", f"{ours}/attention/{name}"
        tensors += [
            Tensor(f"{layer}/kernel", (f"{own}/kernel",), "d h k -> d (h k)", sizes),
            Tensor(f"{layer}/bias", (f"{own}/bias",), "h k -> (h k)", sizes),
        ]
    layer = f"{theirs}/MultiHeadDotProductAttention_1/out"
    return [
        *tensors,
        Tensor(f"{layer}/kernel", (f"{ours}/attention/out/kernel",), "h k d -> (h k) d", sizes),
        Tensor(f"{layer}/bias", (f"{ours}/attention/out/bias",)),
        *_pair(f"{theirs}/LayerNorm_2", f"{ours}/norm2", "scale"),
        *_pair(f"{theirs}/MlpBlock_3/Dense_0", f"{ours}/mlp/up", "kernel"),
        *_pair(f"{theirs}/MlpBlock_3/Dense_1", f"{ours}/mlp/down", "kernel"),
    ]


AUGREG = Format("bigvision-vit", "vit", recognises, describe, layout)

"""The tensors that PEFT's files hold beside one layer, as entries of a layout: the same table reads and writes them.

Each follows from the layer's own weight: A has its input axes and a rank, B a rank and its output axis, wherever the
weight has them, and a weight that fuses several kernels of ours has one A for all of them and a B for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tlx.interop.layout import Tensor
from tlx.interop.peft_base import Axes, Layer


@dataclass(frozen=True)
class Part:
    """One tensor of an adapter.

    Args:
      tensor: as a layout has it; of a leaf that fused layers have in common, `ours` is the first.
      shape: of each leaf.
      shared: paths of the leaves that equal the first.
    """

    tensor: Tensor
    shape: tuple[int, ...]
    shared: tuple[str, ...] = ()


def low_rank(layer: Layer, axes: Axes, module: str, rank: int, dora: bool = False) -> list[Part]:
    """A and B of LoRA, and the magnitudes of DoRA.

    Args:
      layer: what they stand beside.
      axes: its own.
      module: its full name in the file.
      rank: size of the axis that A and B share.
      dora: whether there are magnitudes.

    Returns:
      A [r, in, ...] as `lora_a` [in, r], B [out, r, 1, ...] as `lora_b` [r, out], magnitudes [out] or [1, out, 1, ...].
    """
    infix, suffix = ("lora_embedding_", "") if layer.is_embedding else ("lora_", ".weight")
    ones = ["1"] * (len(axes.theirs_in) - 1)
    to_a = _pattern(["r", *axes.theirs_in], [*axes.ours_in, "r"])
    to_b = _pattern([axes.theirs_out, "r", *ones], [axes.over, "r", axes.ours_out])
    outputs = layer.shape[-1]
    parts = [
        _common(layer, f"{module}.{infix}A{suffix}", "lora_a", to_a, (*layer.shape[:-1], rank)),
        _own(layer, f"{module}.{infix}B{suffix}", "lora_b", to_b, (rank, outputs)),
    ]
    if dora:
        name = f"{module}.lora_magnitude_vector"
        parts.append(_own(layer, name, "lora_magnitude", _outputs(axes, []), (outputs,)))
    return parts


def triplets(layer: Layer, axes: Axes, module: str, rank: int) -> list[Part]:
    """A, B and the values between them of AdaLoRA, of which the last is `lora_e` [r]."""
    to_a = _pattern(["r", *axes.theirs_in], [*axes.ours_in, "r"])
    to_b = _pattern([axes.theirs_out, "r"], [axes.over, "r", axes.ours_out])
    return [
        _common(layer, f"{module}.lora_A", "lora_a", to_a, (*layer.shape[:-1], rank)),
        _own(layer, f"{module}.lora_B", "lora_b", to_b, (rank, layer.shape[-1])),
        _common(layer, f"{module}.lora_E", "lora_e", "r 1 -> r", (rank,)),
    ]


def scaled(layer: Layer, axes: Axes, module: str, inputs: bool) -> Part:
    """The factors of IA³ on a layer's inputs, `ia3_in` [in], or on its outputs, `ia3_out` [out].

    Args:
      layer: the layer.
      axes: its own.
      module: its full name in the file.
      inputs: whether it is the inputs; of a convolution their channels.
    """
    name = f"{module}.ia3_l"
    if inputs:
        channels = axes.ours_in[-1]
        theirs = ["1", *(axis if axis == channels else "1" for axis in axes.theirs_in)]
        return _common(layer, name, "ia3_in", _pattern(theirs, [channels]), (layer.shape[-2],))
    return _own(layer, name, "ia3_out", _outputs(axes, ["1"]), (layer.shape[-1],))


def vectors(layer: Layer, module: str, rank: int) -> list[Part]:
    """The two vectors of VeRA, `vera_d` [r] and `vera_b` [out]."""
    return [
        _common(layer, f"{module}.vera_lambda_d", "vera_d", "", (rank,)),
        _own(layer, f"{module}.vera_lambda_b", "vera_b", "", (layer.shape[-1],)),
    ]


def _outputs(axes: Axes, beside: list[str]) -> str:
    """From one number an output, [out], [out, 1] or, beside a convolution, [1, out, 1, 1]."""
    spatial = len(axes.theirs_in) - 1
    theirs = ["1", axes.theirs_out, *["1"] * spatial] if spatial else [axes.theirs_out, *beside]
    return _pattern(theirs, [axes.over, axes.ours_out])


def _pattern(theirs: Sequence[str], ours: Sequence[str]) -> str:
    return f"{' '.join(theirs)} -> {' '.join(axis for axis in ours if axis)}"


def _own(layer: Layer, name: str, leaf: str, pattern: str, shape: tuple[int, ...]) -> Part:
    """A tensor that holds something for each of the fused layers."""
    paths = tuple(f"adapters/{path}/{leaf}" for path in layer.ours)
    return Part(Tensor(name, paths, pattern, _sizes(layer, pattern)), shape)


def _common(layer: Layer, name: str, leaf: str, pattern: str, shape: tuple[int, ...]) -> Part:
    """A tensor that the fused layers have in common."""
    first, *others = (f"adapters/{path}/{leaf}" for path in layer.ours)
    return Part(Tensor(name, (first,), pattern, _sizes(layer, pattern)), shape, tuple(others))


def _sizes(layer: Layer, pattern: str) -> tuple[tuple[str, int], ...]:
    """The lengths that the weight's own pattern needs, as far as this one has those axes."""
    named = set(pattern.replace("(", " ").replace(")", " ").split())
    return tuple((axis, size) for axis, size in layer.weight.sizes if axis in named)

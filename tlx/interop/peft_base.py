"""The base model as an adapter file sees it: modules by name, and the layers of ours that they are.

Everything comes from the format's layout, so nothing here knows of any architecture.
"""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tlx.adapt.anatomy import Anatomy
from tlx.interop.format import Format
from tlx.interop.layout import Layout, Tensor
from tlx.models.registry import Model

_GROUPS = re.compile(r"\([^)]*\)|\S+")
# Leaves that an update can stand beside.
_WEIGHTS = ("kernel", "embedding")


@dataclass(frozen=True)
class Axes:
    """How the axes of a PyTorch weight become those of a kernel of ours, in einops' notation.

    Args:
      theirs_in: input axes, in the weight's order.
      theirs_out: the output axis.
      ours_in: the kernel's input axes.
      ours_out: the kernel's output axis.
      over: the axis that runs over kernels which the weight fuses, or empty.
      in_first: whether the weight has its inputs first, as a `Conv1D` of GPT-2 and an embedding have.
    """

    theirs_in: tuple[str, ...]
    theirs_out: str
    ours_in: tuple[str, ...]
    ours_out: str
    over: str
    in_first: bool


@dataclass(frozen=True)
class Layer:
    """A module with a weight that an adapter may stand beside.

    Args:
      name: of the module on disk.
      weight: its weight.
      ours: paths of our layers; several where the weight fuses them.
      shape: of one of our kernels.
      is_embedding: whether it looks up rows.
    """

    name: str
    weight: Tensor
    ours: tuple[str, ...]
    shape: tuple[int, ...]
    is_embedding: bool

    @functools.cached_property
    def axes(self) -> Axes | None:
        """The axes, or None where the weight mixes inputs and outputs in a way no adapter can follow."""
        left, _, right = self.weight.pattern.partition("->")
        plain = [f"a{i}" for i in range(len(self.shape))]
        theirs = _GROUPS.findall(left) or plain
        ours = _GROUPS.findall(right) or plain
        over = ours.pop(0) if len(self.ours) > 1 else ""
        *ours_in, ours_out = ours
        outputs = _symbols([ours_out])
        holders = [group for group in theirs if _symbols([group]) & outputs]
        if len(holders) != 1 or not _symbols(holders) <= outputs | {over} or (over and over not in _symbols(holders)):
            return None
        return Axes(
            tuple(group for group in theirs if group != holders[0]),
            holders[0],
            tuple(ours_in),
            ours_out,
            over,
            theirs[0] != holders[0],
        )


def _symbols(groups: Iterable[str]) -> set[str]:
    return {symbol for group in groups for symbol in group.strip("()").split()}


@dataclass(frozen=True)
class Base:
    """The modules of a base model.

    Args:
      format: how the other library writes it.
      model: the architecture.
    """

    format: Format
    model: Model

    @functools.cached_property
    def layout(self) -> Layout:
        """Its tensors."""
        return self.format.layout(dict(self.model.settings), self.model.num_classes)

    @functools.cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by their name on disk."""
        return {tensor.theirs: tensor for tensor in self.layout.tensors}

    @functools.cached_property
    def leaves(self) -> dict[str, Any]:
        """Shapes of our leaves, by path."""
        return Anatomy(self.model).leaves

    @functools.cached_property
    def layers(self) -> dict[str, Layer]:
        """The modules with a weight that an update can stand beside, by their name on disk."""
        found = {}
        for name, tensor in self.tensors.items():
            module, _, last = name.rpartition(".")
            paths, kinds = zip(*(path.rsplit("/", 1) for path in tensor.ours), strict=True)
            if last == "weight" and kinds[0] in _WEIGHTS:
                ours = tuple(path.removeprefix("params/") for path in paths)
                shape = tuple(self.leaves[tensor.ours[0]].shape)
                found[module] = Layer(module, tensor, ours, shape, kinds[0] == "embedding")
        return found

    def layer(self, module: str) -> Layer | None:
        """The layer that a module is, by whichever of its names, or None."""
        return self.layers.get(self.layout.spelled(f"{module}.weight").removesuffix(".weight"))

    def tensor(self, name: str) -> Tensor | None:
        """The tensor of a name, whichever of its names that is, or None."""
        return self.tensors.get(self.layout.spelled(name))

    def in_memory(self, name: str) -> str:
        """What the newest release of the other library calls a tensor, which adapter files go by."""
        for pattern, template in self.format.in_memory:
            if match := re.fullmatch(pattern, name):
                name = match.expand(template)
        return name

    def named_as(self, found: Iterable[str]) -> dict[str, str]:
        """The names of all tensors in the way in which a file names some of them.

        Args:
          found: names in the file.

        Returns:
          Name on disk to name in the file's way: as in memory, as on disk, or either without the name of the
          encoder in front, as where the adapter was made for the bare encoder.
        """
        known = [(name, tensor.theirs) for name in found if (tensor := self.tensor(name))]
        for way in (self.in_memory, str):
            fronts = {way(theirs).removesuffix(name) for name, theirs in known}
            if all(way(theirs).endswith(name) for name, theirs in known) and len(fronts) <= 1:
                front = next(iter(fronts), "")
                return {theirs: way(theirs).removeprefix(front) for theirs in self.tensors}
        return {theirs: theirs for theirs in self.tensors}

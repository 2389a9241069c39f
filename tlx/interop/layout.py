"""One table for both directions: which tensor of somebody else's file is which leaf of ours.

Nothing here knows of any architecture. A layout lists tensors; to read is to walk the list one way, to write is to walk
it the other way, so what can be loaded can be saved and a mistake in one shows in the other.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from einops import EinopsError, rearrange

from tlx import tree
from tlx.errors import FileError, RuleError, suggest
from tlx.interop.report import LEFT_OUT, RESET, Report, Row

# What a linear layer and a convolution of PyTorch are in flax.
DENSE, CONV = "o i -> i o", "o i h w -> h w i o"

Resize = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file and the leaves it becomes.

    Args:
      theirs: its name in the file.
      ours: paths of the leaves; several where the file keeps as one what we keep apart.
      pattern: from theirs to ours, in einops' notation, or empty where they are alike; with several leaves its right
        side begins with an axis that runs over them.
      sizes: lengths of the axes that the pattern takes apart, in either direction.
      resize: `(leaf, wanted shape)` to a leaf of that shape where the file's has another; None where that is an error.
    """

    theirs: str
    ours: tuple[str, ...]
    pattern: str = ""
    sizes: tuple[tuple[str, int], ...] = ()
    resize: Resize | None = None

    def read(self, value: np.ndarray) -> list[np.ndarray]:
        """The leaves, in the order of `ours`."""
        value = self._turned(value, self.pattern)
        return [value] if len(self.ours) == 1 else list(value)

    def write(self, leaves: Sequence[np.ndarray]) -> np.ndarray:
        """The tensor, contiguous; the inverse of `read`."""
        value = leaves[0] if len(self.ours) == 1 else np.stack(leaves)
        left, _, right = self.pattern.partition("->")
        # safetensors writes the memory of a transposed view as it lies, which reads back as something else.
        return np.asarray(self._turned(value, f"{right} -> {left}" if right else ""), order="C")

    def _turned(self, value: np.ndarray, pattern: str) -> np.ndarray:
        turned: np.ndarray = rearrange(value, pattern, **dict(self.sizes)) if pattern else value
        return turned


@dataclass(frozen=True)
class Layout:
    """All tensors of one architecture in one format.

    Args:
      tensors: each becomes at least one leaf; together they cover the model.
      spellings: pairs of a pattern and a template, applied in turn to each name in the file, for what is called
        differently in other files of the format.
      buffers: patterns of names that hold no weights and are ignored.
      unused: patterns of names that hold weights the model has no place for, such as other heads; reported.
      may_lack: patterns of leaves that a file may come without, all that match one of them or none; they stay fresh
        and are reported.
      tied: pairs of a name that some files hold although it equals another, and that other name.
      counters: names of integers that count training steps and mean nothing here; written as 0, ignored when read.
    """

    tensors: tuple[Tensor, ...]
    spellings: tuple[tuple[str, str], ...] = ()
    buffers: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    may_lack: tuple[str, ...] = ()
    tied: tuple[tuple[str, str], ...] = ()
    counters: tuple[str, ...] = ()

    def spelled(self, name: str) -> str:
        """What the layout calls a name in a file."""
        for pattern, template in self.spellings:
            if match := re.fullmatch(pattern, name):
                name = match.expand(template)
        return name


def dense(theirs: str, ours: str, bias: bool = True) -> list[Tensor]:
    """A linear layer of PyTorch, `theirs.weight` [out, in] and `theirs.bias`, as a `Dense` of ours."""
    kernel = Tensor(f"{theirs}.weight", (f"{ours}/kernel",), DENSE)
    return [kernel, Tensor(f"{theirs}.bias", (f"{ours}/bias",))] if bias else [kernel]


def conv(theirs: str, ours: str, bias: bool = False) -> list[Tensor]:
    """A convolution of PyTorch, [out, in, rows, columns], as a `Conv` of ours; depthwise ones too."""
    kernel = Tensor(f"{theirs}.weight", (f"{ours}/kernel",), CONV)
    return [kernel, Tensor(f"{theirs}.bias", (f"{ours}/bias",))] if bias else [kernel]


def patches(theirs: str, ours: str, side: int, bias: bool = True) -> list[Tensor]:
    """A convolution of PyTorch whose stride is its side, as a `Dense` of ours on the numbers of each patch."""
    pattern, sizes = "d c p q -> (p q c) d", (("p", side), ("q", side))
    kernel = Tensor(f"{theirs}.weight", (f"{ours}/kernel",), pattern, sizes)
    return [kernel, Tensor(f"{theirs}.bias", (f"{ours}/bias",))] if bias else [kernel]


def norm(theirs: str, ours: str) -> list[Tensor]:
    """A layer or group norm with scale and bias."""
    return [Tensor(f"{theirs}.weight", (f"{ours}/scale",)), Tensor(f"{theirs}.bias", (f"{ours}/bias",))]


def batch_norm(theirs: str, ours: str) -> list[Tensor]:
    """A batch norm; `ours` is its path without the collection, as it lies in two."""
    stats = [Tensor(f"{theirs}.running_{name}", (f"batch_stats/{ours}/{name}",)) for name in ("mean", "var")]
    return [*norm(theirs, f"params/{ours}"), *stats]


def counters(tensors: Sequence[Tensor]) -> tuple[str, ...]:
    """What PyTorch's batch norms keep beside their statistics, which transformers misses where it is missing."""
    end = ".running_var"
    return tuple(f"{t.theirs.removesuffix(end)}.num_batches_tracked" for t in tensors if t.theirs.endswith(end))


def load(
    layout: Layout, where: Any, file: Mapping[str, Any], fresh: dict[str, Any], reset: Sequence[str] = ()
) -> tuple[dict[str, Any], Report]:
    """Our leaves from somebody else's tensors: each tensor is used, left out by rule, or an error.

    Args:
      layout: of the file.
      where: the file, for messages.
      file: name to array; read one at a time.
      fresh: nested dict of arrays, or of shapes where no leaf is reset: the model as initialised.
      reset: patterns over our paths; a matching leaf stays fresh whatever the file holds.

    Returns:
      Float32 numpy leaves, and what became of every tensor.

    Raises:
      FileError: a tensor is missing, unknown, of another shape, or no floating-point number.
      RuleError: a pattern of `reset` matches no leaf.
    """
    names = _names(layout, where, file)
    wanted = tree.flatten(fresh)
    for pattern in reset:
        if not any(tree.matches(pattern, path) for path in wanted):
            raise RuleError(f"reset rule {pattern!r} matches no parameter")
    optional = _lacking(layout, names)
    leaves: dict[str, Any] = {}
    rows: list[Row] = []
    for tensor in layout.tensors:
        is_reset = [any(tree.matches(pattern, path) for pattern in reset) for path in tensor.ours]
        source = names.pop(tensor.theirs, None)
        if all(is_reset) or (source is None and optional.issuperset(tensor.ours)):
            leaves |= {path: wanted[path] for path in tensor.ours}
            rows += [Row(path, source or "", RESET, tuple(wanted[path].shape)) for path in tensor.ours]
            continue
        if source is None:
            hint = suggest(tensor.theirs, names)
            raise FileError(where, f"has no tensor {tensor.theirs!r}, wanted for {', '.join(tensor.ours)}{hint}")
        for path, leaf, row in _read(tensor, where, source, file[source], wanted):
            leaves[path] = leaf
            rows.append(row)
    rows += _left_over(layout, where, file, names)
    missing = wanted.keys() - leaves.keys()
    assert not missing, f"the layout forgets {sorted(missing)}"
    return tree.unflatten({path: leaves[path] for path in wanted}), Report(tuple(rows))


def save(layout: Layout, variables: dict[str, Any]) -> dict[str, np.ndarray]:
    """Somebody else's tensors from our leaves; the inverse of `load`.

    Args:
      layout: of the format.
      variables: nested dict of arrays.

    Returns:
      Name to contiguous array.
    """
    leaves = {path: np.asarray(leaf) for path, leaf in tree.flatten(variables).items()}
    tensors = {t.theirs: t.write([leaves[path] for path in t.ours]) for t in layout.tensors}
    return tensors | {name: np.zeros((), np.int64) for name in layout.counters}


def _names(layout: Layout, where: Any, file: Mapping[str, Any]) -> dict[str, str]:
    """What the layout calls each tensor that counts, to its name in the file."""
    names: dict[str, str] = {}
    for name in file:
        spelled = layout.spelled(name)
        if spelled in layout.counters or any(tree.matches(pattern, spelled) for pattern in layout.buffers):
            continue
        if spelled in names:
            raise FileError(where, f"{names[spelled]!r} and {name!r} are two names of one tensor")
        names[spelled] = name
    return names


def _lacking(layout: Layout, names: Mapping[str, str]) -> set[str]:
    """The leaves of those patterns of `may_lack` of which the file holds nothing."""
    found: set[str] = set()
    for pattern in layout.may_lack:
        of_pattern = [t for t in layout.tensors if any(tree.matches(pattern, path) for path in t.ours)]
        if not any(tensor.theirs in names for tensor in of_pattern):
            found |= {path for tensor in of_pattern for path in tensor.ours if tree.matches(pattern, path)}
    return found


def _read(
    tensor: Tensor, where: Any, source: str, value: np.ndarray, wanted: Mapping[str, Any]
) -> list[tuple[str, np.ndarray, Row]]:
    if not (np.issubdtype(value.dtype, np.floating) or value.dtype.name == "bfloat16"):
        raise FileError(where, f"tensor {source!r} is {value.dtype}, expected floating-point numbers")
    what = "copied" if value.dtype == np.float32 else f"{value.dtype.name} to float32"
    try:
        parts = tensor.read(value.astype(np.float32, copy=False))
    except EinopsError:
        parts = []
    shapes = [tuple(wanted[path].shape) for path in tensor.ours]
    if len(parts) != len(shapes):
        raise _misshapen(tensor, where, source, value, shapes)
    found = []
    for path, leaf, shape in zip(tensor.ours, parts, shapes, strict=True):
        said = what
        if leaf.shape != shape:
            if tensor.resize is None or leaf.ndim != len(shape):
                raise _misshapen(tensor, where, source, value, shapes)
            said, leaf = f"resized from {'×'.join(map(str, leaf.shape))}", tensor.resize(leaf, shape)
        if leaf.shape != shape:
            raise _misshapen(tensor, where, source, value, shapes)
        found.append((path, np.asarray(leaf, np.float32, order="C"), Row(path, source, said, shape)))
    return found


def _misshapen(tensor: Tensor, where: Any, source: str, value: np.ndarray, shapes: list[tuple[int, ...]]) -> FileError:
    return FileError(
        where, f"tensor {source!r} has shape {value.shape}, which does not make {tensor.ours[0]!r} of {shapes[0]}"
    )


def _left_over(layout: Layout, where: Any, file: Mapping[str, Any], names: Mapping[str, str]) -> list[Row]:
    """Rows for what the model has no place for, or an error naming it."""
    rows = []
    tied = dict(layout.tied)
    read = {layout.spelled(name): name for name in file}
    for spelled, name in names.items():
        value = file[name]
        if spelled in tied and tied[spelled] in read:
            if not np.array_equal(value, file[read[tied[spelled]]]):
                raise FileError(where, f"tensor {name!r} should equal {read[tied[spelled]]!r}, to which it is tied")
            continue
        if not any(tree.matches(pattern, spelled) for pattern in layout.unused):
            raise FileError(where, f"has a tensor {name!r} that the model has no place for")
        rows.append(Row("", name, LEFT_OUT, tuple(value.shape)))
    return rows

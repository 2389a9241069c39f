"""Axes of a sweep as code: points of settings, and the blocks of a config that they become.

A point is a dict of dotted field names to values, such as `{"method.rank": 8, "lr": (1e-3,)}`. The functions below make
lists of points, which are plain lists: `+` puts two after one another, a comprehension leaves some out.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from tlx.errors import TlxError

Point = dict[str, Any]
Axes = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Named:
    """A value with a short name, for one that makes no good name itself, such as a pattern.

    Args:
      name: letters, digits, `_` and `-`.
      value: what the field gets.
    """

    name: str
    value: Any


def product(axes: Axes) -> list[Point]:
    """Every combination.

    Args:
      axes: field to its values.

    Returns:
      Points; the last axis changes fastest.

    Raises:
      TlxError: an axis has no values.

    >>> product({"method.rank": (2, 8), "lr": ((1e-3,),)})
    [{'method.rank': 2, 'lr': (0.001,)}, {'method.rank': 8, 'lr': (0.001,)}]
    """
    _check(axes)
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def zipped(axes: Axes) -> list[Point]:
    """The first value of each axis together, then the second of each, and so on.

    Args:
      axes: field to its values.

    Returns:
      As many points as each axis has values.

    Raises:
      TlxError: the axes differ in length, or have no values.

    >>> zipped({"method.rank": (2, 8), "method.alpha": (4.0, 16.0)})
    [{'method.rank': 2, 'method.alpha': 4.0}, {'method.rank': 8, 'method.alpha': 16.0}]
    """
    _check(axes)
    lengths = {name: len(values) for name, values in axes.items()}
    if len(set(lengths.values())) > 1:
        raise TlxError(f"zipped axes of {', '.join(f'{size} ({name})' for name, size in lengths.items())} values")
    return [dict(zip(axes, values, strict=True)) for values in zip(*axes.values(), strict=True)]


def cross(*points: Iterable[Point]) -> list[Point]:
    """Every point of one list with every point of the others.

    Args:
      *points: lists whose points have no field in common.

    Returns:
      The points; those of the last list change fastest.

    Raises:
      TlxError: two lists set the same field.
    """
    made = []
    for parts in itertools.product(*map(list, points)):
        names = [name for part in parts for name in part]
        if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
            raise TlxError(f"axis {twice!r} stands here twice")
        made.append({name: value for part in parts for name, value in part.items()})
    return made


def when(points: Iterable[Point], holds: Callable[[Point], bool], axes: Axes) -> list[Point]:
    """An axis that only some points have.

    Args:
      points: as they are.
      holds: whether a point has it; sees the values, not their names.
      axes: field to its values, in every combination.

    Returns:
      The points in their order, those that have the axis once for each of its values.

    Raises:
      TlxError: an axis has no values, or a point has the field already.

    >>> when(product({"rank": (0, 4)}), lambda point: point["rank"] > 0, {"alpha": (1, 2)})
    [{'rank': 0}, {'rank': 4, 'alpha': 1}, {'rank': 4, 'alpha': 2}]
    """
    more = product(axes)
    return [made for point in points for made in (cross([point], more) if holds(values(point)) else [point])]


def values(point: Point) -> Point:
    """A point with each `Named` value as the value itself."""
    return {name: value.value if isinstance(value, Named) else value for name, value in point.items()}


def blocks(prefix: str, base: Mapping[str, Any], points: Iterable[Point]) -> dict[str, dict[str, Any]]:
    """A named block for each point, as `config.adapt`, `config.sources` and `config.targets` hold them.

    Args:
      prefix: what all names begin with.
      base: the fields that all blocks share, nested.
      points: what they differ in.

    Returns:
      Name to block. A name tells every field of its point, `lora_rank8_all`: names are part of what a cell is, so a
      sweep that grows keeps the records it has.

    Raises:
      TlxError: two points get one name, or a field of a point lies below a value.

    >>> blocks("lora", {"lr": (1e-3,), "method": {"name": "lora"}}, product({"method.rank": (2, 8)}))["lora_rank8"]
    {'lr': (0.001,), 'method': {'name': 'lora', 'rank': 8}}
    """
    made: dict[str, dict[str, Any]] = {}
    for point in points:
        name = "_".join([prefix, *(_said(field, value) for field, value in point.items())])
        if not re.fullmatch(r"\w[\w-]*", name):
            raise TlxError(f"{name!r} is no name: expected letters, digits, '_' and '-'")
        if name in made:
            raise TlxError(f"two points are called {name!r}; give a value a name with Named(NAME, VALUE)")
        made[name] = _with(base, values(point))
    return made


def _said(field: str, value: Any) -> str:
    """A field's value as a part of a name: its own name, or what of it can stand there, numbers after their field."""
    if isinstance(value, Named):
        return value.name
    text = format(value, "g") if isinstance(value, float) else str(value)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", text.replace(".", "p") if isinstance(value, float) else text).strip("-")
    return f"{field.rpartition('.')[2]}{slug}" if isinstance(value, int | float) else slug


def _with(base: Mapping[str, Any], point: Point) -> dict[str, Any]:
    block: dict[str, Any] = deepcopy(dict(base))
    for path, value in point.items():
        *parents, field = path.split(".")
        node = block
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise TlxError(f"{path!r} lies below {parent!r}, which is a value")
        node[field] = value
    return block


def _check(axes: Axes) -> None:
    for name, choices in axes.items():
        if not choices or isinstance(choices, str):
            raise TlxError(f"axis {name!r}: expected a sequence of values, got {choices!r}")

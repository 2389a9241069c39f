"""The units of a study shared out among processes that do not talk to one another."""

from collections.abc import Sequence
from dataclasses import dataclass

from tlx import atomic
from tlx.errors import TlxError
from tlx.study.plan import Unit
from tlx.study.spec import Source


@dataclass(frozen=True)
class Shard:
    """Which share of a study a process takes.

    Args:
      index: from 1.
      count: of all shares.
    """

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@dataclass(frozen=True)
class Share:
    """What one process does.

    Args:
      units: in the study's order.
      sources: which it pre-trains if nobody has; who needs one of the others does that last, and waits.
    """

    units: tuple[Unit, ...]
    sources: frozenset[Source]


def parse_shard(text: str) -> Shard:
    """A share as the user names it.

    Args:
      text: `I/N`.

    Raises:
      TlxError: it is of another form, or there is no such share.
    """
    index, slash, count = text.partition("/")
    plain = all(part.isascii() and part.isdecimal() and len(part) < 7 for part in (index, count))
    if not slash or not plain or not 1 <= int(index) <= int(count):
        raise TlxError(f"--shard: expected I/N with I from 1 to N, such as 2/4, got {text!r}")
    return Shard(int(index), int(count))


def share_of(units: Sequence[Unit], shard: Shard) -> Share:
    """One of the shares that together are all units, each once: the longest unit first, to whoever has least to do.

    Args:
      units: of the study; the answer depends on nothing else, so that all processes agree without a word.
      shard: which share.

    Returns:
      The share; empty where there are more shares than units.

    Source: R. L. Graham (1969), Bounds on multiprocessing timing anomalies: the longest-processing-time rule.
    """
    load = [0] * shard.count
    taken: dict[str, int] = {}
    owner: dict[Source, int] = {}
    for unit in sorted(units, key=lambda unit: (-_length(unit), unit.id)):
        least = load.index(min(load))
        load[least] += _length(unit)
        taken[unit.id] = least
        if unit.first.source is not None:
            owner.setdefault(unit.first.source, least)
    mine = shard.index - 1
    return Share(
        tuple(unit for unit in units if taken[unit.id] == mine),
        frozenset(source for source, who in owner.items() if who == mine),
    )


def units_of(units: Sequence[Unit], cell: str) -> tuple[Unit, ...]:
    """What must be run for a single cell.

    Args:
      units: of the study.
      cell: id of the cell, or the beginning of it.

    Raises:
      TlxError: no cell begins like this, or several do.
    """
    found = {each.id: unit for unit in units for each in unit.cells if each.id.startswith(cell)}
    if len(found) != 1:
        many = f"{len(found)} cells begin with it" if found else "the study has no such cell"
        raise TlxError(f"--cell: expected the id of a cell, got {cell!r}: {many}")
    return tuple(found.values())


def plan_digest(units: Sequence[Unit]) -> str:
    """The same for all processes that lay a study out alike."""
    return atomic.digest_json([unit.id for unit in units])


def _length(unit: Unit) -> int:
    """Train steps, which is what shares are balanced by."""
    return unit.steps

"""Lines of a table in groups by source, target and budget."""

from collections.abc import Callable, Sequence
from typing import Protocol

from tlx.report import wording


class Placed(Protocol):
    """What belongs to a source, a target and a budget."""

    @property
    def source(self) -> str | None:
        """What the weights come from, None for random ones."""

    @property
    def target(self) -> str:
        """What is measured."""

    @property
    def budget(self) -> int:
        """Number of target labels."""


def grouped[P: Placed](
    found: Sequence[P], line: Callable[[P], tuple[str, ...]]
) -> tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]:
    """The groups of a `Table`.

    Args:
      found: in the order of their lines; groups come in the order of their first.
      line: what is said of one.
    """
    groups: dict[str, list[tuple[str, ...]]] = {}
    for one in found:
        pair = one.target if one.source is None else f"{one.source} → {one.target}"
        groups.setdefault(f"{pair}, {wording.labels(one.budget)}", []).append(line(one))
    return tuple((title, tuple(lines)) for title, lines in groups.items())

"""A colour for each entry, the same in every chart of a report."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tlx.report.summary import Row

# Okabe and Ito 2008 without yellow, which white paper swallows, then two of Tol 2021.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#999933")
_DASHES = ((), (7, 3), (2, 3))  # a ninth entry has the first one's colour
_RANDOM = {"scratch": "#000000", "random-frozen": "#8a8a8a"}


@dataclass(frozen=True)
class Mark:
    """How one entry is drawn.

    Args:
      name: what it is called.
      colour: as `#rrggbb`.
      dash: lengths of strokes and gaps of its lines, () for a line without gaps.
    """

    name: str
    colour: str
    dash: tuple[int, ...]


Palette = Mapping[str, Mark]


def palette(rows: Iterable[Row]) -> Palette:
    """A mark for each entry, by its name; give the rows of all studies, so that all charts agree."""
    made: dict[str, Mark] = {}
    turn = 0
    for row in rows:
        if row.name not in made:
            lap, place = divmod(turn, len(_COLOURS))
            dash = (4, 3) if row.arm in _RANDOM else _DASHES[lap % len(_DASHES)]
            made[row.name] = Mark(row.name, _RANDOM.get(row.arm) or _COLOURS[place], dash)
            turn += row.arm not in _RANDOM
    return made

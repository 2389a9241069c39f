"""How many seeds it would take to know a gain as closely as wanted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tlx.measure.seeds_needed import seeds_for_width
from tlx.measure.stats import FEWEST
from tlx.measure.variance import deviation_interval
from tlx.report import wording
from tlx.report.places import Place, grouped
from tlx.report.table import Table


@dataclass(frozen=True)
class Wanted:
    """How many seeds would make an interval as narrow as wanted.

    Args:
      place: whose gain.
      deviation: standard deviation of its gains over seeds, a share.
      seeds: that would do, if this were the true deviation.
      fewest: that would do at the lower end of the deviation's 95 % interval.
      most: at its upper end.
    """

    place: Place
    deviation: float
    seeds: int
    fewest: int
    most: int


def seeds_wanted(places: Iterable[Place], points: float = 1.0) -> list[Wanted]:
    """How many seeds would give each gain to within some points, at 95 %.

    Args:
      places: as `places.places` gives them; those with fewer than 3 paired seeds are left out.
      points: half the length of the interval, in percentage points, above 0.
    """
    found = []
    for place in places:
        gains = list(place.gains.values())
        if len(gains) >= FEWEST:
            deviation = float(np.std(gains, ddof=1))
            ends = (deviation, *deviation_interval(gains))
            found.append(Wanted(place, deviation, *(seeds_for_width(end, points / 100) for end in ends)))
    return found


def wanted_table(found: Sequence[Wanted], points: float = 1.0) -> Table:
    """One line for each gain, in groups by target and budget; `points` as for `seeds_wanted`."""
    by_place = {id(one.place): one for one in found}
    groups = []
    for where, there in grouped(one.place for one in found).items():
        lines = []
        for one in (by_place[id(place)] for place in there):
            span = wording.span((one.fewest, one.most), lambda count: f"{count:.0f}")
            scatter = f"{100 * one.deviation:.1f}"
            lines.append((one.place.way, str(len(one.place.gains)), scatter, str(one.seeds), span))
        groups.append((where, tuple(lines)))
    head = ("Method", "Seeds now", "Scatter of gains, points", f"Seeds for ±{points:g}", "95 % range")
    return Table(head, tuple(groups))


def wanted_sentence(found: Sequence[Wanted], points: float = 1.0) -> str:
    """The gain that would take the most seeds, and how uncertain that number is."""
    if not found:
        return "No gain has the three seeds it takes to say how many more are needed."
    worst = max(found, key=lambda one: one.seeds)
    unit = "point" if points == 1 else "points"
    where = f"{worst.place.way} on {worst.place.where}"
    range_ = f"anything from {worst.fewest} to {worst.most} agrees with its {len(worst.place.gains)} seeds"
    enough = sum(one.seeds <= len(one.place.gains) for one in found)
    return (
        f"{enough} of {len(found)} gains are known to within ±{points:g} {unit} or have the seeds for it; "
        f"the widest, {where}, would take about {worst.seeds} seeds ({range_})."
    )

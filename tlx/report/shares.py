"""How much of the best source's benefit the other sources bring."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tlx.measure.normalised import normalised_gain
from tlx.measure.pairing import Record, pair
from tlx.measure.stats import Interval
from tlx.report import wording
from tlx.report.table import Table

NOTE = (
    "Share: gain of a source over that of the best one, a ratio of means over seeds that all sources have; – where the "
    "best is not two standard errors above scratch. The best is chosen by the same scores, so that the other shares "
    "are, if anything, too low. Intervals cover 95 %: Fieller's for 3 to 9 seeds, the bootstrap of both means "
    "together from 10, none below 3."
)


@dataclass(frozen=True)
class Share:
    """One source beside the best one.

    Args:
      source: what the weights come from.
      target: what is measured.
      entry: name of the method in the study.
      budget: number of target labels.
      best: the source with the highest mean score.
      share: of its gain that this one has.
    """

    source: str
    target: str
    entry: str
    budget: int
    best: str
    share: Interval


def shares(records: Iterable[Record]) -> list[Share]:
    """Every source beside the best one of its target, method and budget.

    Args:
      records: of one study, any order.

    Returns:
      Of each target, method and budget with two sources or more that have finished in the same seeds.

    Raises:
      PairingError: if two records are of the same cell.
    """
    places: dict[tuple[str, str, int], dict[str, dict[int, tuple[float, float]]]] = {}
    for made in pair(records):
        cell = made.record["cell"]
        if cell["arm"] == "transfer" and made.gain is not None and made.scratch is not None:
            of_source = places.setdefault((cell["target"], cell["entry"], cell["budget"]), {})
            both = made.record["result"]["test_score"], made.scratch["result"]["test_score"]
            of_source.setdefault(cell["source"], {})[cell["seed"]] = both
    found = []
    for (target, entry, budget), sources in places.items():
        seeds = sorted(set.intersection(*(set(mine) for mine in sources.values())))
        if len(sources) > 1 and seeds:
            score = {name: np.array([mine[seed][0] for seed in seeds]) for name, mine in sources.items()}
            scratch = np.array([next(iter(sources.values()))[seed][1] for seed in seeds])
            best = max(score, key=lambda name: float(score[name].mean()))
            found += [
                Share(name, target, entry, budget, best, normalised_gain(mine, scratch, score[best]))
                for name, mine in score.items()
            ]
    return found


def share_table(found: Sequence[Share]) -> Table | None:
    """One line for each source, in groups by target, method and budget; `NOTE` explains it. None without any."""
    groups = []
    for place in dict.fromkeys((one.target, one.entry, one.budget) for one in found):
        here = [one for one in found if (one.target, one.entry, one.budget) == place]
        title = f"{place[0]}, {place[1]}, {wording.labels(place[2])}: best is {here[0].best}"
        groups.append((title, tuple(_line(one) for one in here if one.source != one.best)))
    return Table(("Source", "Share of its gain, %", "Seeds"), tuple(groups)) if groups else None


def _line(one: Share) -> tuple[str, ...]:
    said = wording.UNKNOWN if math.isnan(one.share.mean) else wording.gain(one.share)
    return one.source, said, str(one.share.n)

"""What the scatter over seeds comes from, as far as records can tell."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tlx.measure.pairing import Record, pair
from tlx.measure.resampling import nested_interval
from tlx.measure.stats import FEWEST, Interval
from tlx.measure.variance import nested_components, variance_components
from tlx.report import wording
from tlx.report.places import Place, grouped
from tlx.report.table import Table

ONE_SEED = (
    "A seed decides the labelled subset, the initial head, the order of the batches and what ops and dropout draw, all "
    "together, and is the same in every arm. These records therefore cannot tell how much of the scatter comes from "
    "which; they can tell how much of it all arms share, which pairing removes."
)


@dataclass(frozen=True)
class Shared:
    """How much of the scatter over seeds the arms of one target and budget have in common.

    Args:
      where: target and budget.
      seeds: that all of its arms have.
      ways: number of arms, sources and methods.
      shared: variance of what a seed adds to all of them alike; below 0 at times where it adds nothing.
      own: variance of what is left, for each alone.
    """

    where: str
    seeds: int
    ways: int
    shared: float
    own: float

    @property
    def share(self) -> float:
        """The shared part of the variance, 0 to 1, which pairing by seed removes; NaN if there is no scatter."""
        whole = max(0.0, self.shared) + max(0.0, self.own)
        return max(0.0, self.shared) / whole if whole > 0 else math.nan


def shared_scatter(places: Iterable[Place]) -> list[Shared]:
    """Split the variance over seeds into what all arms share and what is each arm's own.

    Seeds and arms are crossed; only seeds are counted that every arm has a result for, and arms without any result
    are left out.

    Args:
      places: as `places.places` gives them.

    Returns:
      One for each target and budget with at least 3 such seeds and 2 arms.
    """
    found = []
    for where, there in grouped(places).items():
        ways = [place.scores for place in there if place.scores]
        seeds = sorted(set.intersection(*(set(scores) for scores in ways))) if ways else []
        if len(ways) >= 2 and len(seeds) >= FEWEST:
            scores = [[scores[seed] for scores in ways] for seed in seeds]
            seed, _, rest = variance_components(scores, ("seed", "way"))
            found.append(Shared(where, len(seeds), len(ways), seed.variance, rest.variance))
    return found


def shared_table(found: Sequence[Shared]) -> Table:
    """One line for each target and budget; `ONE_SEED` belongs below it."""
    lines = tuple(
        (one.where, str(one.seeds), str(one.ways), _spread(one.shared), _spread(one.own), wording.percent(one.share))
        for one in found
    )
    head = (
        "Target",
        "Seeds",
        "Arms",
        "Shared scatter, points",
        "Own scatter, points",
        "Share of variance that is shared",
    )
    return Table(head, (("", lines),) if lines else ())


@dataclass(frozen=True)
class Retrained:
    """The gain from a source that was trained several times, from other seeds.

    Args:
      sources: names of its checkpoints.
      target: what is measured.
      entry: name of the arm or method.
      budget: number of target labels.
      gain: mean over checkpoints, with an interval that counts them; none below 3.
      between: variance of gains from one checkpoint to another, below 0 at times where they differ little.
      within: variance over the seeds of one checkpoint.
    """

    sources: tuple[str, ...]
    target: str
    entry: str
    budget: int
    gain: Interval
    between: float
    within: float


def retrained_sources(records: Iterable[Record]) -> list[Retrained]:
    """Sources that differ in nothing but their seed, taken together as checkpoints of one.

    Args:
      records: of one study, any order.

    Returns:
      One for each such source, target, entry and budget that has two checkpoints with a gain, and one with two.

    Raises:
      PairingError: if there are two records of one cell.
    """
    groups: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    for made in pair(records):
        cell, source = made.record["cell"], made.record["config"].get("source")
        if made.gain is not None and source and "seed" in source:
            recipe = {name: value for name, value in source.items() if name not in ("name", "seed")}
            key = (json.dumps(recipe, sort_keys=True), cell["target"], cell["entry"], cell["budget"])
            groups.setdefault(key, {}).setdefault(cell["source"], []).append(made.gain)
    found = []
    for (_, target, entry, budget), gains in sorted(groups.items()):
        if len(gains) > 1 and max(map(len, gains.values())) > 1:
            names = tuple(sorted(gains))
            lists = [gains[name] for name in names]
            between, within = nested_components(lists)
            found.append(Retrained(names, target, entry, budget, nested_interval(lists), between, within))
    return found


def retrained_table(found: Sequence[Retrained]) -> Table:
    """One line for each source that was trained more than once."""
    lines = tuple(
        (
            f"{one.entry} from {wording.listing(one.sources)} on {one.target}, {wording.labels(one.budget)}",
            wording.gain(one.gain),
            _spread(one.between),
            _spread(one.within),
        )
        for one in found
    )
    head = ("Method", "Gain over checkpoints, points", "Scatter of checkpoints, points", "Scatter of seeds, points")
    return Table(head, (("", lines),) if lines else ())


def _spread(variance: float) -> str:
    """A variance as a standard deviation in points."""
    return f"{100 * math.sqrt(max(0.0, variance)):.1f}"

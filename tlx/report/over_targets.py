"""Ways of adapting over all targets together: their middle gain, and their ranks."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tlx.measure.iqm import iqm_interval
from tlx.measure.ranks import Friedman, critical_difference, friedman
from tlx.measure.stats import Interval
from tlx.report import wording
from tlx.report.places import Place
from tlx.report.table import Table

IQM_NOTE = (
    "IQM: mean of the middle half of all runs of all targets, with a 95 % interval by the stratified bootstrap over "
    "seeds within each target. Nothing is averaged where a target has no run."
)
_RESAMPLES = 1999
_FEWEST_TASKS = 5  # data sets below which chi-squared does not describe Friedman's statistic


@dataclass(frozen=True)
class Middle:
    """The interquartile means of one way of adapting over targets.

    Args:
      way: as `Place.way`.
      budget: number of target labels.
      metric: of the scores, `accuracy` or `r2`.
      score: of the runs' scores; `n` counts runs, and there is no mean where a target has none.
      gain: of the paired gains; None for scratch.
      targets: with a run.
      targets_expected: that the study plans for this way.
      runs_expected: likewise.
    """

    way: str
    budget: int
    metric: str
    score: Interval
    gain: Interval | None
    targets: int
    targets_expected: int
    runs_expected: int


def middles(places: Iterable[Place]) -> list[Middle]:
    """The interquartile mean of each way of adapting at each budget, over its targets.

    Args:
      places: as `places.places` gives them.

    Returns:
      By budget, then in the order given; targets of another metric are a way of their own. Empty for one target.
    """
    groups: dict[tuple[int, str, str], list[Place]] = {}
    for place in places:
        groups.setdefault((place.row.budget, place.way, place.row.metric), []).append(place)
    found = []
    for (budget, way, metric), there in sorted(groups.items(), key=lambda item: item[0][0]):
        if len(there) > 1:
            scores = [list(place.scores.values()) for place in there]
            gains = [list(place.gains.values()) for place in there]
            found.append(
                Middle(
                    way=way,
                    budget=budget,
                    metric=metric,
                    score=_middle(scores),
                    gain=None if there[0].row.gain is None else _middle(gains),
                    targets=sum(bool(runs) for runs in scores),
                    targets_expected=len(there),
                    runs_expected=sum(place.row.seeds_expected for place in there),
                )
            )
    return found


def middle_table(found: Sequence[Middle]) -> Table:
    """One line for each way, in groups by budget; `IQM_NOTE` explains it."""
    groups = []
    for budget in dict.fromkeys(one.budget for one in found):
        lines = tuple(
            (
                one.way,
                _or_unknown(one.score, wording.score),
                "" if one.gain is None else _or_unknown(one.gain, wording.gain),
                f"{one.targets}/{one.targets_expected}",
                f"{one.score.n}/{one.runs_expected}",
            )
            for one in found
            if one.budget == budget
        )
        groups.append((wording.labels(budget), lines))
    return Table(("Method", "IQM of scores, %", "IQM of gains, points", "Targets", "Runs"), tuple(groups))


@dataclass(frozen=True)
class Ranked:
    """Ranks of ways over the targets that all of them have a result for.

    Args:
      budget: number of target labels.
      ways: as `Place.way`.
      test: Friedman's, with the mean ranks of the ways.
      critical: Nemenyi's critical difference at 0.05: mean ranks that are further apart differ.
    """

    budget: int
    ways: tuple[str, ...]
    test: Friedman
    critical: float


def ranked(places: Iterable[Place]) -> list[Ranked]:
    """Rank all ways of adapting by their mean score on each target.

    Args:
      places: as `places.places` gives them.

    Returns:
      One for each budget with at least 3 ways and 5 targets that all of them have a result for; ways without any
      result are left out.
    """
    given = list(places)
    found = []
    for budget in sorted({place.row.budget for place in given}):
        scores: dict[str, dict[str, float]] = {}
        for place in given:
            if place.row.budget == budget and place.scores:
                scores.setdefault(place.way, {})[place.row.target] = place.row.score.mean
        shared = sorted(set.intersection(*(set(means) for means in scores.values()))) if scores else []
        if len(scores) >= 3 and len(shared) >= _FEWEST_TASKS:
            test = friedman([[means[target] for means in scores.values()] for target in shared])
            found.append(Ranked(budget, tuple(scores), test, critical_difference(len(scores), len(shared))))
    return found


def rank_table(found: Sequence[Ranked]) -> Table:
    """Mean ranks, the best first, in groups by budget with the test in the heading."""
    groups = []
    for one in found:
        order = np.argsort(one.test.mean_ranks, kind="stable")
        lines = tuple((one.ways[place], f"{one.test.mean_ranks[place]:.2f}") for place in order)
        heading = (
            f"{wording.labels(one.budget)}: {one.test.tasks} targets, Friedman's p {one.test.p:.2g}, ranks differ from "
            f"{one.critical:.2f} apart (Nemenyi)"
        )
        groups.append((heading, lines))
    return Table(("Method", "Mean rank"), tuple(groups))


def _middle(runs_TR: Sequence[Sequence[float]]) -> Interval:
    count = sum(map(len, runs_TR))
    if not all(runs_TR):
        return Interval(math.nan, math.nan, math.nan, count, "none")
    return iqm_interval(runs_TR, np.random.default_rng(0), resamples=_RESAMPLES)


def _or_unknown(value: Interval, say: Callable[[Interval], str]) -> str:
    return wording.UNKNOWN if math.isnan(value.mean) else say(value)

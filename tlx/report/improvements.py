"""How likely one way of adapting is to beat another, over all tasks of a study."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tlx.measure.improvement import Verdict, improvement_interval, pairs_needed, verdict
from tlx.measure.stats import Interval
from tlx.report import wording
from tlx.report.places import Place
from tlx.report.table import Table

NOTE = (
    "Chance that a run of the row scores higher than a run of the column on the same task, mean over tasks, with a "
    "95 % interval. A task is a source and a target, or a target alone where one of the two has no source; runs of all "
    f"sources count then. * marks a chance above 0.5 that may exceed 0.75 (Bouthillier et al. 2021), for which "
    f"{pairs_needed()} runs of each are recommended. Tasks in brackets where some are missing."
)


@dataclass(frozen=True)
class Improvement:
    """One way of adapting against another.

    Args:
      first: name of an entry of the study.
      second: name of another.
      budget: number of target labels.
      probability: that a run of the first beats one of the second; `n` counts tasks with runs of both.
      tasks_expected: tasks that the study plans for both.
    """

    first: str
    second: str
    budget: int
    probability: Interval
    tasks_expected: int

    @property
    def verdict(self) -> Verdict:
        """Whether the first may be preferred."""
        return verdict(self.probability)


def improvements(places: Iterable[Place]) -> list[Improvement]:
    """Every entry against every other, at each budget.

    Args:
      places: as `places.places` gives them.

    Returns:
      By budget, then in the order of the entries, both ways round.
    """
    given = list(places)
    found = []
    for budget in sorted({place.row.budget for place in given}):
        there: dict[str, list[Place]] = {}
        for place in given:
            if place.row.budget == budget:
                there.setdefault(place.row.name, []).append(place)
        for first, ours in there.items():
            for second, theirs in there.items():
                if first != second:
                    found.append(_improvement(first, second, budget, ours, theirs))
    return found


def improvement_table(found: Sequence[Improvement]) -> Table:
    """A square for each budget, rows against columns; `NOTE` explains it."""
    names = list(dict.fromkeys(one.first for one in found))
    cells = {(one.budget, one.first, one.second): _said(one) for one in found}
    groups = []
    for budget in dict.fromkeys(one.budget for one in found):
        lines = tuple(
            (
                first,
                *("" if first == second else cells.get((budget, first, second), wording.UNKNOWN) for second in names),
            )
            for first in names
        )
        groups.append((wording.labels(budget), lines))
    return Table(("Method", *names), tuple(groups))


def _improvement(first: str, second: str, budget: int, ours: Sequence[Place], theirs: Sequence[Place]) -> Improvement:
    apart = all(place.row.source is not None for place in (*ours, *theirs))
    mine, other = _runs(ours, apart), _runs(theirs, apart)
    planned = [task for task in mine if task in other]
    tasks = [task for task in planned if mine[task] and other[task]]
    if not tasks:
        return Improvement(first, second, budget, Interval(math.nan, math.nan, math.nan, 0, "none"), len(planned))
    probability = improvement_interval([mine[task] for task in tasks], [other[task] for task in tasks])
    return Improvement(first, second, budget, probability, len(planned))


def _runs(places: Sequence[Place], apart: bool) -> dict[tuple[str | None, str], list[float]]:
    """Scores by task; sources are told apart only where both sides have them."""
    runs: dict[tuple[str | None, str], list[float]] = {}
    for place in places:
        runs.setdefault((place.row.source if apart else None, place.row.target), []).extend(place.scores.values())
    return runs


def _said(one: Improvement) -> str:
    chance = one.probability
    if chance.n == 0:
        return wording.UNKNOWN
    ends = "" if chance.kind == "none" else f" [{chance.low:.2f}, {chance.high:.2f}]"
    mark = "*" if one.verdict == "significant and meaningful" else ""
    missing = "" if chance.n == one.tasks_expected else f" ({chance.n}/{one.tasks_expected})"
    return f"{chance.mean:.2f}{mark}{ends}{missing}"

"""What each way of starting is worth in target labels, from the label curves of scratch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tlx.measure.bound import BoundInterval
from tlx.measure.labels import equivalent_interval, ossified
from tlx.measure.pairing import Record, pair
from tlx.report import wording
from tlx.report.table import Table

NOTE = (
    "Worth: the labels with which scratch has the same score, read off its curve, which is made to never fall and is "
    "straight in log labels between the budgets; > and < where it lies beyond the largest or the smallest budget. "
    "Gained: the same minus the labels there were. Multiplier: how many labels one label is worth. Intervals cover "
    "95 % over the seeds that have a score in every budget of scratch: Student's distribution of means for 3 to 9 "
    "seeds, the bootstrap from 10, none below 3."
)

_Way = tuple[str | None, str, str, str]


@dataclass(frozen=True)
class Worth:
    """One way of starting and adapting, at one budget, in labels.

    Args:
      source: what the weights come from, None for random ones.
      target: what is measured.
      entry: name of the arm or method in the study.
      arm: `random-frozen` or `transfer`.
      budget: as the study calls it, in total or of each class.
      labels: there were in total.
      equivalent: labels that scratch needs for the same score.
    """

    source: str | None
    target: str
    entry: str
    arm: str
    budget: int
    labels: int
    equivalent: BoundInterval

    @property
    def gained(self) -> BoundInterval:
        """The effective data transferred, in labels: negative where the start does harm."""
        return self.equivalent.minus(self.labels)

    @property
    def multiplier(self) -> BoundInterval:
        """How many labels one label is worth."""
        return self.equivalent.times(1 / self.labels)


def worths(records: Iterable[Record]) -> list[Worth]:
    """What every way of starting is worth, at every budget.

    Args:
      records: of one study, any order.

    Returns:
      By target, source, entry and budget, in the order in which they first come; targets for which scratch has fewer
      than two budgets have no label curve and are left out, as are ways that share no complete seed with it, and
      records that must not be compared.

    Raises:
      PairingError: if two records are of the same cell.
    """
    given = [record for record in records if record["status"] == "ok"]
    refused = {made.record["id"] for made in pair(given) if made.refusal}
    given = [record for record in given if record["id"] not in refused]
    found = []
    for target in dict.fromkeys(record["cell"]["target"] for record in given):
        here = [record for record in given if record["cell"]["target"] == target]
        curve = _Curve([record for record in here if record["cell"]["arm"] == "scratch"])
        if len(curve.labels) > 1:
            ways: dict[_Way, list[Record]] = {}
            for record in here:
                if record["cell"]["arm"] != "scratch":
                    ways.setdefault(_way(record), []).append(record)
            for way, mine in ways.items():
                found += curve.worths(way, mine)
    return found


def worth_table(found: Sequence[Worth]) -> Table | None:
    """One line for each way of starting, in groups by source, target and budget; `NOTE` explains it.

    Args:
      found: from `worths`; without any there is no table.
    """
    groups = []
    for place in dict.fromkeys((one.source, one.target) for one in found):
        here = [one for one in found if (one.source, one.target) == place]
        for budget in sorted({one.budget for one in here}):
            title = f"{' → '.join(name for name in place if name is not None)}, {wording.labels(budget)}"
            groups.append((title, tuple(_line(one) for one in here if one.budget == budget)))
    head = ("Method", "Worth, labels", "Gained, labels", "Multiplier", "Seeds")
    return Table(head, tuple(groups)) if groups else None


def ossifications(found: Iterable[Worth]) -> list[Worth]:
    """Ways of starting from a source that are worth less than nothing at their largest budget.

    Args:
      found: from `worths`.

    Source: Hernandez et al. 2021, "Scaling laws for transfer" (ossification).
    """
    largest: dict[_Way, Worth] = {}
    for one in found:
        key = (one.source, one.target, one.entry, one.arm)
        if one.arm == "transfer" and (key not in largest or one.labels > largest[key].labels):
            largest[key] = one
    return [one for one in largest.values() if ossified(one.labels, one.equivalent)]


class _Curve:
    """The scores of scratch on one target: seeds by budgets."""

    def __init__(self, records: Sequence[Record]) -> None:
        scores = {(record["cell"]["seed"], _labels(record)): record["result"]["test_score"] for record in records}
        self.labels = sorted({labels for _, labels in scores})
        self.seeds = sorted({seed for seed, _ in scores})
        self.score_SB = np.array(
            [[scores.get((seed, labels), np.nan) for labels in self.labels] for seed in self.seeds]
        )

    def worths(self, way: _Way, records: Sequence[Record]) -> list[Worth]:
        """Those of one way of starting, by budget."""
        found = []
        for budget in sorted({record["cell"]["budget"] for record in records}):
            here = {record["cell"]["seed"]: record for record in records if record["cell"]["budget"] == budget}
            score_S = np.array([_score(here.get(seed)) for seed in self.seeds])
            whole = np.isfinite(score_S) & np.isfinite(self.score_SB).all(axis=1)
            if whole.any():
                equivalent = equivalent_interval(self.labels, self.score_SB, score_S)
                found.append(Worth(*way, budget, _labels(next(iter(here.values()))), equivalent))
        return found


def _way(record: Record) -> _Way:
    cell = record["cell"]
    return cell["source"], cell["target"], cell["entry"], cell["arm"]


def _labels(record: Record) -> int:
    return int(record["data"]["subset"]["examples"])


def _score(record: Record | None) -> float:
    return float(record["result"]["test_score"]) if record is not None else float("nan")


def _line(one: Worth) -> tuple[str, ...]:
    return one.entry, one.equivalent.text, one.gained.text, one.multiplier.text, str(one.equivalent.n)

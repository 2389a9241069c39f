"""After how many tasks a source's pre-training has paid for itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from tlx.measure.bound import Bound
from tlx.measure.pairing import Record, by_place
from tlx.measure.speed import break_even_tasks
from tlx.report import wording
from tlx.report.compute import pretraining_flops, training_flops
from tlx.report.table import Table

NOTE = (
    "Saved: training FLOPs of a scratch cell minus those of the paired one, both with all their trials. Break-even: "
    "after so many such tasks the source's pre-training has cost less than it saved; ∞ where nothing is saved, "
    "– where the mean score lies below that of scratch, which is then no saving. Cells train for equally many steps: "
    "that fewer of them would do for the score of scratch is not counted here."
)


@dataclass(frozen=True)
class BreakEven:
    """One way of adapting a source, at one budget.

    Args:
      source: what the weights come from.
      target: what is measured.
      entry: name of the method in the study.
      budget: number of target labels.
      pretraining: FLOPs of the source's pre-training.
      saved: FLOPs less than scratch that a cell took, the mean over seeds; negative if more.
      tasks: until the pre-training has paid; None where the score lies below that of scratch.
    """

    source: str
    target: str
    entry: str
    budget: int
    pretraining: float
    saved: float
    tasks: Bound | None


def break_evens(records: Sequence[Record]) -> list[BreakEven]:
    """Every way of adapting a source whose pre-training's FLOPs are known.

    Args:
      records: of one study, any order.

    Returns:
      In the order in which they first come; those without a pair that finished, or whose FLOPs nobody counted, are
      left out.

    Raises:
      PairingError: if two records are of the same cell.
    """
    before = pretraining_flops(records)
    found = []
    for place, pairs in by_place(records).items():
        if place[0] not in before:
            continue
        mine = [training_flops(made.record) for made in pairs]
        theirs = [training_flops(made.scratch) for made in pairs if made.scratch is not None]
        costs = [value for value in mine + theirs if value is not None]
        if len(costs) == 2 * len(pairs):
            ours, base = sum(costs[: len(pairs)]) / len(pairs), sum(costs[len(pairs) :]) / len(pairs)
            as_good = sum(made.gain for made in pairs if made.gain is not None) >= 0
            tasks = break_even_tasks(before[place[0]], Bound(base), Bound(ours)) if as_good else None
            found.append(BreakEven(*place, before[place[0]], base - ours, tasks))
    return found


def break_even_table(found: Sequence[BreakEven]) -> Table | None:
    """One line for each way and budget, in groups by source and target; `NOTE` explains it. None without any."""
    groups = []
    for source, target in dict.fromkeys((one.source, one.target) for one in found):
        here = [one for one in found if (one.source, one.target) == (source, target)]
        entries = list(dict.fromkeys(one.entry for one in here))
        here.sort(key=lambda one: (entries.index(one.entry), one.budget))
        lines = tuple(
            (
                one.entry,
                wording.labels(one.budget),
                wording.amount(one.saved),
                one.tasks.text if one.tasks else wording.UNKNOWN,
            )
            for one in here
        )
        cost = wording.amount(here[0].pretraining)
        groups.append((f"{source} → {target}, pre-training {cost} FLOPs", lines))
    head = ("Method", "Budget", "FLOPs saved per task", "Break-even, tasks")
    return Table(head, tuple(groups)) if groups else None

"""The table of the first screen: does it help, by how much, at what cost."""

from collections.abc import Sequence

from tlx.report import wording
from tlx.report.sentence import of_scratch
from tlx.report.summary import Comparison, Row, comparisons
from tlx.report.table import Table

_BUDGETS = 4  # columns of gains
_COSTS = ("Trained", "FLOPs", "Time")
PAIRS = 60  # lines of the table of pairs


def answer(rows: Sequence[Row]) -> Table:
    """The gains of each method where there is one source and target, else how often each helps.

    Args:
      rows: of a whole study, as `summarise` gives them.
    """
    made = comparisons(rows)
    return _of_one(made[0]) if len(made) == 1 else _of_several(rows)


def _of_one(made: Comparison) -> Table:
    budgets = shown(sorted({row.budget for row in made.rows}))
    head = ("Method", *(f"Gain, {wording.labels(budget)}" for budget in budgets), *_COSTS)
    lines = []
    for name in dict.fromkeys(row.name for row in made.rows):
        mine = [row for row in made.rows if row.name == name]
        at = {row.budget: row for row in mine}
        gains = (_gain(at.get(budget)) for budget in budgets)
        lines.append((name, *gains, *_costs(mine, made.rows)))
    return Table(head, (("", tuple(lines)),))


def _of_several(rows: Sequence[Row]) -> Table:
    """In how many pairs each method helps, and its largest and smallest gain; nothing is averaged over pairs."""
    head = ("Method", "Labels", "Pairs", "Helps", "Not clear", "Hurts", "Largest gain", "Smallest gain", *_COSTS)
    lines = []
    for name in dict.fromkeys(row.name for row in rows if row.arm != "scratch"):
        for budget in shown(sorted({row.budget for row in rows})):
            mine = [row for row in rows if (row.name, row.budget) == (name, budget)]
            found = [(row, row.gain) for row in mine if row.gain is not None and row.gain.n]
            if not found:
                continue
            helps, hurts = sum(gain.above_zero for _, gain in found), sum(gain.below_zero for _, gain in found)
            ends = (max(found, key=lambda one: one[1].mean), min(found, key=lambda one: one[1].mean))
            there = str(len(mine)) if len(found) == len(mine) else f"{len(found)}/{len(mine)}"
            counts = (there, str(helps), str(len(found) - helps - hurts), str(hurts))
            lines.append((name, str(budget), *counts, *(_gain(row) for row, _ in ends), *_costs(mine, rows)))
    return Table(head, (("", tuple(lines)),))


def pairs(made: Sequence[Comparison]) -> Table:
    """The method and budget with the largest gain of each pair.

    Args:
      made: all comparisons of a study; those beyond `PAIRS` are left out, and said to be.
    """
    head = ("Source → target", "Best method", "Labels", "Gain", *_COSTS)
    lines = []
    for one in made[:PAIRS]:
        found = [(row, row.gain.mean) for row in one.rows if row.arm == "transfer" and row.gain and row.gain.n]
        if found:
            row, _ = max(found, key=lambda pair: pair[1])
            lines.append((one.title, row.name, str(row.budget), _gain(row), *_costs([row], one.rows)))
        else:
            lines.append((one.title, *(wording.UNKNOWN for _ in head[1:])))
    left = len(made) - len(lines)
    more = ((f"and {left} more pairs, each under “Every pair”", ()),) if left else ()
    return Table(head, (("best of all methods and budgets, so rather too good", tuple(lines)), *more))


def _costs(rows: Sequence[Row], others: Sequence[Row]) -> tuple[str, ...]:
    shares = wording.span((row.trainable_share for row in rows), wording.percent)
    factors = dict.fromkeys(factor for row in rows if (factor := of_scratch(row, others)))
    return (
        shares,
        " to ".join(dict.fromkeys([*factors][:: max(1, len(factors) - 1)])) or wording.UNKNOWN,
        wording.span((row.wall_s for row in rows), wording.duration),
    )


def _gain(row: Row | None) -> str:
    if row is None:
        return wording.UNKNOWN
    return "baseline" if row.gain is None else wording.marked_gain(row)


def shown(budgets: Sequence[int]) -> list[int]:
    """The budgets there is room for: the lowest, the highest and some between them."""
    if len(budgets) <= _BUDGETS:
        return list(budgets)
    return [budgets[round(place * (len(budgets) - 1) / (_BUDGETS - 1))] for place in range(_BUDGETS)]

"""The answer in one sentence, no kinder than the intervals."""

from collections.abc import Iterable, Sequence

from tlx.measure.stats import Interval
from tlx.report.summary import Comparison, Row, comparisons
from tlx.report.wording import gain, labels, listing, percent

_Measured = tuple[Row, Interval]


def one_sentence(rows: Iterable[Row]) -> str:
    """Whether starting from the source helps, where most, and by how much.

    "Helps" needs an interval above zero; the best is the largest mean gain among those.

    Args:
      rows: of a whole study, as `summarise` gives them.

    Returns:
      One sentence, gains in percentage points over the paired scratch cells.
    """
    studied = [(made, found) for made in comparisons(rows) if (found := _measured(made))]
    if not studied:
        return "No answer yet: no transfer cell has a result together with its scratch cell."
    return _about_one(*studied[0]) if len(studied) == 1 else _about_several(studied)


def with_cost(rows: Sequence[Row]) -> str:
    """The same sentence, and what the row it speaks of costs.

    Args:
      rows: of a whole study, as `summarise` gives them.
    """
    said = one_sentence(rows)
    row = best(rows)
    if row is None or row.trainable_share is None:
        return said
    trains = "all" if row.trainable_share == 1 else percent(row.trainable_share) + " of the"
    cost = f"it trains {trains} parameters"
    factor = of_scratch(row, rows)
    flops = "as many FLOPs a step as scratch" if factor == "1×" else f"{factor} scratch’s FLOPs a step"
    return f"{said.removesuffix('.')}; {cost}{f' at {flops}' if factor else ''}."


def best(rows: Iterable[Row]) -> Row | None:
    """The row that the sentence speaks of; None where nothing has been measured."""
    found = [pair for made in comparisons(rows) for pair in _measured(made)]
    return _largest(_helping(found) or found)[0] if found else None


def of_scratch(row: Row, rows: Iterable[Row]) -> str:
    """A row's FLOPs of a step over those of scratch, e.g. `0.68×`; empty where one of them is unknown."""
    key = (row.target, row.budget)
    scratch = next((one for one in rows if one.arm == "scratch" and (one.target, one.budget) == key), None)
    if scratch is None or not row.step_flops or not scratch.step_flops:
        return ""
    factor = row.step_flops / scratch.step_flops
    return f"{factor:.2g}×" if factor >= 0.01 else "<0.01×"


def _about_one(made: Comparison, found: list[_Measured]) -> str:
    start, target = f"starting from {made.source}", made.target
    helping = _helping(found)
    row, best = _largest(helping or found)
    if helping:
        without = sorted({other.budget for other, _ in found} - {other.budget for other, _ in helping})
        unclear = f"; no clear gain at {listing(map(str, without))} labels" if without else ""
        where = f"best at {labels(row.budget)} is {row.name}"
        return f"S{start[1:]} helps on {target}: {where}, {_points(best)} over scratch{unclear}."
    where = f"{row.name} at {labels(row.budget)}, is {_points(best)} against scratch"
    if all(value.kind == "none" for _, value in found):
        seeds = f"{best.n} paired seed{'s' if best.n > 1 else ''}"
        return f"Too few seeds to say whether {start} helps on {target}: the best, {where}, from {seeds}."
    if all(value.below_zero for _, value in found):
        return f"S{start[1:]} hurts on {target}: even the best, {where}."
    return f"S{start[1:]} does not clearly help on {target}: the best, {where}."


def _about_several(studied: list[tuple[Comparison, list[_Measured]]]) -> str:
    count = sum(bool(_helping(found)) for _, found in studied)
    everything = [pair for _, found in studied for pair in found]
    row, best = _largest(_helping(everything) or everything)
    where = f"from {row.source} to {row.target} with {row.name} at {labels(row.budget)}, {_points(best)}"
    pairs = f"{len(studied)} source-target pairs"
    if count:
        return f"Transfer helps in {count} of {pairs}: most {where} over scratch."
    return f"Transfer does not clearly help in any of {pairs}: the best is {where} against scratch."


def _measured(made: Comparison) -> list[_Measured]:
    return [(row, row.gain) for row in made.rows if row.arm == "transfer" and row.gain and row.gain.n]


def _helping(found: list[_Measured]) -> list[_Measured]:
    return [pair for pair in found if pair[1].above_zero]


def _largest(found: list[_Measured]) -> _Measured:
    return max(found, key=lambda pair: pair[1].mean)


def _points(value: Interval) -> str:
    """E.g. `+29.1 points [24.9, 33.3]`."""
    mean, *ends = gain(value).split(" ", 1)
    return " ".join([mean, "points", *ends])

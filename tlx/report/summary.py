"""From the records of single cells to one row for each way of starting and adapting."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlx.measure.pairing import Pair, Record, pair, refusals
from tlx.measure.stats import Interval, interval

ARMS = ("scratch", "random-frozen", "transfer")
_Key = tuple[str | None, str, str, str, int]


@dataclass(frozen=True)
class Row:
    """The seeds of one cell, taken together.

    Args:
      source: what the weights come from, None for the random starts.
      target: what is measured.
      entry: name of the arm or method in the study.
      arm: `scratch`, `random-frozen` or `transfer`.
      budget: number of target labels.
      metric: what the score is, `accuracy` or `r2`.
      score: test accuracy or R² over the seeds that finished, at most 1.
      gain: test score minus that of the paired scratch seed; None for scratch itself.
      trainable_params: number of parameters that are trained; None without records, as for all costs.
      trainable_share: the same as a share of all parameters, 0 to 1.
      optimizer_bytes: size of the optimizer's state.
      step_flops: floating-point operations of one training step.
      cached_flops: floating-point operations spent once per example on cached features.
      wall_s: seconds for a cell with all its learning rates; None if unknown.
      seeds_done: seeds with a result.
      seeds_expected: seeds that the study plans.
      diverged: seeds that diverged, which no mean includes.
      refused: seeds whose scratch cell differs in more than the start, which the gain does not include.
    """

    source: str | None
    target: str
    entry: str
    arm: str
    budget: int
    metric: str
    score: Interval
    gain: Interval | None
    trainable_params: float | None
    trainable_share: float | None
    optimizer_bytes: float | None
    step_flops: float | None
    cached_flops: float | None
    wall_s: float | None
    seeds_done: int
    seeds_expected: int
    diverged: int
    refused: int = 0

    @property
    def name(self) -> str:
        """What to call the row where its source and target are known."""
        told = self.arm in ("transfer", self.entry.replace("_", "-"))
        return self.entry if told else f"{self.entry} ({self.arm})"


@dataclass(frozen=True)
class Comparison:
    """The rows of one source and one target, with the target's random starts.

    Args:
      source: name of the source; None if the target has only random starts.
      target: name of the target.
      rows: in the order of `summarise`.
    """

    source: str | None
    target: str
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """Source and target in a few words."""
        return f"{self.source} → {self.target}" if self.source is not None else self.target


def summarise(
    records: Iterable[Record], manifest: Mapping[str, Any], timings: Mapping[str, Mapping[str, Any]]
) -> list[Row]:
    """One row for each source, target, entry, arm and budget that the study plans.

    Args:
      records: any order; those of cells outside the manifest are left out.
      manifest: the study's `cells`, each with its `id` and `cell`.
      timings: by cell id, as far as known: `wall_s` in seconds.

    Returns:
      Rows by target, then budget, then scratch, random-frozen and the transfers, in the manifest's order.

    Raises:
      PairingError: if the manifest names a cell twice.
    """
    planned: dict[_Key, list[str]] = {}
    for item in manifest["cells"]:
        planned.setdefault(_key(item["cell"]), []).append(item["id"])
    ids = {item["id"] for item in manifest["cells"]}
    found = {record["id"]: record for record in records if record["id"] in ids}
    pairs = {made.record["id"]: made for made in pair(found.values())}
    targets = list(dict.fromkeys(target for _, target, *_ in planned))

    def rank(key: _Key) -> tuple[int, int, int]:
        return targets.index(key[1]), key[4], ARMS.index(key[3])

    # sorted() is stable: within an arm the manifest's order stays
    return [_row(key, planned[key], found, pairs, timings) for key in sorted(planned, key=rank)]


def comparisons(rows: Iterable[Row]) -> list[Comparison]:
    """Split rows by source and target; a target's random starts stand in each of its comparisons."""
    given = list(rows)
    made = []
    for target in dict.fromkeys(row.target for row in given):
        here = [row for row in given if row.target == target]
        for source in dict.fromkeys(row.source for row in here if row.source is not None) or [None]:
            mine = tuple(row for row in here if row.source in (None, source))
            made.append(Comparison(source, target, mine))
    return made


def _row(
    key: _Key,
    cells: Sequence[str],
    found: Mapping[str, Record],
    pairs: Mapping[str, Pair],
    timings: Mapping[str, Mapping[str, Any]],
) -> Row:
    source, target, entry, arm, budget = key
    there = [found[cell] for cell in cells if cell in found]
    done = [record for record in there if record["status"] == "ok"]
    costs = [record["cost"] for record in there]
    paired = [pairs[cell] for cell in cells if cell in pairs]
    differences = [gain for one in paired if (gain := one.gain) is not None]
    return Row(
        source=source,
        target=target,
        entry=entry,
        arm=arm,
        budget=budget,
        metric=next((record["result"]["metric"] for record in there), "accuracy"),
        score=interval([record["result"]["test_score"] for record in done]),
        gain=None if arm == "scratch" else interval(differences),
        trainable_params=_mean(cost["trainable_params"] for cost in costs),
        trainable_share=_mean(cost["trainable_params"] / cost["total_params"] for cost in costs),
        optimizer_bytes=_mean(cost["optimizer_bytes"] for cost in costs),
        step_flops=_mean(cost["step_flops"] for cost in costs),
        cached_flops=_mean(cost["cached_flops"] for cost in costs),
        wall_s=_mean(timings[cell].get("wall_s") for cell in cells if cell in timings),
        seeds_done=len(done),
        seeds_expected=len(cells),
        diverged=len(there) - len(done),
        refused=len(refusals(paired)),
    )


def _key(cell: Mapping[str, Any]) -> _Key:
    return cell["source"], cell["target"], cell["entry"], cell["arm"], cell["budget"]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None

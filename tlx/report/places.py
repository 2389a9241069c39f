"""What the seeds of each place in a study's grid came to, before anything is averaged."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tlx.measure.pairing import Record, pair
from tlx.report.summary import Row, summarise
from tlx.report.wording import labels


@dataclass(frozen=True)
class Place:
    """One source, target, entry and budget, with its seeds one by one.

    Args:
      row: the same, summarised.
      scores: test accuracy or R² by seed, of the seeds that have one.
      gains: test score minus that of the paired scratch seed, by seed, where both have one; empty for scratch.
    """

    row: Row
    scores: Mapping[int, float]
    gains: Mapping[int, float]

    @property
    def way(self) -> str:
        """How the target is reached, e.g. `lora from mnist`, `scratch`."""
        return self.row.name if self.row.source is None else f"{self.row.name} from {self.row.source}"

    @property
    def where(self) -> str:
        """What is measured, e.g. `digits, 20 labels`."""
        return f"{self.row.target}, {labels(self.row.budget)}"


def places(records: Iterable[Record], manifest: Mapping[str, Any], rows: Iterable[Row] | None = None) -> list[Place]:
    """Every place that a study plans, also those without a result.

    Args:
      records: any order; those of cells outside the manifest are left out.
      manifest: the study's `cells`, each with its `id` and `cell`.
      rows: what `summarise` said of them, where that is known; intervals of many cells take their time.

    Returns:
      In the order of `summarise`.

    Raises:
      PairingError: if there are two records of one cell.
    """
    planned = {item["id"] for item in manifest["cells"]}
    there = [record for record in records if record["id"] in planned]
    scores: dict[Any, dict[int, float]] = {}
    gains: dict[Any, dict[int, float]] = {}
    for record in there:
        if record["status"] == "ok":
            scores.setdefault(_key(record), {})[record["cell"]["seed"]] = record["result"]["test_score"]
    for made in pair(there):
        if made.gain is not None:
            gains.setdefault(_key(made.record), {})[made.record["cell"]["seed"]] = made.gain
    found = []
    for row in summarise(there, manifest, {}) if rows is None else rows:
        key = (row.source, row.target, row.entry, row.arm, row.budget)
        found.append(Place(row, _by_seed(scores.get(key, {})), _by_seed(gains.get(key, {}))))
    return found


def grouped(given: Iterable[Place]) -> dict[str, list[Place]]:
    """Places by target and budget, in the order given."""
    groups: dict[str, list[Place]] = {}
    for place in given:
        groups.setdefault(place.where, []).append(place)
    return groups


def _key(record: Record) -> tuple[Any, ...]:
    cell = record["cell"]
    return cell["source"], cell["target"], cell["entry"], cell["arm"], cell["budget"]


def _by_seed(values: Mapping[int, float]) -> dict[int, float]:
    return {seed: values[seed] for seed in sorted(values)}

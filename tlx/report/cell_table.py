"""Every planned cell on a line, to be sorted, filtered and made again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tlx.measure.pairing import Record
from tlx.report import wording
from tlx.report.results import Results

HEAD = (
    "Method",
    "Source",
    "Target",
    "Labels",
    "Seed",
    "State",
    "Rate",
    "Validation, %",
    "Test, %",
    "Gain",
    "Time, s",
    "Subset",
    "Cell",
)
# Columns that are numbers, and how many digits follow the point: None for as many as there are.
DIGITS: Mapping[int, int | None] = {3: 0, 4: 0, 6: None, 7: 1, 8: 1, 9: 1, 10: 1}
_SUBSET = 16  # hex digits of a digest: enough to compare by eye
Line = tuple[str | float | None, ...]


@dataclass(frozen=True)
class Unfinished:
    """A cell without a result.

    Args:
      state: `diverged`, `failed` or `missing`.
      where: the cell in words.
      reason: why, where that is known.
    """

    state: str
    where: str
    reason: str

    def line(self) -> str:
        """All of it in one line."""
        return f"{self.state}: {self.where}{f': {self.reason}' if self.reason else ''}"


def cell_lines(results: Results, gains: Mapping[str, float | None]) -> list[Line]:
    """One line for each planned cell: text, numbers, None for what is unknown.

    Args:
      results: of a study.
      gains: by cell id, over the paired scratch cell.
    """
    found = {record["id"]: record for record in results.records}
    lines = []
    for item in results.manifest["cells"]:
        name, cell = item["id"], item["cell"]
        record = found.get(name)
        state = _state(record, results.failures.get(name))
        place = (cell["entry"], cell["source"] or wording.UNKNOWN, cell["target"], cell["budget"], cell["seed"])
        lines.append((*place, state, *_outcome(record, results, gains), name))
    return lines


def written(lines: Iterable[Line]) -> list[tuple[str, ...]]:
    """Lines as text."""
    return [tuple(_said(value, DIGITS.get(place)) for place, value in enumerate(line)) for line in lines]


def unfinished(results: Results) -> list[Unfinished]:
    """The planned cells that have no result, in the manifest's order."""
    found = {record["id"]: record for record in results.records}
    lines = []
    for item in results.manifest["cells"]:
        record, cell = found.get(item["id"]), item["cell"]
        failure = results.failures.get(item["id"], "")
        if (state := _state(record, failure)) != "ok":
            start = f" from {cell['source']}" if cell["source"] is not None else ""
            place = f"{cell['target']}, {wording.labels(cell['budget'])}, seed {cell['seed']}"
            where = f"{cell['entry']}{start} on {place} ({item['id']})"
            lines.append(Unfinished(state, where, failure if record is None else ""))
    return lines


def _state(record: Record | None, failure: str | None) -> str:
    if record is None:
        return "failed" if failure else "missing"
    return str(record["status"])


def _outcome(record: Record | None, results: Results, gains: Mapping[str, float | None]) -> tuple[Any, ...]:
    if record is None:
        return (None,) * 6
    chosen, result, ok = record["selected"], record["result"], record["status"] == "ok"
    gain = gains.get(record["id"])
    return (
        chosen["lr"] if "lr" in chosen else chosen.get("l2"),
        round(100 * result["val_score"], 2) if ok else None,
        round(100 * result["test_score"], 2) if ok else None,
        round(100 * gain, 2) + 0.0 if gain is not None else None,
        results.timings.get(record["id"], {}).get("wall_s"),
        record["data"]["subset"]["digest"][:_SUBSET],
    )


def _said(value: str | float | None, digits: int | None) -> str:
    if value is None:
        return wording.UNKNOWN
    if isinstance(value, str):
        return value
    return f"{value:g}" if digits is None else f"{value:.{digits}f}"

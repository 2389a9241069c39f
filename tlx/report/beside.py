"""Two studies side by side: cells that say the same, their scores and differences, and what else differs."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tlx.measure.pairing import Record, at
from tlx.measure.stats import Interval, interval
from tlx.records.reading import Reading

_Place = tuple[str | None, str, str, str, int]

# Where these differ the two scores are not of the same thing, and a difference of them would say nothing.
_EVALUATION = (
    "data.train.digest",
    "data.validation.digest",
    "data.test.digest",
    "data.test.split",
    "data.subset.digest",
    "result.metric",
    "result.test_examples",
)
# What of records is told apart besides the config.
_ORIGINS = (
    *(f"data.{part}.{name}" for part in ("train", "validation", "test") for name in ("split", "digest")),
    "lineage.checkpoint",
    "config.numerics",
)


@dataclass(frozen=True)
class Side:
    """One of the two.

    Args:
      folder: it was read from.
      study: its name.
      cells: number of cells that are planned or recorded.
      done: those with a result.
    """

    folder: str
    study: str
    cells: int
    done: int


@dataclass(frozen=True)
class Line:
    """One way of starting and adapting, at one budget.

    Args:
      source: what the weights come from, None for the random starts.
      target: what is measured.
      entry: name of the way of adapting.
      arm: `scratch`, `random-frozen` or `transfer`.
      budget: number of target labels.
      a: test score over the seeds that finished in A.
      b: likewise in B.
      difference: B minus A over the seeds that finished in both and may be compared.
      refused: seeds that finished in both and must not be compared.
    """

    source: str | None
    target: str
    entry: str
    arm: str
    budget: int
    a: Interval
    b: Interval
    difference: Interval
    refused: int


@dataclass(frozen=True)
class Differing:
    """One thing in which the two differ.

    Args:
      field: dotted path.
      a: its value in A, None if it is not there.
      b: likewise in B.
    """

    field: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Beside:
    """Two studies side by side.

    Args:
      a: one.
      b: the other.
      lines: of what both have, in A's order.
      config: fields of the config that differ.
      origins: data, checkpoints, numerics and versions that differ between cells which both have.
      refused: why some cells must not be compared, one line for each field.
      only_a: cells that B does not have, as text.
      only_b: cells that A does not have, as text.
    """

    a: Side
    b: Side
    lines: tuple[Line, ...]
    config: tuple[Differing, ...]
    origins: tuple[Differing, ...]
    refused: tuple[str, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them: None for what is not a number."""
        return dict(_plain(asdict(self)))


def compare(a: Reading, b: Reading) -> Beside:
    """Set two studies side by side.

    Cells are matched by source, target, entry, arm, budget and seed, whatever their ids. Where data, subset or metric
    differ, the scores are shown and their difference is refused; other settings may differ, and are listed.

    Args:
      a: one.
      b: the other.
    """
    ours, theirs = _cells(a), _cells(b)
    both = [cell for cell in ours if cell in theirs]
    records = [(a.records.get(ours[cell]), b.records.get(theirs[cell])) for cell in both]
    known = [(one, other) for one, other in records if one is not None and other is not None]
    refusals = {(one["id"], other["id"]): _refusal(one, other) for one, other in known}
    return Beside(
        a=_side(a, ours),
        b=_side(b, theirs),
        lines=_lines(both, records, refusals),
        config=tuple(differences(flat(a.manifest["config"]), flat(b.manifest["config"]))),
        origins=tuple(differences(_origins(one for one, _ in known), _origins(other for _, other in known))),
        refused=tuple(_counted(refusals.values())),
        only_a=tuple(_said(cell) for cell in ours if cell not in theirs),
        only_b=tuple(_said(cell) for cell in theirs if cell not in ours),
    )


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """The leaves of nested dicts, by dotted path; lists are leaves.

    Args:
      value: plain values.
      path: of the value itself.

    >>> flat({"model": {"depth": 3}, "seeds": [0, 1]})
    {'model.depth': 3, 'seeds': [0, 1]}
    """
    if not isinstance(value, Mapping) or not value:
        return {path: value} if path else {}
    leaves: dict[str, Any] = {}
    for name, item in value.items():
        leaves |= flat(item, f"{path}.{name}" if path else str(name))
    return leaves


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Differing]:
    """The fields in which two differ, sorted; a field that one lacks is None there.

    Args:
      a: values by field.
      b: likewise.
    """
    fields = sorted(a.keys() | b.keys())
    return [Differing(name, a.get(name), b.get(name)) for name in fields if a.get(name, ...) != b.get(name, ...)]


def _cells(given: Reading) -> dict[tuple[_Place, int], str]:
    """The id of each planned cell; without a plan, of each record."""
    return {
        ((cell["source"], cell["target"], cell["entry"], cell["arm"], cell["budget"]), cell["seed"]): item["id"]
        for item in given.manifest["cells"]
        for cell in [item["cell"]]
    }


def _side(given: Reading, cells: Mapping[Any, str]) -> Side:
    done = sum(name in given.records and given.records[name]["status"] == "ok" for name in cells.values())
    return Side(str(given.folder), str(given.manifest["study"]), len(cells), done)


def _lines(
    both: list[tuple[_Place, int]],
    records: list[tuple[Record | None, Record | None]],
    refusals: Mapping[tuple[str, str], str],
) -> tuple[Line, ...]:
    lines = []
    for place in dict.fromkeys(place for place, _ in both):
        mine = [pair for (where, _), pair in zip(both, records, strict=True) if where == place]
        scores = [(_score(one), _score(other)) for one, other in mine]
        reasons = [refusals.get((one["id"], other["id"]), "") if one and other else "" for one, other in mine]
        paired = [
            (score_a, score_b, reason)
            for (score_a, score_b), reason in zip(scores, reasons, strict=True)
            if score_a is not None and score_b is not None
        ]
        lines.append(
            Line(
                *place,
                a=interval([score for score, _ in scores if score is not None]),
                b=interval([score for _, score in scores if score is not None]),
                difference=interval([score_b - score_a for score_a, score_b, reason in paired if not reason]),
                refused=sum(bool(reason) for _, _, reason in paired),
            )
        )
    return tuple(lines)


def _score(record: Record | None) -> float | None:
    return None if record is None or record["status"] != "ok" else float(record["result"]["test_score"])


def _refusal(one: Record, other: Record) -> str:
    """The field that makes two scores ones of different things; empty if there is none."""
    for field in _EVALUATION:
        value = at(one, field)
        if value is None or value != at(other, field):
            return field
    return ""


def _counted(fields: Iterable[str]) -> list[str]:
    given = [field for field in fields if field]
    return [
        f"{field}: differs in {given.count(field)} pair{'' if given.count(field) == 1 else 's'} of cells, whose scores "
        "are therefore of different things; no difference is given"
        for field in dict.fromkeys(given)
    ]


def _origins(records: Iterable[Record]) -> dict[str, Any]:
    """The values of each origin, by target or source where they are of one; all of them where cells differ."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        cell = record["cell"]
        fields = [*_ORIGINS, *(f"environment.{name}" for name in at(record, "environment") or {})]
        for field in fields:
            owner = {"data": cell["target"], "lineage": cell["source"]}.get(field.split(".")[0])
            value = at(record, field)
            if value is not None:
                found.setdefault(f"{owner}: {field}" if owner else field, {})[str(value)] = None
    return {name: ", ".join(sorted(values)) for name, values in found.items()}


def _said(cell: tuple[_Place, int]) -> str:
    (source, target, entry, _, budget), seed = cell
    start = f" from {source}" if source is not None else ""
    return f"{entry}{start} on {target}, {budget} labels, seed {seed}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value

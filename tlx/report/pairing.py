"""Every transfer cell beside the scratch cell it may fairly be compared with, or a refusal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tlx.errors import PairingError

Record = Mapping[str, Any]

# What both arms must share for their difference to mean "the start mattered".
_SHARED = (
    "cell.target",
    "cell.budget",
    "cell.seed",
    "data.train.digest",
    "data.train.split",
    "data.validation.digest",
    "data.validation.split",
    "data.test.digest",
    "data.test.split",
    "data.subset.digest",
    "data.subset.examples",
    "result.metric",
    "result.test_examples",
)
# Settings that must be equal as a whole, their names being the model's and the optimizer's own.
_SETTINGS = ("config.model", "config.recipe", "config.search")


@dataclass(frozen=True)
class Pair:
    """A transfer or random-frozen record and its scratch record.

    Args:
      record: of the arm that is compared.
      scratch: of the same target, budget and seed; None if it is missing.
    """

    record: Record
    scratch: Record | None

    @property
    def gain(self) -> float | None:
        """Test score minus that of scratch; None unless both arms have a result."""
        if self.scratch is None or "diverged" in (self.record["status"], self.scratch["status"]):
            return None
        return float(self.record["result"]["test_score"] - self.scratch["result"]["test_score"])


def pair(records: Iterable[Record]) -> list[Pair]:
    """Pair each transfer and random-frozen record with the scratch record of its target, budget and seed.

    Args:
      records: of one study, any order.

    Returns:
      One pair for each record that is not of the scratch arm, in the order given.

    Raises:
      PairingError: if two records are of the same cell, or a pair differs in more than the arm.
    """
    given = list(records)
    scratch: dict[tuple[Any, ...], Record] = {}
    seen: dict[tuple[Any, ...], Record] = {}
    for record in given:
        cell = record["cell"]
        place = (cell["target"], cell["budget"], cell["seed"])
        arm = () if cell["arm"] == "scratch" else (cell["arm"], cell["source"], cell["entry"])
        _refuse_twice(seen.setdefault((*place, *arm), record), record)
        if cell["arm"] == "scratch":
            scratch[place] = record
    pairs = []
    for record in given:
        cell = record["cell"]
        if cell["arm"] != "scratch":
            partner = scratch.get((cell["target"], cell["budget"], cell["seed"]))
            if partner is not None:
                check_pair(record, partner)
            pairs.append(Pair(record, partner))
    return pairs


def check_pair(record: Record, scratch: Record) -> None:
    """Refuse two records whose difference would show more than where they started from.

    Raises:
      PairingError: naming the first field in which data, budget, evaluation, recipe or tuning effort differ.
    """
    for field in _SHARED:
        ours, theirs = _at(record, field), _at(scratch, field)
        if ours is None or ours != theirs:
            raise _refusal(field, ours, theirs, record, scratch)
    for name in _SETTINGS:
        ours, theirs = _at(record, name) or {}, _at(scratch, name) or {}
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                raise _refusal(f"{name}.{key}", ours.get(key), theirs.get(key), record, scratch)
    if len(record["trials"]) != len(scratch["trials"]):
        raise _refusal("trials", len(record["trials"]), len(scratch["trials"]), record, scratch)


def _refusal(field: str, ours: Any, theirs: Any, record: Record, scratch: Record) -> PairingError:
    return PairingError(
        f"{field}: {record['cell']['entry']!r}, record {record['id']}, has {ours!r}, its scratch record "
        f"{scratch['id']} has {theirs!r}; run both arms with the same settings to compare them"
    )


def _refuse_twice(first: Record, second: Record) -> None:
    if first is not second:
        cell = second["cell"]
        place = f"{cell['target']!r} with {cell['budget']} labels and seed {cell['seed']}"
        raise PairingError(
            f"cell: records {first['id']} and {second['id']} are both {cell['entry']!r} on {place}; "
            "report one study at a time"
        )


def _at(record: Record, field: str) -> Any:
    """The value at a dotted path; None where the path ends early."""
    value: Any = record
    for name in field.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value

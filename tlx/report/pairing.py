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
)


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
        """Test accuracy minus that of scratch, -1 to 1; None unless both arms have a result."""
        if self.scratch is None or "diverged" in (self.record["status"], self.scratch["status"]):
            return None
        return float(self.record["result"]["test_accuracy"] - self.scratch["result"]["test_accuracy"])


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
      PairingError: naming the first field in which data, budget, evaluation or tuning effort differ.
    """
    for field in _SHARED:
        _refuse_unequal(field, _at(record, field), _at(scratch, field), record, scratch)
    if "diverged" not in (record["status"], scratch["status"]):
        field = "result.test_examples"
        _refuse_unequal(field, _at(record, field), _at(scratch, field), record, scratch)
    _refuse_unequal("trials", len(record["trials"]), len(scratch["trials"]), record, scratch)


def _refuse_unequal(field: str, ours: Any, theirs: Any, record: Record, scratch: Record) -> None:
    if ours != theirs or ours is None:
        unit = " learning rates" if field == "trials" else ""
        entry = record["cell"]["entry"]
        raise PairingError(
            f"{field}: {entry!r}, record {record['id']}, has {ours!r}{unit}, its scratch record {scratch['id']} "
            f"has {theirs!r}; run both arms with the same settings to compare them"
        )


def _refuse_twice(first: Record, second: Record) -> None:
    if first is not second:
        cell = second["cell"]
        raise PairingError(
            f"cell: records {first['id']} and {second['id']} are both {cell['entry']!r} on {cell['target']!r} "
            f"with {cell['budget']} labels and seed {cell['seed']}; report one study at a time"
        )


def _at(record: Record, field: str) -> Any:
    """The value at a dotted path; None where the path ends early."""
    value: Any = record
    for name in field.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value

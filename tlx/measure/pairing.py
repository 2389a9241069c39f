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
# Likewise, though both may be silent: what is done to the examples, and the seeds a learning rate is chosen over.
_ALIKE = ("config.per_class", "config.ops", "config.seeds")
# Settings that must be equal as a whole, their names being the model's, the optimizer's and the search's own.
_SETTINGS = ("config.model", "config.recipe", "config.search")


@dataclass(frozen=True)
class Pair:
    """A transfer or random-frozen record and its scratch record.

    Args:
      record: of the arm that is compared.
      scratch: of the same target, budget and seed; None if it is missing.
      refusal: why the two must not be compared, in one line; empty if they may.
    """

    record: Record
    scratch: Record | None
    refusal: str = ""

    @property
    def gain(self) -> float | None:
        """Test score minus that of scratch; None unless both arms have a result and may be compared."""
        if self.scratch is None or self.refusal or "diverged" in (self.record["status"], self.scratch["status"]):
            return None
        return float(self.record["result"]["test_score"] - self.scratch["result"]["test_score"])


class Baselines:
    """The scratch records that others are compared with, found by target, budget and seed.

    Args:
      records: any; those of other arms are passed over.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._at: dict[tuple[Any, ...], dict[str, Record]] = {}
        for record in records:
            if record["cell"]["arm"] == "scratch":
                self._at.setdefault(_place(record), {})[record["id"]] = record

    def pair(self, record: Record) -> Pair:
        """A record beside the one scratch record it may be compared with.

        Args:
          record: of another arm.

        Returns:
          The pair. It carries a refusal if no scratch record is like it in all but the start, or several are.
        """
        there = [*self._at.get(_place(record), {}).values()]
        refusals = {scratch["id"]: difference(record, scratch) for scratch in there}
        fair = [scratch for scratch in there if not refusals[scratch["id"]]]
        if len(fair) == 1:
            return Pair(record, fair[0])
        if fair:
            return Pair(record, fair[0], _twice(fair[0], fair[1]))
        return Pair(record, there[0], refusals[there[0]["id"]]) if there else Pair(record, None)


def pair(records: Iterable[Record]) -> list[Pair]:
    """Pair each transfer and random-frozen record with the scratch record of its target, budget and seed.

    Args:
      records: of one study, any order.

    Returns:
      One pair for each record that is not of the scratch arm, in the order given; some may be refusals.

    Raises:
      PairingError: if two records are of the same cell.
    """
    given = list(records)
    seen: dict[tuple[Any, ...], Record] = {}
    for record in given:
        cell = record["cell"]
        arm = () if cell["arm"] == "scratch" else (cell["arm"], cell["source"], cell["entry"])
        first = seen.setdefault((*_place(record), *arm), record)
        if first is not record:
            raise PairingError(_twice(first, record))
    baselines = Baselines(given)
    return [baselines.pair(record) for record in given if record["cell"]["arm"] != "scratch"]


def by_place(records: Iterable[Record]) -> dict[tuple[Any, str, str, int], list[Pair]]:
    """The pairs that have a gain, those of a cell's seeds together.

    Args:
      records: of one study, any order.

    Returns:
      By source, None for random weights, target, entry and budget, in the order in which these first come.

    Raises:
      PairingError: if two records are of the same cell.
    """
    places: dict[tuple[Any, str, str, int], list[Pair]] = {}
    for made in pair(records):
        cell = made.record["cell"]
        if made.gain is not None:
            places.setdefault((cell["source"], cell["target"], cell["entry"], cell["budget"]), []).append(made)
    return places


def refusals(pairs: Iterable[Pair]) -> list[str]:
    """Why some pairs must not be compared, a line each; their gains are None."""
    return [one.refusal for one in pairs if one.refusal]


def difference(record: Record, scratch: Record) -> str:
    """The first field in which two records differ though their arms may not, as a line; empty if there is none."""
    for field in _SHARED:
        ours, theirs = at(record, field), at(scratch, field)
        if ours is None or ours != theirs:
            return _refusal(field, ours, theirs, record, scratch)
    for field in _ALIKE:
        ours, theirs = at(record, field), at(scratch, field)
        if ours != theirs:
            return _refusal(field, ours, theirs, record, scratch)
    for name in _SETTINGS:
        ours, theirs = _settings(record, name), _settings(scratch, name)
        for key in sorted(ours.keys() | theirs.keys(), key=lambda key: (key != "kind", key)):
            if ours.get(key) != theirs.get(key):
                return _refusal(f"{name}.{key}", ours.get(key), theirs.get(key), record, scratch)
    if len(record["trials"]) != len(scratch["trials"]):
        return _refusal("trials", len(record["trials"]), len(scratch["trials"]), record, scratch)
    return ""


def at(record: Record, field: str) -> Any:
    """The value at a dotted path of a record; None where the path ends early."""
    value: Any = record
    for name in field.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _settings(record: Record, name: str) -> Mapping[str, Any]:
    found = at(record, name) or {}
    # Records say nothing of a plain grid.
    return {"kind": "grid", **found} if name == "config.search" else found


def _place(record: Record) -> tuple[Any, ...]:
    cell = record["cell"]
    return cell["target"], cell["budget"], cell["seed"]


def _refusal(field: str, ours: Any, theirs: Any, record: Record, scratch: Record) -> str:
    return (
        f"{field}: {record['cell']['entry']!r}, record {record['id']}, has {ours!r}, its scratch record "
        f"{scratch['id']} has {theirs!r}; run both arms with the same settings to compare them"
    )


def _twice(first: Record, second: Record) -> str:
    cell = second["cell"]
    place = f"{cell['target']!r} with {cell['budget']} labels and seed {cell['seed']}"
    return (
        f"cell: records {first['id']} and {second['id']} are both {cell['entry']!r} on {place}; "
        "report one study at a time"
    )

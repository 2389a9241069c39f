"""Where a report's numbers come from: data, checkpoints and versions."""

import json
from collections.abc import Iterable

from tlx.measure.pairing import Record
from tlx.report import wording
from tlx.report.table import Table

_DIGITS = 16  # of a digest: enough to compare by eye


def data(records: Iterable[Record]) -> Table:
    """The parts of each target's data, with their digests."""
    lines: dict[str, dict[tuple[str, ...], None]] = {}
    for record in records:
        for part in ("train", "validation", "test"):
            data = record["data"][part]
            line = (part, data["split"], str(data["examples"]), data["digest"][:_DIGITS])
            lines.setdefault(record["cell"]["target"], {})[line] = None
    groups = tuple((target, tuple(found)) for target, found in lines.items())
    return Table(("Part", "Split", "Examples", "Digest"), groups)


def sources(records: Iterable[Record]) -> Table:
    """The checkpoints that the transfer cells started from."""
    lines: dict[tuple[str, ...], None] = {}
    for record in records:
        if record["lineage"] is not None:
            origin = record["lineage"]
            score = wording.percent(origin["source_test_accuracy"])
            lines[(origin["source"], score, origin["checkpoint"][:_DIGITS])] = None
    return Table(("Source", "Its test accuracy", "Checkpoint"), (("", tuple(lines)),))


def environment(records: Iterable[Record]) -> Table:
    """Versions and devices, all of them where cells differ."""
    values: dict[str, dict[str, None]] = {}
    for record in records:
        for name, value in record["environment"].items():
            values.setdefault(name, {})[value if isinstance(value, str) else json.dumps(value)] = None
    lines = tuple((name, ", ".join(sorted(values[name]))) for name in sorted(values))
    return Table(("What", "Value"), (("", lines),))

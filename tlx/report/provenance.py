"""Where a report's numbers come from: data, checkpoints, versions and single cells."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tlx.report import wording
from tlx.report.edges import edge_of
from tlx.report.pairing import Record
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


def cells(records: Iterable[Record], timings: Mapping[str, Mapping[str, Any]]) -> Table:
    """One line for each record."""
    head = (
        "Method",
        "Source",
        "Target",
        "Labels",
        "Seed",
        "Rate",
        "Validation, %",
        "Test, %",
        "Time",
        "Subset",
        "Record",
    )
    lines = []
    for record in records:
        cell, result = record["cell"], record["result"]
        selected = record["selected"]
        rate = selected["lr"] if "lr" in selected else selected["l2"]
        ok = record["status"] == "ok"
        lines.append(
            (
                cell["entry"],
                cell["source"] or wording.UNKNOWN,
                cell["target"],
                str(cell["budget"]),
                str(cell["seed"]),
                wording.rate(rate, edge_of(record)),
                f"{100 * result['val_score']:.1f}" if ok else "diverged",
                f"{100 * result['test_score']:.1f}" if ok else "diverged",
                wording.duration(timings.get(record["id"], {}).get("wall_s")),
                record["data"]["subset"]["digest"][:_DIGITS],
                record["id"],
            )
        )
    return Table(head, (("", tuple(lines)),))

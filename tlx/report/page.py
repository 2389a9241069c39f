"""What a report says, before it is Markdown or HTML: text, tables and pictures."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlx.report import wording
from tlx.report.canvas import Palette, Picture, palette
from tlx.report.figures import gain_bars, label_curves
from tlx.report.pairing import Record
from tlx.report.sentence import one_sentence
from tlx.report.summary import Comparison, Row, comparisons, summarise

NOTES = (
    "Accuracies are test accuracies in percent. Gains are in percentage points over the scratch cell of the same "
    "target, labels and seed.",
    "Intervals cover 95 % over seeds: Student's t for 3 to 9 seeds, the BCa bootstrap from 10, none below 3. They "
    "are not adjusted for the number of comparisons.",
    f"{wording.WORSE} marks a gain whose interval lies below 0. Diverged cells are left out of the means.",
)
_DIGITS = 16  # of a digest: enough to compare by eye


@dataclass(frozen=True)
class Table:
    """Rows of text, in groups that may have a heading; column 0 names the row."""

    head: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]


@dataclass(frozen=True)
class Section:
    """One source and target."""

    title: str
    results: Table
    costs: Table
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Page:
    """All of a report."""

    study: str
    sentence: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    unfinished: tuple[str, ...]
    data: Table
    sources: Table
    environment: Table
    cells: Table
    command: str
    config: str
    rows: tuple[Row, ...]


def make_page(records: Iterable[Record], manifest: Mapping[str, Any], timings: Iterable[Mapping[str, Any]]) -> Page:
    """Everything a report says about a study; arguments as for `tlx.report.write`."""
    found = {record["id"]: record for record in records}
    walls = {item["id"]: item for item in timings}
    planned = [item["id"] for item in manifest["cells"]]
    there = [found[cell] for cell in planned if cell in found]
    rows = summarise(there, manifest, walls.values())
    made = comparisons(rows)
    marks = palette(rows)
    names = _file_names(made)
    return Page(
        study=manifest["study"],
        sentence=one_sentence(rows),
        facts=_facts(there, planned, walls, extra=len(found) - len(there)),
        sections=tuple(_section(one, marks, name) for one, name in zip(made, names, strict=True)),
        unfinished=_unfinished(manifest, found),
        data=_data(there),
        sources=_sources(there),
        environment=_environment(there),
        cells=_cells(there, walls),
        command=manifest["command"],
        config=json.dumps(manifest["config"], indent=2, sort_keys=True, ensure_ascii=False),
        rows=tuple(rows),
    )


def _section(made: Comparison, marks: Palette, name: str) -> Section:
    pictures = (label_curves(made, marks, f"accuracy{name}"), gain_bars(made, marks, f"gain{name}"))
    return Section(made.title, _results(made), _costs(made), pictures)


def _results(made: Comparison) -> Table:
    groups = []
    for budget in dict.fromkeys(row.budget for row in made.rows):
        rows = [row for row in made.rows if row.budget == budget]
        lines = tuple((row.name, wording.accuracy(row.accuracy), _gain(row), wording.seeds(row)) for row in rows)
        groups.append((wording.labels(budget), lines))
    return Table(("Method", "Accuracy, %", "Gain, points", "Seeds"), tuple(groups))


def _gain(row: Row) -> str:
    """The marked gain, with the number of pairs where it is not that of the seeds."""
    pairs = row.gain.n if row.gain is not None else row.seeds_done
    few = f" ({pairs} pairs)" if 0 < pairs < row.seeds_done else ""
    return wording.marked_gain(row) + few


def _costs(made: Comparison) -> Table:
    columns: tuple[tuple[str, Callable[[Row], float | None], Callable[[float | None], str]], ...] = (
        ("Trained parameters", lambda row: row.trainable_params, wording.amount),
        ("of all", lambda row: row.trainable_share, wording.percent),
        ("Optimizer state", lambda row: row.optimizer_bytes, lambda value: wording.amount(value, "B")),
        ("FLOPs per step", lambda row: row.step_flops, wording.amount),
        ("FLOPs once per example", lambda row: row.cached_flops, wording.amount),
        ("Time per cell", lambda row: row.wall_s, wording.duration),
    )
    lines = []
    for key in dict.fromkeys((row.arm, row.entry) for row in made.rows):
        rows = [row for row in made.rows if (row.arm, row.entry) == key]
        cells = [rows[0].name]
        for _, value, say in columns:
            known = sorted(number for row in rows if (number := value(row)) is not None)
            cells.append(wording.span(say(number) for number in known))
        lines.append(tuple(cells))
    return Table(("Method", *(name for name, _, _ in columns)), (("", tuple(lines)),))


def _facts(
    there: Sequence[Record], planned: Sequence[str], walls: Mapping[str, Mapping[str, Any]], extra: int
) -> tuple[tuple[str, str], ...]:
    times = [walls[cell]["wall_s"] for cell in planned if cell in walls and walls[cell].get("wall_s") is not None]
    done = sum(record["status"] == "ok" for record in there)
    facts = [
        ("cells done", f"{done} of {len(planned)}"),
        ("diverged", str(len(there) - done)),
        ("missing", str(len(planned) - len(there))),
        (
            "learning rates tried per cell",
            wording.span(str(n) for n in sorted({len(r["trials"]) for r in there})),
        ),
        ("total time", wording.duration(sum(times) if times else None)),
    ]
    if extra:
        facts.append(("records of other cells, left out", str(extra)))
    return tuple(facts)


def _unfinished(manifest: Mapping[str, Any], found: Mapping[str, Record]) -> tuple[str, ...]:
    lines = []
    for item in manifest["cells"]:
        record = found.get(item["id"])
        if record is None or record["status"] != "ok":
            cell = item["cell"]
            start = f" from {cell['source']}" if cell["source"] is not None else ""
            where = f"{cell['entry']}{start} on {cell['target']}, {wording.labels(cell['budget'])}, seed {cell['seed']}"
            lines.append(f"{'missing' if record is None else 'diverged'}: {where} ({item['id']})")
    return tuple(lines)


def _data(there: Iterable[Record]) -> Table:
    lines = {}
    for record in there:
        for part in ("train", "validation", "test"):
            data = record["data"][part]
            line = (part, data["split"], str(data["examples"]), data["digest"][:_DIGITS])
            lines.setdefault(record["cell"]["target"], {})[line] = None
    groups = tuple((target, tuple(found)) for target, found in lines.items())
    return Table(("Part", "Split", "Examples", "Digest"), groups)


def _sources(there: Iterable[Record]) -> Table:
    lines = {}
    for record in there:
        if record["lineage"] is not None:
            origin = record["lineage"]
            score = wording.percent(origin["source_test_accuracy"])
            lines[(origin["source"], score, origin["checkpoint"][:_DIGITS])] = None
    return Table(("Source", "Its test accuracy", "Checkpoint"), (("", tuple(lines)),))


def _environment(there: Iterable[Record]) -> Table:
    values: dict[str, dict[str, None]] = {}
    for record in there:
        for name, value in record["environment"].items():
            values.setdefault(name, {})[value if isinstance(value, str) else json.dumps(value)] = None
    lines = tuple((name, ", ".join(sorted(values[name]))) for name in sorted(values))
    return Table(("What", "Value"), (("", lines),))


def _cells(there: Iterable[Record], walls: Mapping[str, Mapping[str, Any]]) -> Table:
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
    for record in there:
        cell, result = record["cell"], record["result"]
        rate = record["selected"]["lr"]
        ok = record["status"] == "ok"
        lines.append(
            (
                cell["entry"],
                cell["source"] or wording.UNKNOWN,
                cell["target"],
                str(cell["budget"]),
                str(cell["seed"]),
                wording.UNKNOWN if rate is None else f"{rate:g}",
                f"{100 * result['val_accuracy']:.1f}" if ok else "diverged",
                f"{100 * result['test_accuracy']:.1f}" if ok else "diverged",
                wording.duration(walls.get(record["id"], {}).get("wall_s")),
                record["data"]["subset"]["digest"][:_DIGITS],
                record["id"],
            )
        )
    return Table(head, (("", tuple(lines)),))


def _file_names(made: Sequence[Comparison]) -> list[str]:
    """What tells the comparisons' pictures apart: nothing for a single one, else source and target."""
    if len(made) == 1:
        return [""]
    names: list[str] = []
    for one in made:
        name = "-" + re.sub(r"[^a-z0-9]+", "-", f"{one.source or 'scratch'}-{one.target}".lower()).strip("-")
        names.append(name if name not in names else f"{name}-{len(names)}")
    return names

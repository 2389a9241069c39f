"""What a report says, before it is Markdown or HTML: text, tables and pictures."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlx.report import provenance, wording
from tlx.report.canvas import Palette, Picture, palette
from tlx.report.edges import at_edges
from tlx.report.figures import gain_bars, label_curves
from tlx.report.pairing import Record
from tlx.report.sentence import one_sentence
from tlx.report.summary import Comparison, Row, comparisons, summarise
from tlx.report.table import Table
from tlx.report.wording import amount, duration, percent, span

NOTES = (
    "Accuracies are test accuracies in percent. Gains are in percentage points over the scratch cell of the "
    "same target, labels and seed.",
    "Intervals cover 95 % over seeds: Student's t for 3 to 9 seeds, the BCa bootstrap from 10, none below 3. "
    "They are not adjusted for the number of comparisons.",
    f"{wording.WORSE} marks a gain whose interval lies below 0. Diverged cells are left out of the means.",
)


@dataclass(frozen=True)
class Section:
    """One source and target."""

    title: str
    results: Table
    costs: Table
    accuracy: Picture
    gain: Picture

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Both pictures."""
        return self.accuracy, self.gain


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


def make_page(
    records: Iterable[Record],
    manifest: Mapping[str, Any],
    timings: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, str],
) -> Page:
    """Everything a report says about a study; arguments as for `tlx.report.write`."""
    found = {record["id"]: record for record in records}
    planned = [item["id"] for item in manifest["cells"]]
    there = [found[cell] for cell in planned if cell in found]
    rows = summarise(there, manifest, timings)
    made = comparisons(rows)
    marks = palette(rows)
    names = _file_names(made)
    return Page(
        study=manifest["study"],
        sentence=one_sentence(rows),
        facts=_facts(there, planned, timings, len(failures.keys() & set(planned)), extra=len(found) - len(there)),
        sections=tuple(_section(one, marks, name) for one, name in zip(made, names, strict=True)),
        unfinished=_unfinished(manifest, found, failures),
        data=provenance.data(there),
        sources=provenance.sources(there),
        environment=provenance.environment(there),
        cells=provenance.cells(there, timings),
        command=manifest["command"],
        config=json.dumps(manifest["config"], indent=2, sort_keys=True, ensure_ascii=False),
        rows=tuple(rows),
    )


def _section(made: Comparison, marks: Palette, name: str) -> Section:
    accuracy = label_curves(made, marks, f"accuracy{name}")
    return Section(made.title, _results(made), _costs(made), accuracy, gain_bars(made, marks, f"gain{name}"))


def _results(made: Comparison) -> Table:
    groups = []
    for budget in dict.fromkeys(row.budget for row in made.rows):
        rows = [row for row in made.rows if row.budget == budget]
        lines = tuple((row.name, wording.score(row.score), _gain(row), wording.seeds(row)) for row in rows)
        groups.append((wording.labels(budget), lines))
    head = f"{wording.capital(wording.metric(made.rows))}, %"
    return Table(("Method", head, "Gain, points", "Seeds"), tuple(groups))


def _gain(row: Row) -> str:
    """The marked gain, with the number of pairs where it is not that of the seeds."""
    pairs = row.gain.n if row.gain is not None else row.seeds_done
    few = f" ({pairs} pairs)" if 0 < pairs < row.seeds_done else ""
    return wording.marked_gain(row) + few


def _costs(made: Comparison) -> Table:
    """One line for each method; a cost that changes with the budget as its lowest and highest value."""
    head = (
        "Method",
        "Trained parameters",
        "Optimizer state",
        "FLOPs per step",
        "FLOPs once per example",
        "Time per cell",
    )
    lines = []
    for key in dict.fromkeys((row.arm, row.entry) for row in made.rows):
        rows = [row for row in made.rows if (row.arm, row.entry) == key]
        trained = span((row.trainable_params for row in rows), amount)
        share = span((row.trainable_share for row in rows), percent)
        line = (
            rows[0].name,
            trained if trained == wording.UNKNOWN else f"{trained} ({share})",
            span((row.optimizer_bytes for row in rows), lambda size: amount(size, "B")),
            span((row.step_flops for row in rows), amount),
            span((row.cached_flops for row in rows), amount),
            span((row.wall_s for row in rows), duration),
        )
        lines.append(line)
    return Table(head, (("", tuple(lines)),))


def _facts(
    there: Sequence[Record],
    planned: Sequence[str],
    timings: Mapping[str, Mapping[str, Any]],
    failed: int,
    extra: int,
) -> tuple[tuple[str, str], ...]:
    times = [timings[cell]["wall_s"] for cell in planned if cell in timings and timings[cell].get("wall_s") is not None]
    done = sum(record["status"] == "ok" for record in there)
    facts = [
        ("cells done", f"{done} of {len(planned)}"),
        ("diverged", str(len(there) - done)),
        *([("failed", str(failed))] if failed else []),
        ("missing", str(len(planned) - len(there) - failed)),
        (
            "learning rates tried per cell",
            span((len(record["trials"]) for record in there), amount),
        ),
        ("total time", duration(sum(times) if times else None)),
    ]
    if edges := at_edges(there):
        facts.append(("rates at the edge of those tried", edges))
    if extra:
        facts.append(("records of other cells, left out", str(extra)))
    return tuple(facts)


def _unfinished(
    manifest: Mapping[str, Any], found: Mapping[str, Record], failures: Mapping[str, str]
) -> tuple[str, ...]:
    lines = []
    for item in manifest["cells"]:
        record = found.get(item["id"])
        if record is None or record["status"] != "ok":
            cell = item["cell"]
            failure = failures.get(item["id"])
            state = "diverged" if record else "failed" if failure else "missing"
            start = f" from {cell['source']}" if cell["source"] is not None else ""
            place = f"{cell['target']}, {wording.labels(cell['budget'])}, seed {cell['seed']}"
            why = f": {failure}" if failure and not record else ""
            lines.append(f"{state}: {cell['entry']}{start} on {place} ({item['id']}){why}")
    return tuple(lines)


def _file_names(made: Sequence[Comparison]) -> list[str]:
    """What tells the comparisons' pictures apart: nothing for a single one, else source and target."""
    if len(made) == 1:
        return [""]
    names: list[str] = []
    for one in made:
        name = "-" + re.sub(r"[^a-z0-9]+", "-", f"{one.source or 'scratch'}-{one.target}".lower()).strip("-")
        names.append(name if name not in names else f"{name}-{len(names)}")
    return names

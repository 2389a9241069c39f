"""What a report says, before it is Markdown or HTML: text, tables and charts."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tlx.measure.pairing import pair, refusals
from tlx.report import provenance, wording
from tlx.report.answer import answer
from tlx.report.cell_table import Line, Unfinished, cell_lines, unfinished
from tlx.report.chart import Chart
from tlx.report.edges import at_edges
from tlx.report.findings import FINDINGS
from tlx.report.palette import palette
from tlx.report.reproduce import command_of
from tlx.report.results import Results
from tlx.report.sections import SECTIONS, Material, Part, parts, picture
from tlx.report.sentence import one_sentence, with_cost
from tlx.report.summary import Row, comparisons, summarise
from tlx.report.table import Table
from tlx.report.tables import costs, outcomes

NOTES = (
    "Accuracies are test accuracies in percent. Gains are in percentage points over the scratch cell of the "
    "same target, labels and seed.",
    "Intervals cover 95 % over seeds: Student's t for 3 to 9 seeds, the BCa bootstrap from 10, none below 3. "
    "They are not adjusted for the number of comparisons.",
    f"{wording.WORSE} marks a gain whose interval lies below 0. Diverged cells are left out of the means.",
    "Trained is the share of all parameters; FLOPs are those of a training step over those of scratch; time is for "
    "a cell with all its learning rates.",
)


@dataclass(frozen=True)
class Pair:
    """The tables of one source and target."""

    title: str
    results: Table
    costs: Table


@dataclass(frozen=True)
class StudyPage:
    """All that is said of one study."""

    name: str
    anchor: str
    sentence: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    answer: Table
    picture: Chart | None
    parts: tuple[Part, ...]
    pairs: tuple[Pair, ...]
    unfinished: tuple[Unfinished, ...]
    refused: tuple[str, ...]
    data: Table
    sources: Table
    environment: Table
    cells: tuple[Line, ...]
    command: str
    again: str
    config: str
    rows: tuple[Row, ...]

    @property
    def curves(self) -> Chart | None:
        """Score against labels."""
        return next((chart for chart in self.charts if chart.name.endswith("accuracy")), None)

    @property
    def charts(self) -> tuple[Chart, ...]:
        """All of them, the first screen's first."""
        first = () if self.picture is None else (self.picture,)
        return first + tuple(block for part in self.parts for block in part.blocks if isinstance(block, Chart))


@dataclass(frozen=True)
class Page:
    """All of a report."""

    title: str
    studies: tuple[StudyPage, ...]


def make_page(given: Sequence[Results]) -> Page:
    """Everything a report says about some studies.

    Args:
      given: the results of each, at least one.

    Raises:
      PairingError: if a study has two records of one cell.
    """
    rows = [tuple(summarise(one.records, one.manifest, one.timings)) for one in given]
    marks = palette(row for some in rows for row in some)
    names = distinct([slug(one.name) for one in given])
    studies = []
    for one, some, name in zip(given, rows, names, strict=True):
        gains = {made.record["id"]: made.gain for made in pair(one.records)}
        prefix = f"{name}-" if len(given) > 1 else ""
        studies.append(_study(Material(one, some, tuple(comparisons(some)), gains, marks, prefix), name))
    return Page(", ".join(dict.fromkeys(one.name for one in given)), tuple(studies))


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "study"


def distinct(names: Sequence[str]) -> list[str]:
    """Names of which no two are the same, the later ones numbered."""
    made: list[str] = []
    for name in names:
        made.append(name if name not in made else f"{name}-{len(made) + 1}")
    return made


def _study(given: Material, anchor: str) -> StudyPage:
    results, rows = given.results, given.rows
    return StudyPage(
        name=results.name,
        anchor=anchor,
        sentence=one_sentence(rows),
        lead=with_cost(rows),
        facts=_facts(results),
        answer=answer(rows),
        picture=picture(given),
        parts=parts(given, (*SECTIONS, *FINDINGS)),
        pairs=tuple(Pair(made.title, outcomes(made), costs(made)) for made in given.comparisons),
        unfinished=tuple(unfinished(results)),
        refused=tuple(refusals(pair(results.records))),
        data=provenance.data(results.records),
        sources=provenance.sources(results.records),
        environment=provenance.environment(results.records),
        cells=tuple(cell_lines(results, given.gains)),
        command=results.manifest["command"],
        again=command_of(results.manifest["command"]),
        config=json.dumps(results.manifest["config"], indent=2, sort_keys=True, ensure_ascii=False),
        rows=rows,
    )


def _facts(given: Results) -> tuple[tuple[str, str], ...]:
    planned = [item["id"] for item in given.manifest["cells"]]
    failed = len(given.failures.keys() & set(planned))
    times = [seconds for name in planned if (seconds := given.timings.get(name, {}).get("wall_s")) is not None]
    done = sum(record["status"] == "ok" for record in given.records)
    facts = [
        ("cells done", f"{done} of {len(planned)}"),
        ("diverged", str(len(given.records) - done)),
        *([("failed", str(failed))] if failed else []),
        ("missing", str(len(planned) - len(given.records) - failed)),
        ("learning rates tried per cell", wording.span((len(one["trials"]) for one in given.records), wording.amount)),
        ("total time", wording.duration(sum(times) if times else None)),
    ]
    if edges := at_edges(given.records):
        facts.append(("rates at the edge of those tried", edges))
    if given.strangers:
        facts.append(("records of other cells, left out", str(given.strangers)))
    return tuple(facts)

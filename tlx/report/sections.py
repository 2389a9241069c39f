"""The sections of a study between its answer and its provenance: a chart or a table more is a line in `SECTIONS`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from tlx.report.answer import pairs
from tlx.report.chart import Chart
from tlx.report.charts.frontier import costs
from tlx.report.charts.gains import gains
from tlx.report.charts.label_curves import label_curves
from tlx.report.charts.matrix import matrices, matrix
from tlx.report.charts.seeds import seeds
from tlx.report.charts.training import training
from tlx.report.palette import Palette
from tlx.report.places import Place, places
from tlx.report.results import Results
from tlx.report.summary import Comparison, Row
from tlx.report.table import Table

Block = Chart | Table | str  # a text is a paragraph of small print


@dataclass(frozen=True)
class Material:
    """What a section may be made from.

    Args:
      results: records, manifest, timings, failures and the work folder of a study.
      rows: the seeds of each cell taken together.
      comparisons: the rows by source and target.
      gains: by cell id, over the paired scratch cell.
      marks: colours of the whole report.
      prefix: before the name of each chart.
    """

    results: Results
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    gains: Mapping[str, float | None]
    marks: Palette
    prefix: str = ""

    @cached_property
    def places(self) -> list[Place]:
        """The rows again, with their seeds one by one."""
        return places(self.results.records, self.results.manifest, self.rows)


@dataclass(frozen=True)
class Section:
    """A part of a study's page.

    Args:
      title: its heading.
      make: its charts, tables and remarks; None stands for one that this study has nothing for.
    """

    title: str
    make: Callable[[Material], Iterable[Block | None]]


@dataclass(frozen=True)
class Part:
    """A section that has something to show."""

    title: str
    blocks: tuple[Block, ...]


def picture(given: Material) -> Chart | None:
    """The picture of the first screen: the transfer matrix, or the gains where there is one pair."""
    drawn = matrix(given.rows, f"{given.prefix}matrix")
    return drawn or gains(given.comparisons, given.marks, f"{given.prefix}gain")


def curves(given: Material) -> Chart | None:
    """Score against labels."""
    return label_curves(given.comparisons, given.marks, f"{given.prefix}accuracy")


def _gains(given: Material) -> Chart | None:
    """Of each pair, unless the first screen shows them."""
    first = picture(given)
    return gains(given.comparisons, given.marks, f"{given.prefix}gain") if first and "matrix" in first.name else None


def by_pair(made: tuple[Comparison, ...]) -> Table | None:
    """The best method of each pair; None where there is a single pair."""
    return pairs(made) if len(made) > 1 else None


SECTIONS: tuple[Section, ...] = (
    Section("Transfer matrix", lambda given: [matrices(given.rows, f"{given.prefix}matrices")]),
    Section("Gain of each pair", lambda given: [_gains(given), by_pair(given.comparisons)]),
    Section("Labels", lambda given: [curves(given)]),
    Section("Cost", lambda given: [costs(given.comparisons, given.marks, f"{given.prefix}frontier")]),
    Section(
        "Seeds and variance",
        lambda given: [
            seeds(given.comparisons, given.results.records, given.gains, given.marks, f"{given.prefix}seeds")
        ],
    ),
    Section(
        "Training",
        lambda given: [
            training(
                given.comparisons, given.results.records, given.results.folder, given.marks, f"{given.prefix}training"
            )
        ],
    ),
)


def parts(given: Material, sections: Iterable[Section] = SECTIONS) -> tuple[Part, ...]:
    """The sections that have something to show, in their order."""
    made = []
    for section in sections:
        blocks = tuple(block for block in section.make(given) if block is not None and has_rows(block))
        if not all(isinstance(block, str) for block in blocks):
            made.append(Part(section.title, blocks))
    return tuple(made)


def has_rows(block: Block) -> bool:
    """Whether there is something in it; a table may have a head alone."""
    return any(rows for _, rows in block.groups) if isinstance(block, Table) else bool(block)

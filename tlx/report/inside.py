"""What changed inside the network, from `tlx inspect`: numbers for figures, and plain tables."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tlx.measure.stats import Interval, interval
from tlx.report import wording
from tlx.report.table import Table

Found = Mapping[str, Any]

_PIPE_WIDTH = 160  # columns when the output is a file or a pipe: a row has as many numbers as the model has stages


@dataclass(frozen=True)
class StageRow:
    """One stage of an entry's cells, over seeds.

    Args:
      source, target, entry, budget: whose.
      stage: name of the stage.
      depth: its index, input first.
      cka: debiased CKA between the start and the end, on the target's test examples.
      drift: how far its weights moved, as a share of their length; none where it has no weights.
      distortion: how far its features moved, as a share of their length, on the target's test examples.
      source_distortion: the same on the source's test examples; none where they cannot be run.
    """

    source: str
    target: str
    entry: str
    budget: int
    stage: str
    depth: int
    cka: Interval
    drift: Interval
    distortion: Interval
    source_distortion: Interval


@dataclass(frozen=True)
class ForgettingRow:
    """What an entry's cells forgot of their source, over seeds.

    Args:
      source, target, entry, budget: whose.
      before: the source's own test score.
      after: with the source's own head on the adapted trunk.
      drop: the first less the second; positive for what was forgotten.
      unknown: why there are no numbers, or empty.
    """

    source: str
    target: str
    entry: str
    budget: int
    before: Interval
    after: Interval
    drop: Interval
    unknown: str


def stage_rows(cells: Iterable[Found]) -> list[StageRow]:
    """A row for each stage of each entry, source, target and budget.

    Args:
      cells: from `tlx.study.inside.Inside.cells`.

    Returns:
      Rows in the order of target, source, entry and budget, stages from the input up.
    """
    rows = []
    for key, stage, depth, here in _stage_by_stage(cells):
        names = ("cka", "drift", "relative_distortion", "source_relative_distortion")
        rows.append(StageRow(*key, stage, depth, *(_over(each[name] for each in here) for name in names)))
    return rows


def forgetting_rows(cells: Iterable[Found]) -> list[ForgettingRow]:
    """A row for each entry, source, target and budget; arguments as for `stage_rows`."""
    rows = []
    for key, members in _grouped(cells).items():
        told = [member["forgetting"] for member in members]
        before, after, drop = (_over(each.get(name) for each in told) for name in ("before", "after", "drop"))
        unknown = next((each["unknown"] for each in told if "unknown" in each), "")
        rows.append(ForgettingRow(*key, before, after, drop, unknown))
    return rows


@dataclass(frozen=True)
class ProbeRow:
    """What linear probes read from a stage, over seeds.

    Args:
      source, target, entry, budget: whose.
      stage: name of the stage.
      depth: its index, input first.
      before: test accuracy of the probe on the model that the cells began with.
      after: on the one they ended with.
      selectivity: the latter less the same probe's accuracy on random labels.
    """

    source: str
    target: str
    entry: str
    budget: int
    stage: str
    depth: int
    before: Interval
    after: Interval
    selectivity: Interval


def probe_rows(probes: Iterable[Found]) -> list[ProbeRow]:
    """A row for each stage of each entry, source, target and budget.

    Args:
      probes: from `tlx.study.inside.Inside.probes`.
    """
    rows = []
    for key, stage, depth, here in _stage_by_stage(probes):
        before, after = (_over(each[when]["accuracy"] for each in here) for when in ("before", "after"))
        selectivity = _over(each["after"]["selectivity"] for each in here)
        rows.append(ProbeRow(*key, stage, depth, before, after, selectivity))
    return rows


def probe_table(probes: Iterable[Found]) -> Table:
    """Accuracy in percent of a probe of each stage, before → after; arguments as for `probe_rows`."""
    return _by_stage(probe_rows(probes), lambda row: f"{_percent(row.before)} → {_percent(row.after)}")


def cka_table(cells: Iterable[Found]) -> Table:
    """Debiased CKA between start and end by stage and entry, the mean over seeds; arguments as for `stage_rows`."""
    return _by_stage(stage_rows(cells), lambda row: _number(row.cka))


def drift_table(cells: Iterable[Found]) -> Table:
    """Relative drift of the weights by stage and entry, the mean over seeds; arguments as for `stage_rows`."""
    return _by_stage(stage_rows(cells), lambda row: _share(row.drift))


def distortion_table(cells: Iterable[Found]) -> Table:
    """Relative feature distortion by stage and entry, on the target's test examples; arguments as for `stage_rows`."""
    return _by_stage(stage_rows(cells), lambda row: _share(row.distortion))


def forgetting_table(cells: Iterable[Found]) -> Table:
    """What was forgotten of the source, by entry; arguments as for `stage_rows`."""
    rows = forgetting_rows(cells)
    head = ("Method", "Labels", "Before, %", "After, %", "Forgotten, points [95 %]")
    groups = []
    for title in dict.fromkeys(_title(row) for row in rows):
        lines = []
        for row in (row for row in rows if _title(row) == title):
            numbers = (wording.score(row.before), wording.score(row.after), wording.gain(row.drop))
            lines.append((row.entry, str(row.budget), *(("", "", row.unknown) if row.unknown else numbers)))
        groups.append((title, tuple(lines)))
    return Table(head, tuple(groups))


def barrier_table(pairs: Iterable[Found]) -> Table:
    """The barrier between two seeds by entry.

    Args:
      pairs: from `tlx.study.inside.Inside.pairs`.
    """
    head = ("Method", "Labels", "Loss barrier, train", "Loss barrier, test", "Score barrier, test, points")
    groups: dict[str, list[tuple[str, ...]]] = {}
    for pair in sorted(pairs, key=lambda pair: (*_place(pair["cell"]), pair["id"])):
        cell = pair["cell"]
        title = f"{cell['source']} → {cell['target']}" if cell["source"] else cell["target"]
        numbers: tuple[str, ...] = ("", "", pair.get("unknown", ""))
        if "test" in pair:
            losses = (f"{pair[role]['loss_barrier']:.3f}" for role in ("train", "test"))
            numbers = (*losses, f"{100 * pair['test']['score_barrier']:.1f}")
        groups.setdefault(title, []).append((cell["entry"], str(cell["budget"]), *numbers))
    return Table(head, tuple((title, tuple(rows)) for title, rows in groups.items()))


def show(
    cells: Sequence[Found], pairs: Sequence[Found], probes: Sequence[Found], lines: Sequence[str], folder: Path
) -> None:
    """Print the tables, what is missing and where the files are.

    Args:
      cells: from `tlx.study.inside.Inside.cells`.
      pairs: from `Inside.pairs`.
      probes: from `Inside.probes`.
      lines: what could not be inspected, and why.
      folder: with a file for each cell.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    if cells:
        _print(console, "CKA of each stage's features at the start and at the end", cka_table(cells))
        _print(console, "Drift of each stage's weights", drift_table(cells))
        _print(console, "Forgetting: the source's own test score and head", forgetting_table(cells))
    if pairs:
        _print(console, "On the line between two seeds", barrier_table(pairs))
    if probes:
        _print(console, "Accuracy of a linear probe of each stage, before → after, %", probe_table(probes))
    for line in lines:
        console.print(Text(line, style="yellow"), soft_wrap=True)
    if cells or pairs:
        console.print(Text(f"The numbers of each cell: {folder}"), soft_wrap=True)


def _print(console: Console, title: str, table: Table) -> None:
    shown = RichTable(title=Text(title, style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(table.head):
        shown.add_column(Text(name), justify="right" if i else "left", overflow="fold")
    for heading, rows in table.groups:
        if heading:
            shown.add_row(Text(heading, style="bold"))
        for row in rows:
            shown.add_row(*map(Text, row))
        shown.add_section()
    console.print(shown)


def _by_stage(rows: Sequence[Any], say: Callable[[Any], str]) -> Table:
    stages = list(dict.fromkeys(row.stage for row in rows))
    groups = []
    for title in dict.fromkeys(_title(row) for row in rows):
        here: dict[tuple[str, int], dict[str, str]] = {}
        for row in (row for row in rows if _title(row) == title):
            here.setdefault((row.entry, row.budget), {})[row.stage] = say(row)
        lines = [(e, str(n), *(by.get(stage, "") for stage in stages)) for (e, n), by in here.items()]
        groups.append((title, tuple(lines)))
    return Table(("Method", "Labels", *stages), tuple(groups))


def _grouped(cells: Iterable[Found]) -> dict[tuple[str, str, str, int], list[Found]]:
    groups: dict[tuple[str, str, str, int], list[Found]] = {}
    for found in sorted(cells, key=lambda found: (*_place(found["cell"]), found["cell"]["seed"])):
        cell = found["cell"]
        groups.setdefault((cell["source"], cell["target"], cell["entry"], cell["budget"]), []).append(found)
    return groups


def _stage_by_stage(cells: Iterable[Found]) -> Iterator[tuple[tuple[str, str, str, int], str, int, list[Any]]]:
    """Of each group and stage: the place, the stage's name and depth, and what each cell says of it."""
    for key, members in _grouped(cells).items():
        for depth, stage in enumerate(stage["stage"] for stage in members[0]["stages"]):
            yield key, stage, depth, [member["stages"][depth] for member in members]


def _place(cell: Mapping[str, Any]) -> tuple[str, str, str, int]:
    return cell["target"], cell["source"] or "", cell["entry"], cell["budget"]


def _title(row: StageRow | ForgettingRow | ProbeRow) -> str:
    return f"{row.source} → {row.target}"


def _over(values: Iterable[float | None]) -> Interval:
    return interval([value for value in values if value is not None])


def _number(value: Interval) -> str:
    return f"{value.mean:.3f}" if value.n else wording.UNKNOWN


def _percent(value: Interval) -> str:
    return f"{100 * value.mean:.1f}" if value.n else wording.UNKNOWN


def _share(value: Interval) -> str:
    return wording.percent(value.mean) if value.n else wording.UNKNOWN

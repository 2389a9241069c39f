"""The rows as tables for a terminal of 100 columns."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tlx.report import wording
from tlx.report.summary import Comparison, Row, comparisons
from tlx.report.write import Report

_PIPE_WIDTH = 100  # columns when the output is a file or a pipe
_FEW = 3  # refusals that are shown


def show(report: Report) -> None:
    """Print the answer, the tables and where the files are."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    for study in report.studies:
        if len(report.studies) > 1:
            console.print(Text(f"\n{study.name}", style="underline"))
        console.print(Text(study.sentence, style="bold"))
        for table in tables(study.rows):
            console.print()
            console.print(table)
        if study.refused:
            console.print(Text("\n".join(["", *_refused(study.refused)]), style="yellow"), soft_wrap=True)
    console.print(Text(f"\nThe report: {report.html}"), soft_wrap=True)


def _refused(lines: tuple[str, ...]) -> list[str]:
    """The first few, and how many there are."""
    pairs = f"{len(lines)} pair{' has' if len(lines) == 1 else 's have'} no gain, as more differs than the start:"
    more = [f"… and {len(lines) - _FEW} more, which the report lists"] if len(lines) > _FEW else []
    return [pairs, *lines[:_FEW], *more]


def tables(rows: Iterable[Row]) -> list[Table]:
    """One table for each source and target, its rows grouped by budget.

    Args:
      rows: as `summarise` gives them.

    Returns:
      Tables for `rich.console.Console.print`.
    """
    return [_table(made) for made in comparisons(rows)]


def _table(made: Comparison) -> Table:
    table = Table(
        title=Text(made.title, style="bold"),
        caption=_caption(made.rows),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("Method", overflow="fold")
    table.add_column(f"{wording.capital(wording.metric(made.rows))}, %", no_wrap=True)
    table.add_column("Gain, points [95 %]", no_wrap=True)
    for heading in ("Trained", "FLOPs", "Time", "Seeds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for budget in dict.fromkeys(row.budget for row in made.rows):
        table.add_section()
        table.add_row(Text(wording.labels(budget), style="bold"))
        for row in made.rows:
            if row.budget == budget:
                table.add_row(*_cells(row))
    return table


def _caption(rows: Iterable[Row]) -> Text:
    lines = ["Gain over the paired scratch cells; FLOPs per step; time per cell."]
    if any(row.gain is not None and row.gain.below_zero for row in rows):
        lines.append(f"{wording.WORSE} worse than scratch: the interval lies below 0.")
    for row in rows:
        if row.diverged:
            lines.append(f"{row.name}, {wording.labels(row.budget)}: {row.diverged} diverged and left out.")
    return Text("\n".join(lines))


def _cells(row: Row) -> list[Text]:
    """Text objects, because rich would read `[1.0, 2.0]` in a string as markup."""
    colour = ""
    if row.gain is not None and (row.gain.above_zero or row.gain.below_zero):
        colour = "green" if row.gain.above_zero else "red"
    return [
        Text(row.name),
        Text(wording.score(row.score)),
        Text(wording.marked_gain(row), style=colour),
        Text(wording.percent(row.trainable_share)),
        Text(wording.amount(row.step_flops)),
        Text(wording.duration(row.wall_s)),
        Text(wording.seeds(row), style="" if row.seeds_done == row.seeds_expected else "yellow"),
    ]

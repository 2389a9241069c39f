"""Two studies side by side, for a terminal and as Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tlx.measure.stats import Interval
from tlx.report import wording
from tlx.report.beside import Beside, Differing, Line, Side
from tlx.report.markdown_parts import plain
from tlx.report.markdown_parts import table as table_lines
from tlx.report.table import Table

PIPE_WIDTH = 110  # columns when the output is a file or a pipe
FEW = 8  # cells of one study alone that are named in a terminal
_LONG = 40  # characters of a value


def scores(found: Beside) -> Table:
    """Both scores and their difference, grouped by source and target.

    Args:
      found: by `beside.compare`.
    """
    head = ("Method", "Labels", "A, %", "B, %", "B − A, points [95 %]", "Pairs")
    groups = []
    for pair in dict.fromkeys((line.target, _source(line, found.lines)) for line in found.lines):
        mine = [line for line in found.lines if (line.target, _source(line, found.lines)) == pair]
        target, source = pair
        groups.append((f"{source} → {target}" if source else target, tuple(_cells(line) for line in mine)))
    return Table(head, tuple(groups))


def _source(line: Line, lines: Iterable[Line]) -> str | None:
    """A line's source; random starts stand with the only source there is, or on their own."""
    there = {one.source for one in lines if one.target == line.target and one.source is not None}
    return line.source if line.source is not None or len(there) != 1 else there.pop()


def _cells(line: Line) -> tuple[str, ...]:
    pairs = str(line.difference.n) + (f" ({line.refused} refused)" if line.refused else "")
    return (
        line.entry,
        str(line.budget),
        wording.score(line.a),
        wording.score(line.b),
        _marked(line.difference),
        pairs,
    )


def _marked(difference: Interval) -> str:
    return f"{wording.WORSE} {wording.gain(difference)}" if difference.below_zero else wording.gain(difference)


def differing(found: Sequence[Differing], shorten: bool) -> Table:
    """A line for each field that differs.

    Args:
      found: fields.
      shorten: whether long values are cut, as digests may be.
    """
    lines = tuple((one.field, _value(one.a, shorten), _value(one.b, shorten)) for one in found)
    return Table(("Field", "A", "B"), (("", lines),))


def _value(value: Any, shorten: bool) -> str:
    text = wording.UNKNOWN if value is None else str(value)
    return f"{text[:_LONG]}…" if shorten and len(text) > _LONG else text


def show(found: Beside) -> None:
    """Print it.

    Args:
      found: by `beside.compare`.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    for name, side in (("A", found.a), ("B", found.b)):
        console.print(Text(_side(name, side), style="bold"), soft_wrap=True)
    if found.lines:
        console.print(_rich(scores(found)))
    else:
        console.print(Text("They have no cell in common."))
    for line in found.refused:
        console.print(Text(line, style="yellow"), soft_wrap=True)
    for title, given in _differences(found):
        if given:
            console.print(Text(title, style="bold"))
            console.print(_rich(differing(given, shorten=True)))
        else:
            console.print(Text(f"{title}: none"))
    for name, cells in (("A", found.only_a), ("B", found.only_b)):
        if cells:
            console.print(Text(_only(name, cells), style="bold"))
            more = [f"… and {len(cells) - FEW} more"] if len(cells) > FEW else []
            console.print(Text("\n".join([*cells[:FEW], *more])), soft_wrap=True)


def markdown(found: Beside) -> str:
    """The same as Markdown, with all values and cells in full.

    Args:
      found: by `beside.compare`.
    """
    title = f"# {plain(found.a.study)} and {plain(found.b.study)}"
    parts = [title, "\n".join(f"- {plain(_side(name, side))}" for name, side in (("A", found.a), ("B", found.b)))]
    parts.append(table_lines(scores(found)) if found.lines else "They have no cell in common.")
    parts += [plain(line) for line in found.refused]
    for heading, given in _differences(found):
        parts += [f"## {heading}", table_lines(differing(given, shorten=False)) if given else "None."]
    for name, cells in (("A", found.only_a), ("B", found.only_b)):
        if cells:
            parts += [f"## {_only(name, cells)}", "\n".join(f"- {plain(cell)}" for cell in cells)]
    return "\n\n".join(parts) + "\n"


def _side(name: str, side: Side) -> str:
    return f"{name}: {side.study} in {side.folder}, {side.done} of {side.cells} cells done"


def _differences(found: Beside) -> tuple[tuple[str, tuple[Differing, ...]], ...]:
    return (
        ("What the configs differ in", found.config),
        ("What data, checkpoints, numerics and versions differ in", found.origins),
    )


def _only(name: str, cells: Sequence[str]) -> str:
    return f"{len(cells)} cell{'' if len(cells) == 1 else 's'} only in {name}"


def _rich(table: Table) -> RichTable:
    made = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    for heading in table.head:
        made.add_column(Text(heading), overflow="fold")
    for heading, rows in table.groups:
        made.add_section()
        if heading:
            made.add_row(Text(heading, style="bold"))
        for row in rows:
            made.add_row(*map(Text, row))
    return made

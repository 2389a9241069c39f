"""Single cells, or what SQL gives of them, as a table for a terminal."""

from collections import Counter
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tlx.records.answer import Answer
from tlx.records.columns import STATUSES
from tlx.report import wording

PIPE_WIDTH = 120  # columns when the output is a file or a pipe
SHOWN = 100  # rows
_NARROW = 16  # characters that are kept on one line
_HEADINGS = {
    "study": "Study",
    "source": "Source",
    "target": "Target",
    "entry": "Method",
    "budget": "Labels",
    "seed": "Seed",
    "status": "Status",
    "rate": "Rate",
    "val_score": "Val, %",
    "test_score": "Test, %",
    "gain": "Gain",
    "wall_s": "Time",
    "id": "Record",
}
_SHARES = {"val_score": "{:.1f}", "test_score": "{:.1f}", "gain": "{:+.1f}"}


def show_cells(cells: Answer) -> None:
    """Print the most asked-for columns of cells, and how many have which status.

    Args:
      cells: with the columns of `tlx.records.columns.COLUMNS`.
    """
    of = {name: place for place, name in enumerate(cells.columns)}
    names = [name for name in _HEADINGS if name != "study" or len({row[of["study"]] for row in cells.rows}) > 1]
    rows = [[_said(name, row[of[name]]) for name in names] for row in cells.rows[:SHOWN]]
    _print([_HEADINGS[name] for name in names], rows, len(cells.rows))
    counts = Counter(row[of["status"]] for row in cells.rows)
    parts = [f"{counts[status]} {status}" for status in STATUSES if counts[status]]
    refused = sum(row[of["refusal"]] is not None for row in cells.rows)
    parts += [f"{refused} without a gain, as their scratch cells differ in more"] if refused else []
    total = f"{len(cells.rows)} cell{'' if len(cells.rows) == 1 else 's'}"
    print(f"{total}: {', '.join(parts)}" if parts else total)


def show_answer(answer: Answer) -> None:
    """Print what a query gave.

    Args:
      answer: any columns.
    """
    rows = [[_text(value) for value in row] for row in answer.rows[:SHOWN]]
    _print(list(answer.columns), rows, len(answer.rows))


def _print(head: list[str], rows: list[list[str]], count: int) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for place, heading in enumerate(head):
        numbers = any(_is_number(row[place]) for row in rows)
        narrow = all(len(row[place]) <= _NARROW for row in rows)
        table.add_column(Text(heading), justify="right" if numbers else "left", overflow="fold", no_wrap=narrow)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    if count > len(rows):
        print(f"{count - len(rows)} more rows: --json and --csv give them all, --sql those you ask for")


def _said(name: str, value: Any) -> str:
    if value is None:
        return wording.UNKNOWN
    if name in _SHARES:
        return _SHARES[name].format(100 * value + 0.0)
    return wording.duration(value) if name == "wall_s" else _text(value)


def _text(value: Any) -> str:
    if value is None:
        return wording.UNKNOWN
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

"""What can be done to examples, as a table."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tlx.data.ops.listing import Row

PIPE_WIDTH = 110  # columns when the output is a file or a pipe


def show(rows: Iterable[Row]) -> None:
    """Print ops with their settings.

    Args:
      rows: from `tlx.data.ops.listing`.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    console.print(table(rows))


def table(rows: Iterable[Row]) -> Table:
    """Ops as a table of at most 110 columns.

    Args:
      rows: from `tlx.data.ops.listing`.

    Returns:
      For `rich.console.Console.print`.
    """
    made = Table(
        title=Text("What is done to examples", style="bold"),
        caption="In the program: by config.preprocess.ops, in that order. On the host: always, or by another field.",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_lines=True,
    )
    for heading, width in (("Op", 20), ("What it does", 34), ("Settings, with their defaults", 52)):
        made.add_column(heading, overflow="fold", width=width)
    for row in rows:
        name = Text(row.name, style="bold").append(f"\n{row.runs}, {row.takes}", style="not bold dim")
        does = Text(row.does).append(f"\n{row.paper}" if row.paper else "", style="dim")
        lines = [Text(f"{key}={value!r}  ").append(doc, style="dim") for key, value, doc in row.settings]
        made.add_row(name, does, Text("\n").join(lines))
    return made

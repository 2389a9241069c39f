"""What became of every tensor of a checkpoint, as a table for the terminal."""

from rich.console import Console
from rich.table import Table

from tlx.study.convert import Conversion

_PIPE_WIDTH = 200  # columns when the output is a file or a pipe: names of tensors are long


def show(done: Conversion) -> None:
    """Print a row for each leaf and each tensor left out, and a summary.

    Args:
      done: from `study.convert.convert`.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("theirs", "ours", "shape", ""):
        table.add_column(column, overflow="fold")
    for row in done.tensors:
        table.add_row(row["theirs"], row["ours"], "×".join(map(str, row["shape"])), row["what"])
    console.print(table)
    model = done.model
    about = ", ".join(f"{name} {value}" for name, value in model["settings"].items())
    console.print(f"\n{done.format}: a {model['name']} of {done.parameters:,} parameters ({about})", soft_wrap=True)
    console.print(done.line, soft_wrap=True)
    console.print(f"written as {done.written_as}: {done.folder}", soft_wrap=True)

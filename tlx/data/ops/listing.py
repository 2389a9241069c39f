"""What is done to examples, and where: the table of `tlx data ops`."""

from dataclasses import dataclass
from typing import Any

from tlx.data.ops.registry import OPS
from tlx.models.inputs import IMAGE

PROGRAM = "in program"
HOST = "host"


@dataclass(frozen=True)
class Row:
    """One op.

    Args:
      name: what a config calls it; what is done on the host has no name there.
      runs: `in program`, so compiled with the train step, or `host`.
      takes: `image`, `tokens` or `text`.
      does: what it does, in a few words.
      settings: name, default and meaning of each.
      paper: author and year, or empty.
    """

    name: str
    runs: str
    takes: str
    does: str
    settings: tuple[tuple[str, Any, str], ...] = ()
    paper: str = ""


# What happens on the host is the same at every step, and part of the dataset: nothing there is random.
ON_HOST = (
    Row("decode", HOST, IMAGE, "makes pixels of PNG and JPEG files"),
    Row("tokenise", HOST, "text", "makes token ids of texts, cut or filled up to one length"),
    Row("pack", HOST, "tokens", "puts several token sequences into each row"),
)


def rows() -> tuple[Row, ...]:
    """All ops, those on the host first."""
    in_program = tuple(
        Row(
            op.name,
            PROGRAM,
            op.takes,
            op.does,
            tuple((name, field.default, field.doc) for name, field in op.fields().items()),
            op.paper,
        )
        for op in OPS.values()
    )
    return ON_HOST + in_program

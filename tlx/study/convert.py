"""From one checkpoint to another: somebody else's to ours, ours to files that other libraries load."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlx import tree
from tlx.artifact import describe_model
from tlx.checkpoint import save_artifact
from tlx.errors import TlxError, suggest
from tlx.interop.formats import FORMATS
from tlx.interop.write import save_released
from tlx.study.weights import OURS, RELEASED, open_weights


@dataclass(frozen=True)
class Conversion:
    """What was done.

    Args:
      source: where the weights were.
      format: what had written them.
      model: the architecture, in plain values.
      parameters: how many numbers there are.
      tensors: a row for each leaf and each tensor left out, in plain values.
      line: the same in one line.
      folder: where the weights are now.
      written_as: the format they are in.
    """

    source: str
    format: str
    model: dict[str, Any]
    parameters: int
    tensors: tuple[dict[str, Any], ...]
    line: str
    folder: str
    written_as: str


def convert(source: Path, folder: Path, written_as: str = "") -> Conversion:
    """Read a checkpoint and write it in another format.

    Args:
      source: what `weights.open_weights` opens.
      folder: to make.
      written_as: a format's name or `tlx`; empty for ours where the source is not ours, and else for the first of
        its architecture that can be written.

    Returns:
      What became of every tensor.

    Raises:
      TlxError: there is no such format, or it holds another architecture.
      FileError: the source cannot be read, or the folder not be written.
    """
    weights = open_weights(str(source))
    model = weights.model
    writable = {format.name: format for format in FORMATS if format.model == model.name and format.config}
    goal = written_as or (next(iter(writable), OURS) if weights.format == OURS else OURS)
    if goal != OURS and goal not in writable:
        raise TlxError(f"--to: a {model.name!r} cannot be written as {goal!r}{suggest(goal, [OURS, *writable])}")
    leaves, rows, line = weights.load(model)
    if goal == OURS:
        lineage = {"format": weights.format, "tensors": rows}
        meta = {"kind": RELEASED, "model": describe_model(model), "has_head": weights.has_head, "lineage": lineage}
        save_artifact(folder, leaves, meta)
    else:
        beside = source if source.is_dir() else None
        save_released(folder, writable[goal], model, leaves, with_head=weights.has_head, beside=beside)
    count = tree.count(leaves)
    return Conversion(str(source), weights.format, describe_model(model), count, tuple(rows), line, str(folder), goal)

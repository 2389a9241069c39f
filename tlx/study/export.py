"""What a cell of a study trained, as an adapter that HF PEFT loads."""

from dataclasses import dataclass
from pathlib import Path

from tlx import tree
from tlx.errors import ConfigError, FileError
from tlx.interop.peft_save import save_adapter
from tlx.study.merge import kept_of
from tlx.study.weights import open_weights


@dataclass(frozen=True)
class Exported:
    """A written adapter.

    Args:
      cell: id of the cell.
      method: that made it.
      base: format of the model it belongs to.
      parameters: how many numbers it holds, head included.
      folder: where it is.
    """

    cell: str
    method: str
    base: str
    parameters: int
    folder: str

    def line(self) -> str:
        """One line for the terminal."""
        return f"{self.method}, {self.parameters:,} parameters beside a {self.base} model; {self.folder}"


def export_cell(work: Path, prefix: str, out: Path) -> Exported:
    """Write the adapter of a finished cell whose source is a released checkpoint.

    Args:
      work: of a study that was run with `config.artifacts=True`.
      prefix: the beginning of a cell's id that no other cell has.
      out: folder to make.

    Returns:
      What was written.

    Raises:
      FileError: there is no such cell, nothing was kept of it, or its source is no checkpoint of another library.
      CheckpointError: the leaves it began with are gone.
      ConfigError: PEFT has no such method, or not for these layers.
    """
    record, kept, source = kept_of(work, prefix)
    released = open_weights(source["checkpoint"]).released if source.get("checkpoint") else None
    if released is None:
        raise FileError(work, "this cell did not start from another library's checkpoint, so no other knows its base")
    try:
        save_adapter(out, kept.adapted, kept.variables, released.format)
    except ConfigError as error:
        raise error.within(f"config.adapt.{record['cell']['entry']}.method") from None
    moved = {p: leaf for p, leaf in tree.flatten(kept.variables).items() if p.startswith(("adapters/", "params/head/"))}
    return Exported(record["id"], kept.adapted.method, released.format.name, tree.count(moved), str(out))

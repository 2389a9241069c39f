"""What became of every tensor of a file and every leaf of a model."""

from dataclasses import dataclass
from typing import Any

RESET, LEFT_OUT = "reset", "left out"


@dataclass(frozen=True)
class Row:
    """One leaf, or one tensor that became none.

    Args:
      ours: path of the leaf, or empty.
      theirs: name of the tensor, or empty.
      what: `copied`, `reset`, `left out`, or how it was changed.
      shape: of the leaf, or else of the tensor.
    """

    ours: str
    theirs: str
    what: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Report:
    """All rows of one loading, in the model's order.

    Args:
      rows: one for each leaf, then one for each tensor that was left out.
    """

    rows: tuple[Row, ...]

    def of(self, what: str) -> tuple[Row, ...]:
        """The rows that say this."""
        return tuple(row for row in self.rows if row.what == what)

    def line(self) -> str:
        """One line for the terminal."""
        taken = [row for row in self.rows if row.what not in (RESET, LEFT_OUT)]
        changed = [row for row in taken if row.what != "copied"]
        parts = [f"read {len(taken)} leaves"]
        if changed:
            parts.append(f"{len(changed)} of them changed ({'; '.join(sorted({row.what for row in changed}))})")
        parts.append(f"reset {', '.join(row.ours for row in self.of(RESET)) or 'none'}")
        parts.append(f"left out {', '.join(row.theirs for row in self.of(LEFT_OUT)) or 'none'}")
        return ", ".join(parts)

    def as_dict(self) -> list[dict[str, Any]]:
        """Plain values, for a record."""
        return [
            {"ours": row.ours, "theirs": row.theirs, "what": row.what, "shape": list(row.shape)} for row in self.rows
        ]

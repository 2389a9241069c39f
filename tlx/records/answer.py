"""A table of plain values, for JSON, CSV and the terminal alike."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Answer:
    """Rows of values.

    Args:
      columns: names, no two alike.
      rows: a value for each column: text, a number, a truth value, a list or dict of those, or None.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def as_dicts(self) -> list[dict[str, Any]]:
        """One dict for each row, as JSON can hold it."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def as_csv(self) -> str:
        """Comma-separated values with a line of names; nothing where a value is missing."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()


def make_answer(columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> Answer:
    """An answer of anything that a database or a frame gives.

    Args:
      columns: names; a name that is there already gets a number.
      rows: values, of which NaN and infinity become None, numbers of other types floats, and all else text.
    """
    names: list[str] = []
    for name in columns:
        alike = sum(known == name or known.startswith(f"{name}_") for known in names) if name in names else 0
        names.append(f"{name}_{alike + 1}" if alike else name)
    return Answer(tuple(names), tuple(tuple(map(_plain, row)) for row in rows))


def frame_answer(frame: "pd.DataFrame") -> Answer:
    """All of a frame.

    Args:
      frame: with a column name for each column.
    """
    columns = [frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame.columns]
    rows = zip(*columns, strict=True) if columns else ()
    return make_answer(frame.columns, rows)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value)

"""Records as a pandas DataFrame, a row for each cell."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlx.measure.pairing import Baselines, Pair
from tlx.records.columns import COLUMNS, DAMAGED, FAILED, MISSING, Facts
from tlx.records.reading import Reading, read

if TYPE_CHECKING:
    import pandas as pd

# What no column is made from, and most of a record's size.
_BULKY = frozenset({"curve", "surgery"})


def load(*folders: Path | str, warn: Callable[[str], None] = warnings.warn) -> "pd.DataFrame":
    """The cells of one or several studies as a frame, a row each.

    Args:
      folders: work folders of studies; an empty one gives no rows.
      warn: told of each file that cannot be used, in one line; the others are loaded all the same.

    Returns:
      A frame with the columns of `tlx.records.columns.COLUMNS`, which also says what each holds. Rows are in the order
      of the folders, then of the study's grid; records of cells that `study.json` does not name follow. A cell without
      a result is a row, too, and `status` says why. `gain` is missing where the two cells must not be compared, and
      `refusal` names the field in which they differ.

    Raises:
      FileError: if there is no such folder.
    """
    import pandas as pd

    values: dict[str, list[Any]] = {column.name: [] for column in COLUMNS}
    for folder in folders:
        reading = read(folder, leave_out=_BULKY)
        for line in reading.unread:
            warn(line)
        for facts in _cells(reading, str(folder)):
            for column in COLUMNS:
                values[column.name].append(column.of(facts))
    return pd.DataFrame({column.name: pd.array(values[column.name], dtype=column.dtype) for column in COLUMNS})


def _cells(reading: Reading, folder: str) -> Iterator[Facts]:
    study = str(reading.manifest["study"])
    planned = {item["id"]: item["cell"] for item in reading.manifest["cells"]}
    known = planned | {name: record["cell"] for name, record in reading.records.items() if name not in planned}
    mine = Baselines(reading.records[name] for name in planned if name in reading.records)
    every = Baselines(reading.records.values())
    for name, cell in known.items():
        record = reading.records.get(name)
        reason = None if record else reading.damaged.get(name, reading.failures.get(name))
        yield Facts(
            folder=folder,
            study=study if name in reading.planned or not record else str(record.get("study", study)),
            id=name,
            planned=name in reading.planned,
            status=_status(name, reading),
            cell=cell,
            record=record or {},
            timing=reading.timings.get(name, {}),
            reason=reason,
            pair=_paired(record, mine if name in planned else every) if record else None,
        )


def _status(name: str, reading: Reading) -> str:
    if name in reading.records:
        return str(reading.records[name]["status"])
    if name in reading.damaged:
        return DAMAGED
    return FAILED if name in reading.failures else MISSING


def _paired(record: Any, baselines: Baselines) -> Pair | None:
    return None if record["cell"]["arm"] == "scratch" else baselines.pair(record)

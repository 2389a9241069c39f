"""What a report is made from: the records of one study, and what lies beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tlx.errors import FileError
from tlx.measure.pairing import Record
from tlx.records import read


@dataclass(frozen=True)
class Results:
    """A study as it stands.

    Args:
      records: in the manifest's order, those of its cells alone.
      manifest: the planned cells, command and config.
      timings: by cell id, as far as known: `wall_s` in seconds.
      failures: by cell id, why it has no record.
      folder: the work folder, where metrics and the like are; None if there is none.
      strangers: number of records of other cells, which were left out.
      unread: one line for each file that could not be used.
    """

    records: tuple[Record, ...]
    manifest: Mapping[str, Any]
    timings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    strangers: int = 0
    unread: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the study."""
        return str(self.manifest["study"])


def gather(
    records: Mapping[str, Record],
    manifest: Mapping[str, Any],
    timings: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, str],
    folder: Path | None,
) -> Results:
    """Results in the manifest's order, whatever order the records come in.

    Args:
      records: by cell id.
      manifest: the planned cells, command and config.
      timings: by cell id.
      failures: by cell id.
      folder: the work folder, or None.
    """
    there = tuple(records[item["id"]] for item in manifest["cells"] if item["id"] in records)
    return Results(there, manifest, timings, failures, folder, len(records) - len(there))


def load(workdir: Path) -> Results:
    """The results in a work folder.

    Args:
      workdir: of a study, finished or not.

    Returns:
      What can be read. A cell whose record is damaged has failed; a study whose manifest is lost has the cells that
      have records.

    Raises:
      FileError: there is no study in the folder.
    """
    workdir = Path(workdir)
    if not (workdir / "study.json").exists() and not any(workdir.glob("records/*.json")):
        raise FileError(workdir / "study.json", "there is no such file")
    found = read(workdir)
    failures = {**found.failures, **found.damaged}
    return replace(gather(found.records, found.manifest, found.timings, failures, workdir), unread=found.unread)

"""Records: one file per finished cell that never changes, and beside it what may differ from run to run."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlx import atomic
from tlx.errors import FileError, RecordError

FORMAT = 2
# In canonical JSON a single space begins the keys of the outermost level alone.
_DIGEST = re.compile(rb'(?<=\n) "digest": "([0-9a-f]{64})",\n')


def content_id(identity: Mapping[str, Any]) -> str:
    """The name of a cell: 16 hex digits, the same only for the same settings and the same data.

    Args:
      identity: everything that determines the result, as JSON can hold it.
    """
    return atomic.digest_json(identity)[:16]


class Records:
    """The results of one study.

    Args:
      folder: the working folder, with `records/`, `timings/` and `study.json`; need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def publish(self, record: Mapping[str, Any], timing: Mapping[str, Any]) -> bool:
        """Make a cell's result known, once and for all.

        The timing goes first: a kill in between leaves a cell without a record, which is simply run again;
        the other way round it would leave a record whose timing nobody would ever measure again.

        Args:
          record: the result with its `id`; `format` and `digest` are added.
          timing: what it took; no part of the result, so the last to write it wins.

        Returns:
          True if this call published it, False if the same result was there already.

        Raises:
          RecordError: if another result of this cell was published before.
          FileError: if the system refuses.
        """
        content = {"format": FORMAT, **record}
        name = content["id"]
        data = atomic.canonical_json({**content, "digest": atomic.digest_json(content)})
        atomic.write_json(self._path("timings", name), dict(timing))
        self._path("failures", name).unlink(missing_ok=True)
        try:
            return atomic.publish(self._path("records", name), data)
        except FileError as error:
            before = self.get(name) if self.has(name) else content
            keys = (before.keys() | content.keys()) - {"digest"}
            if not (other := sorted(key for key in keys if before.get(key) != content.get(key))):
                raise
            message = f"this cell was recorded before with other {', '.join(other)}; the first was kept"
            raise RecordError(error.path, message) from None

    def fail(self, name: str, reason: str, details: str) -> None:
        """Note that a cell failed; it has no record then, and is run again the next time.

        Args:
          name: id of the cell.
          reason: in one line.
          details: for those who look for the cause.

        Raises:
          FileError: if the system refuses.
        """
        failure = {"format": FORMAT, "id": name, "reason": reason, "details": details}
        atomic.write_json(self._path("failures", name), failure)

    def failures(self) -> dict[str, str]:
        """The reason of each cell that failed and has no record since, by id.

        Raises:
          FileError: if one of the notes is damaged or newer than this program.
        """
        paths = sorted((self.folder / "failures").glob("*.json"))
        found = {path.stem: known(path, atomic.read_json(path)) for path in paths if not self.has(path.stem)}
        return {name: str(failure.get("reason")) for name, failure in found.items()}

    def has(self, name: str) -> bool:
        """Whether the cell with this id has a record."""
        return self._path("records", name).exists()

    def get(self, name: str) -> dict[str, Any]:
        """The record of the cell with this id.

        Raises:
          RecordError: if there is none, or it is damaged or newer than this program.
        """
        path = self._path("records", name)
        if not path.exists():
            raise RecordError(path, "there is no such record")
        record = _intact(path)
        if record is None or record.get("id") != name:
            raise RecordError(path, "is damaged; delete it to have the cell run again")
        return known(path, record)

    def load_all(self) -> list[dict[str, Any]]:
        """Every record, in the order of the ids.

        Raises:
          RecordError: if one of them is damaged or newer than this program.
        """
        return [self.get(path.stem) for path in sorted((self.folder / "records").glob("*.json"))]

    def timing(self, name: str) -> dict[str, Any] | None:
        """What the cell with this id took, or None if that was not kept."""
        path = self._path("timings", name)
        return dict(atomic.read_json(path)) if path.exists() else None

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write down which cells the study has, and clear away what killed writers left behind."""
        atomic.write_json(self.folder / "study.json", {"format": FORMAT, **manifest})
        for folder in (self.folder, self.folder / "records", self.folder / "timings"):
            atomic.clean_temporaries(folder)

    def manifest(self) -> dict[str, Any]:
        """What `write_manifest` wrote.

        Raises:
          FileError: if there is no study in the folder, or its manifest is damaged or too new.
        """
        path = self.folder / "study.json"
        return known(path, atomic.read_json(path))

    def _path(self, kind: str, name: str) -> Path:
        path = self.folder / kind / f"{name}.json"
        if not re.fullmatch("[0-9a-f]{16}", name):
            raise RecordError(path, "is not named by the 16 hex digits of a cell's id")
        return path


def _intact(path: Path) -> dict[str, Any] | None:
    """The content of a file with a digest of its own, or None if they do not agree."""
    try:
        data = path.read_bytes()
        # As written, the digest is a line of its own and the rest what was digested: no need to write it all again.
        line = _DIGEST.search(data)
        if line and hashlib.sha256(data[: line.start()] + data[line.end() :]).hexdigest() == line[1].decode():
            record = json.loads(data)
        else:
            record = atomic.read_json(path)
            content = {key: value for key, value in record.items() if key != "digest"}
            if record["digest"] != atomic.digest_json(content):
                return None
    except (OSError, ValueError, RecursionError, FileError, AttributeError, KeyError):
        return None
    return record if isinstance(record, dict) else None


def known(path: Path, content: Any) -> dict[str, Any]:
    """The content of a file, unless a later version of this program wrote it."""
    if not isinstance(content, dict) or not isinstance(version := content.get("format"), int):
        raise RecordError(path, "does not say which format it has, so it is not ours")
    if version > FORMAT:
        raise RecordError(path, f"has format {version}, this tlx knows formats up to {FORMAT}; update tlx")
    if version < FORMAT:
        raise RecordError(path, f"has format {version}, this tlx knows format {FORMAT}; run the study in a new folder")
    return content

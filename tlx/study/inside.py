"""What `tlx inspect` found: one file for each cell, pair of cells or probed cell, which never changes."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlx import atomic
from tlx.errors import FileError

FORMAT = 1
FOLDER, PAIRS, PROBES = "inside", "pairs", "probes"


class Inside:
    """The findings of one study.

    Args:
      work: its work folder; need not exist.
    """

    def __init__(self, work: Path) -> None:
        self.folder = Path(work) / FOLDER

    def has(self, name: str, part: str = "") -> bool:
        """Whether something is known of a cell, or of a pair `ID-ID`.

        Args:
          name: id of the cell, or of the pair.
          part: `PAIRS` or `PROBES`; empty for what is told of every cell.
        """
        return self._path(name, part).exists()

    def publish(self, found: Mapping[str, Any], part: str = "") -> None:
        """Write down what was found, once and for all.

        Args:
          found: plain values with the `id`; `format` and `digest` are added, and what is not a number becomes None.
          part: as for `has`.

        Raises:
          FileError: other findings are there, or the system refuses.
        """
        content = {"format": FORMAT, **_plain(dict(found))}
        data = atomic.canonical_json({**content, "digest": atomic.digest_json(content)})
        atomic.publish(self._path(content["id"], part), data)

    def cells(self) -> list[dict[str, Any]]:
        """What was found in every cell, in the order of the ids.

        Raises:
          FileError: a file is damaged, or of another version.
        """
        return self._all("")

    def pairs(self) -> list[dict[str, Any]]:
        """What was found between two cells; order and errors as for `cells`."""
        return self._all(PAIRS)

    def probes(self) -> list[dict[str, Any]]:
        """What was read from the stages of cells; order and errors as for `cells`."""
        return self._all(PROBES)

    def _all(self, part: str) -> list[dict[str, Any]]:
        return [_read(path) for path in sorted((self.folder / part).glob("*.json"))]

    def _path(self, name: str, part: str) -> Path:
        return self.folder / part / f"{name}.json"


def _read(path: Path) -> dict[str, Any]:
    found = atomic.read_json(path)
    content = {key: value for key, value in found.items() if key != "digest"} if isinstance(found, dict) else {}
    if content.get("id") != path.stem or found.get("digest") != atomic.digest_json(content):
        raise FileError(path, "is damaged; delete it and run `tlx inspect` again")
    if content["format"] != FORMAT:
        raise FileError(path, f"has format {content['format']}, this tlx knows format {FORMAT}; delete it to renew it")
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

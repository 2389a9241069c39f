"""The report's files."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tlx.atomic import write_bytes
from tlx.report.html import html
from tlx.report.markdown import markdown
from tlx.report.page import make_page
from tlx.report.pairing import Record
from tlx.report.summary import Row


@dataclass(frozen=True)
class Report:
    """What was reported, and where it is.

    Args:
      rows: the numbers, as `summarise` gives them.
      sentence: the answer.
      failed: of the planned cells that have no result, why, one line each.
      markdown: `report.md`.
      html: `report.html`.
      figures: PNG files.
    """

    rows: tuple[Row, ...]
    sentence: str
    failed: tuple[str, ...]
    markdown: Path
    html: Path
    figures: tuple[Path, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them: None for what is not a number."""
        return {
            "sentence": self.sentence,
            "failed": list(self.failed),
            "rows": [_plain(asdict(row)) for row in self.rows],
            "markdown": str(self.markdown),
            "html": str(self.html),
            "figures": [str(path) for path in self.figures],
        }


def write(
    records: Iterable[Record],
    manifest: Mapping[str, Any],
    timings: Mapping[str, Mapping[str, Any]],
    folder: Path,
    failures: Mapping[str, str] | None = None,
) -> Report:
    """Write `report.md`, `report.html` and `figures/*.png`; only times differ between two writes.

    Args:
      records: the study's records, any order; those outside the manifest are left out.
      manifest: the study's planned cells, command and config.
      timings: by cell id, as far as known: `wall_s` in seconds.
      folder: where the files go; it is made if it is missing.
      failures: by cell id, why it has no record.

    Raises:
      PairingError: if two arms differ in more than where they start from; nothing is written then.
      FileError: if a file cannot be written.
    """
    page = make_page(records, manifest, timings, failures or {})
    figures = []
    for picture in (picture for section in page.sections for picture in section.pictures):
        figures.append(folder / "figures" / f"{picture.name}.png")
        write_bytes(figures[-1], picture.png)
    failed = tuple(line for line in page.unfinished if line.startswith("failed: "))
    report = Report(page.rows, page.sentence, failed, folder / "report.md", folder / "report.html", tuple(figures))
    write_bytes(report.markdown, markdown(page).encode())
    write_bytes(report.html, html(page).encode())
    return report


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value

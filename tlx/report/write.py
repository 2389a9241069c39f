"""The report's files."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tlx.atomic import write_bytes
from tlx.measure.pairing import Record
from tlx.report.figures import export, write_png
from tlx.report.for_papers import latex, spreadsheet
from tlx.report.html import html
from tlx.report.markdown import markdown
from tlx.report.page import make_page
from tlx.report.results import Results, gather
from tlx.report.summary import Row


@dataclass(frozen=True)
class Reported:
    """What was said of one study.

    Args:
      name: of the study.
      rows: the numbers, as `summarise` gives them.
      sentence: the answer.
      failed: of the planned cells that have no result, why, one line each.
      refused: of the pairs that must not be compared, why, one line each.
    """

    name: str
    rows: tuple[Row, ...]
    sentence: str
    failed: tuple[str, ...]
    refused: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them: None for what is not a number."""
        return {
            "sentence": self.sentence,
            "failed": list(self.failed),
            "refused": list(self.refused),
            "rows": [_plain(asdict(row)) for row in self.rows],
        }


@dataclass(frozen=True)
class Report:
    """What was reported, and where it is.

    Args:
      studies: what was said of each.
      markdown: `report.md`.
      html: `report.html`.
      figures: files of pictures.
      tables: `tables.csv` and `tables.tex`.
    """

    studies: tuple[Reported, ...]
    markdown: Path
    html: Path
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """Of all studies."""
        return tuple(row for study in self.studies for row in study.rows)

    @property
    def sentence(self) -> str:
        """The answers."""
        return " ".join(study.sentence for study in self.studies)

    @property
    def failed(self) -> tuple[str, ...]:
        """Of the planned cells that have no result, why, one line each."""
        return tuple(line for study in self.studies for line in study.failed)

    @property
    def refused(self) -> tuple[str, ...]:
        """Of the pairs that must not be compared, why, one line each."""
        return tuple(line for study in self.studies for line in study.refused)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them; of several studies, each by itself."""
        files = {
            "markdown": str(self.markdown),
            "html": str(self.html),
            "figures": [str(path) for path in self.figures],
            "tables": [str(path) for path in self.tables],
        }
        if len(self.studies) == 1:
            return {**self.studies[0].as_dict(), **files}
        return {"studies": [{"study": study.name, **study.as_dict()} for study in self.studies], **files}


def write(
    records: Iterable[Record],
    manifest: Mapping[str, Any],
    timings: Mapping[str, Mapping[str, Any]],
    folder: Path,
    failures: Mapping[str, str] | None = None,
) -> Report:
    """Write the report of one study into its work folder; only times differ between two writes.

    Arms that differ in more than where they start from have no gain, and the report says why.

    Args:
      records: the study's records, any order; those outside the manifest are left out.
      manifest: the study's planned cells, command and config.
      timings: by cell id, as far as known: `wall_s` in seconds.
      folder: of the study, where its metrics are and where the files go; it is made if it is missing.
      failures: by cell id, why it has no record.

    Raises:
      PairingError: if the manifest names a cell twice; nothing is written then.
      FileError: if a file cannot be written.
    """
    found = {record["id"]: record for record in records}
    return write_all([gather(found, manifest, timings, failures or {}, folder)], folder)


def write_all(given: Sequence[Results], folder: Path, figures: bool = False) -> Report:
    """Write `report.md`, `report.html`, `tables.csv`, `tables.tex` and the pictures that the first needs.

    Args:
      given: the results of each study, at least one.
      folder: where the files go; it is made if it is missing.
      figures: whether every chart is written as SVG, PDF and PNG, too.

    Raises:
      PairingError: if a study has two records of one cell; nothing is written then.
      FileError: if a file cannot be written.
    """
    page = make_page(given)
    charts = [chart for study in page.studies for chart in study.charts]
    first = [chart for study in page.studies for chart in (study.picture, study.curves) if chart is not None]
    drawings: dict[str, str] = {}
    files = write_png(first, drawings, folder / "figures")
    text = html(page, drawings)
    if figures:
        files = export(charts, folder / "figures")
    studies = tuple(
        Reported(
            one.name,
            one.rows,
            one.sentence,
            tuple(cell.line() for cell in one.unfinished if cell.state == "failed"),
            one.refused,
        )
        for one in page.studies
    )
    rows = [(one.name, one.rows) for one in page.studies]
    texts = {folder / "tables.csv": spreadsheet(rows), folder / "tables.tex": latex(rows)}
    for path, table in texts.items():
        write_bytes(path, table.encode())
    report = Report(studies, folder / "report.md", folder / "report.html", tuple(files), tuple(texts))
    pictures = {path.stem for path in files}
    write_bytes(report.markdown, markdown(page, pictures).encode())
    write_bytes(report.html, text.encode())
    return report


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value

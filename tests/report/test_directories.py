"""Work folders as they come: empty, partial, of a single seed, all diverged, very large."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tlx.records import Records
from tlx.report import Report, load, write_all
from tlx.report.chart import bundle
from tlx.report.html import LISTED, PAGE


def reported(study: SimpleNamespace, folder: Path) -> tuple[Report, str]:
    """The report of a work folder with these records, and its page without Vega's scripts."""
    records = Records(folder)
    records.write_manifest({key: value for key, value in study.manifest.items() if key != "format"})
    for record in study.records:
        plain = {key: value for key, value in record.items() if key not in ("format", "digest")}
        records.publish(plain, study.timings[record["id"]])
    report = write_all([load(folder)], folder)
    return report, report.html.read_text().replace(bundle(), "")


def cells(page: str) -> list[list[Any]]:
    box = page[page.index('class="cells"') :]
    found: list[list[Any]] = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', box)[0])["rows"]
    return found


def charts(page: str) -> list[str]:
    return re.findall(r'<figure class="chart" id="([^"]+)"', page)


def test_an_empty_study(make: SimpleNamespace, tmp_path: Path) -> None:
    report, page = reported(make.study([]), tmp_path)
    assert report.sentence.startswith("No answer yet") and charts(page) == [] and cells(page) == []


def test_nothing_done_yet(make: SimpleNamespace, tmp_path: Path) -> None:
    report, page = reported(make.study([], make.simulated({"full": 0.2}, (20, 100), 3)), tmp_path)
    assert charts(page) == [] and {line[5] for line in cells(page)} == {"missing"} and len(cells(page)) == 18
    assert report.figures == () and "cells done: 0 of 18" in report.markdown.read_text()


def test_a_part(make: SimpleNamespace, tmp_path: Path) -> None:
    records = make.simulated({"full": 0.25, "lora": 0.2}, (20, 100), 3)
    done = [record for record in records if record["cell"]["entry"] != "lora" and record["cell"]["budget"] == 20]
    lost = [record for record in records if record not in done]
    report, page = reported(make.study(done, lost), tmp_path)
    assert "helps on digits: best at 20 labels is full" in report.sentence
    assert [line[5] for line in cells(page)].count("missing") == len(lost) == 15
    assert "15 cells</summary>" in page and charts(page)[0] == "gain"
    # What is missing is said to be so, and is in no mean.
    assert "| lora | – | – | 0/3 |" in report.markdown.read_text()


def test_a_single_seed(make: SimpleNamespace, tmp_path: Path) -> None:
    report, page = reported(make.study(make.simulated({"full": 0.25}, (20, 100), 1)), tmp_path)
    assert report.sentence.startswith("Too few seeds") and charts(page)[0] == "gain"
    assert "too few seeds" in page


def test_all_diverged(make: SimpleNamespace, tmp_path: Path) -> None:
    records = [make.diverged(record) for record in make.simulated({"full": 0.25}, (20, 100), 3)]
    report, page = reported(make.study(records), tmp_path)
    assert report.sentence.startswith("No answer yet") and charts(page) == ["training"]
    assert {line[5] for line in cells(page)} == {"diverged"} and page.count("<li>diverged: ") == len(records)


def test_a_thousand_cells_are_a_page_of_moderate_size(make: SimpleNamespace, tmp_path: Path) -> None:
    records = make.simulated({"full": 0.25, "lora": 0.2, "probe": 0.1}, (20, 50, 100, 500), 50)
    study = make.study(records)
    report = write_all([_given(study)], tmp_path)
    page = report.html.read_text()
    assert len(cells(page)) == 1000 and page.split('class="cells"')[1].count('<tr><th scope="row">') < PAGE + 50
    assert len(page) - len(bundle()) < 2_000_000


@pytest.mark.thorough
def test_ten_thousand_records(make: SimpleNamespace, tmp_path: Path) -> None:
    records = [
        record
        for target in range(10)
        for record in make.simulated({"full": 0.25, "lora": 0.2, "probe": 0.1}, (20, 100), 100, target=f"t{target}")
    ]
    study = make.study(records[1:], lost=records[:1])
    report = write_all([_given(study)], tmp_path)
    page = report.html.read_text()
    assert len(cells(page)) == 10_000 and "of 9999 points are shown" in page
    assert len(page) - len(bundle()) < 6_000_000
    assert len(charts(page)) == 7 and "Transfer helps in 10 of 10" in page


def test_long_lists_of_what_is_missing_are_cut(make: SimpleNamespace, tmp_path: Path) -> None:
    lost = make.simulated({"full": 0.25}, (20,), 100)
    report = write_all([_given(make.study([], lost))], tmp_path)
    page = report.html.read_text()
    assert page.count("<li>missing: ") == LISTED and "and 200 more, which the table of cells has" in page
    assert "- and 200 more" in report.markdown.read_text()


def _given(study: SimpleNamespace) -> Any:
    from tlx.report.results import gather

    found = {record["id"]: record for record in study.records}
    return gather(found, study.manifest, study.timings, {}, None)


def test_damaged_files_are_named_and_the_rest_is_reported(make: SimpleNamespace, tmp_path: Path) -> None:
    study = make.study(make.simulated({"full": 0.25}, (20,), 4))
    reported(study, tmp_path)
    torn = tmp_path / "records" / f"{study.records[-1]['id']}.json"
    torn.write_bytes(torn.read_bytes()[:200])
    (tmp_path / "records" / "notes.json").write_text("{}")
    given = load(tmp_path)
    assert len(given.records) == 11 and len(given.unread) == 2
    assert given.unread[0].startswith(f"{torn}: is damaged;") and "notes.json: " in given.unread[1]
    report = write_all([given], tmp_path)
    (line,) = report.failed
    assert line.startswith("failed: full from mnist on digits, 20 labels, seed 3") and "is damaged" in line
    assert [row.gain.n for row in report.rows if row.gain] == [4, 3]


def test_a_lost_manifest_leaves_the_cells_that_have_records(make: SimpleNamespace, tmp_path: Path) -> None:
    reported(make.study(make.simulated({"full": 0.25}, (20,), 2)), tmp_path)
    (tmp_path / "study.json").unlink()
    report = write_all([load(tmp_path)], tmp_path)
    assert report.studies[0].name == "quickstart" and "cells done: 6 of 6" in report.markdown.read_text()


def test_many_refusals_are_cut(make: SimpleNamespace, tmp_path: Path) -> None:
    records = make.simulated({"full": 0.25}, (20,), 110)
    for record in records:
        record["config"]["recipe"] = {"steps": 100 if record["cell"]["arm"] == "scratch" else 200}
    report = write_all([_given(make.study(records))], tmp_path)
    assert len(report.refused) == 220 and report.sentence.startswith("No answer yet")
    assert all(line.startswith("config.recipe.steps: ") for line in report.refused)
    assert report.html.read_text().count("<li>config.recipe.steps: ") == LISTED
    assert report.markdown.read_text().count("- config.recipe.steps: ") == LISTED
    assert "- and 120 more" in report.markdown.read_text()

import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from tlx.errors import PairingError
from tlx.report import Report, write

HOSTILE = "<script>alert('x')</script> | `a` [b](http://c) & \"q\" *d*"


class Parsed(HTMLParser):
    """What a browser would see of a page: its elements, their attributes and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_data(self, data: str) -> None:
        self.text += data


def written(study: SimpleNamespace, folder: Path) -> Report:
    return write(study.records, study.manifest, study.timings, folder)


def test_files(study: SimpleNamespace, tmp_path: Path) -> None:
    report = written(study, tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert report.markdown == folder / "report.md" and report.html == folder / "report.html"
    assert report.figures == (folder / "figures/accuracy.png", folder / "figures/gain.png")
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(
        [report.markdown, report.html, *report.figures]
    )
    assert len(report.rows) == 8 and report.sentence.startswith("Starting from mnist helps on digits")


def test_only_times_change_the_text(study: SimpleNamespace, tmp_path: Path) -> None:
    first = written(study, tmp_path / "a")
    random.Random(0).shuffle(study.records)
    again = written(study, tmp_path / "b")
    slower = {name: {**timing, "wall_s": 3.0} for name, timing in study.timings.items()}
    late = write(study.records, study.manifest, slower, tmp_path / "c")
    for one, two, three in zip(
        [first.markdown, first.html, *first.figures],
        [again.markdown, again.html, *again.figures],
        [late.markdown, late.html, *late.figures],
        strict=True,
    ):
        assert one.read_bytes() == two.read_bytes()
        assert (one.read_bytes() == three.read_bytes()) == (one.suffix == ".png")


def test_the_summary_as_json(study: SimpleNamespace, tmp_path: Path) -> None:
    study.records = [record for record in study.records if record["cell"]["seed"] < 1]
    found = json.loads(json.dumps(written(study, tmp_path).as_dict(), allow_nan=False))
    assert found["rows"][0]["gain"] is None
    assert found["rows"][2]["gain"]["low"] is None and found["rows"][2]["gain"]["n"] == 1
    assert (found["rows"][2]["entry"], found["rows"][2]["seeds_expected"]) == ("full", 5)


def test_unfair_pairs_write_nothing(make: SimpleNamespace, tmp_path: Path) -> None:
    study = make.study([make.record("scratch", "scratch"), make.record(data__subset__digest="other")])
    with pytest.raises(PairingError, match=r"^data\.subset\.digest"):
        written(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_several_comparisons_have_their_own_pictures(make: SimpleNamespace, tmp_path: Path) -> None:
    records = make.simulated({"full": 0.1}, (20,), 2)
    records += make.simulated({"full": 0.1}, (20,), 2, source="../a", target="b/c")
    records += make.simulated({"full": 0.1}, (20,), 2, source="a", target="b c")
    report = written(make.study(records), tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in report.figures]
    assert names[:4:2] == ["figures/accuracy-mnist-digits.png", "figures/accuracy-a-b-c.png"]
    assert len(set(names)) == 6 and all(re.fullmatch(r"figures/[a-z0-9-]+\.png", name) for name in names)
    assert all(f"({name})" in report.markdown.read_text() for name in names)


def test_both_pages_say_the_same(make: SimpleNamespace, tmp_path: Path) -> None:
    records = make.simulated({"full": 0.25, "lora": -0.3}, (20, 100), 5)
    lost = [records.pop(0)]
    records[-1] = make.diverged(records[-1])
    report = written(make.study(records, lost), tmp_path)
    pages = [report.markdown.read_text(), Parsed(report.html.read_text()).text.replace("\N{NO-BREAK SPACE}", " ")]
    for part in (
        report.sentence,
        "20 labels",
        "(4 pairs)",
        "▼ -",
        "4/5",
        "12.4 kB",
        "1.55 k (1 %)",
        "tlx run configs/quickstart.py",
        "0.12.0.1",
        records[0]["data"]["test"]["digest"][:16],
        records[-1]["lineage"]["checkpoint"][:16],
        f"missing: scratch on digits, 20 labels, seed 0 ({lost[0]['id']})",
        f"diverged: lora from mnist on digits, 100 labels, seed 4 ({records[-1]['id']})",
        "38 of 40",
    ):
        assert all(part in page for page in pages), part


def test_html_has_every_cell_and_the_config(study: SimpleNamespace, tmp_path: Path) -> None:
    text = Parsed(written(study, tmp_path).html.read_text()).text
    assert all(record["id"] in text for record in study.records)
    assert json.dumps(study.manifest["config"], indent=2, sort_keys=True) in text


def test_html_needs_nothing_else(study: SimpleNamespace, tmp_path: Path) -> None:
    page = written(study, tmp_path).html.read_text()
    assert "http" not in page.replace("http-equiv", "") and "//" not in page and "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    parsed = Parsed(page)
    assert not {"script", "link", "img", "iframe", "image", "object"} & set(parsed.tags)
    links = [value for _, name, value in parsed.attributes if name in ("src", "href", "xlink:href")]
    assert links and all(link.startswith("#") for link in links)
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in parsed.attributes


def test_html_ids_are_unique_and_all_references_meet_one(study: SimpleNamespace, tmp_path: Path) -> None:
    page = written(study, tmp_path).html.read_text()
    parsed = Parsed(page)
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 10
    used = [value[1:] for _, name, value in parsed.attributes if name == "href"] + re.findall(r"url\(#([^)]+)\)", page)
    assert set(used) <= set(ids)


def test_html_is_for_phones_paper_and_the_dark(study: SimpleNamespace, tmp_path: Path) -> None:
    page = written(study, tmp_path).html.read_text()
    assert 'name="viewport"' in page and "prefers-color-scheme: dark" in page and "@media print" in page
    parsed = Parsed(page)
    assert parsed.tags.count("svg") == 2 and parsed.tags.count("details") == 2
    assert [value for tag, name, value in parsed.attributes if (tag, name) == ("svg", "role")] == ["img", "img"]


def test_hostile_names_are_only_text(make: SimpleNamespace, tmp_path: Path) -> None:
    records = make.simulated({HOSTILE: 0.2}, (20, 100), 3, source=HOSTILE, target=HOSTILE)
    records[0]["environment"] = {HOSTILE: HOSTILE}
    study = make.study(records, study=HOSTILE, command=f"tlx run\n{HOSTILE}", config={HOSTILE: HOSTILE})
    report = written(study, tmp_path)
    parsed = Parsed(report.html.read_text())
    assert "script" not in parsed.tags and HOSTILE in parsed.text
    quiet = [line for line in report.markdown.read_text().splitlines() if not line.startswith("    ")]
    assert not any("<script" in line or "](http" in line for line in quiet)
    table: list[int] = []
    for line in [*quiet, ""]:
        if line.startswith("|"):
            table.append(len(re.findall(r"(?<!\\)\|", line)))
        else:
            assert len(set(table)) <= 1  # a name must not open another column
            table = []


def test_a_study_without_results_has_a_report(make: SimpleNamespace, tmp_path: Path) -> None:
    study = make.study([], lost=make.simulated({"full": 0.1}, (20,), 2))
    report = written(study, tmp_path)
    assert report.sentence.startswith("No answer yet")
    assert "cells done: 0 of 6" in report.markdown.read_text()
    assert report.html.read_text().count("missing: ") == 6


def test_an_empty_study_has_a_report(make: SimpleNamespace, tmp_path: Path) -> None:
    report = written(make.study([]), tmp_path)
    assert report.rows == () and report.figures == ()

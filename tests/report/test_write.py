import base64
import hashlib
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from tlx.errors import PairingError
from tlx.report import Report, write, write_all
from tlx.report.chart import bundle
from tlx.report.results import gather

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
    assert report.figures == (folder / "figures/gain.png", folder / "figures/accuracy.png")
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(
        [report.markdown, report.html, *report.figures, *report.tables]
    )
    assert report.tables == (folder / "tables.csv", folder / "tables.tex")
    assert report.tables[0].read_text().count("\n") == 9 and "\\toprule" in report.tables[1].read_text()
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


def test_unfair_pairs_are_left_out_and_listed(make: SimpleNamespace, tmp_path: Path) -> None:
    records = [make.record("scratch", "scratch"), make.record(data__subset__digest="other"), make.record("lora")]
    report = written(make.study(records), tmp_path)
    (line,) = report.refused
    assert line.startswith(f"data.subset.digest: 'full', record {records[1]['id']}, has 'other', its scratch record ")
    assert [row.gain.n for row in report.rows if row.gain] == [0, 1] and report.failed == ()
    assert report.as_dict()["refused"] == [line]
    for page in (report.markdown.read_text(), Parsed(report.html.read_text()).text):
        assert line in page.replace("\\", "")


def test_two_records_of_one_cell_write_nothing(make: SimpleNamespace, tmp_path: Path) -> None:
    study = make.study([make.record(), make.record(id="0123456789abcdef")])
    with pytest.raises(PairingError, match="0123456789abcdef are both 'full'"):
        written(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_several_comparisons_share_their_pictures(make: SimpleNamespace, tmp_path: Path) -> None:
    records = make.simulated({"full": 0.1}, (20,), 2)
    records += make.simulated({"full": 0.1}, (20,), 2, source="../a", target="b/c")
    records += make.simulated({"full": 0.1}, (20,), 2, source="a", target="b c")
    report = written(make.study(records), tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in report.figures]
    assert names == ["figures/matrix.png", "figures/accuracy.png"]
    assert all(f"({name})" in report.markdown.read_text() for name in names)
    text = report.html.read_text()
    assert all(f"<summary>{title}</summary>" in text for title in ("mnist → digits", "../a → b/c", "a → b c"))


def test_several_studies_are_on_one_page(make: SimpleNamespace, tmp_path: Path) -> None:
    one = make.study(make.simulated({"full": 0.25}, (20, 100), 3), study="One & two")
    two = make.study(make.simulated({"lora": 0.2, "full": -0.3}, (20, 100), 3), study="one two")
    given = [
        gather({record["id"]: record for record in each.records}, each.manifest, each.timings, {}, None)
        for each in (one, two)
    ]
    report = write_all(given, tmp_path)
    assert [study.name for study in report.studies] == ["One & two", "one two"]
    assert [path.name for path in report.figures] == [
        "one-two-gain.png",
        "one-two-accuracy.png",
        "one-two-2-gain.png",
        "one-two-2-accuracy.png",
    ]
    page = report.html.read_text()
    assert page.count("<article") == 2 and page.count(bundle()) == 1
    assert [study["study"] for study in report.as_dict()["studies"]] == ["One & two", "one two"]
    assert report.markdown.read_text().count("\n## Reproduce") == 2
    # `full` has the colour it has in the first study, although `lora` comes before it in the second.
    colours = [_colours(page, name)["full"] for name in ("one-two-accuracy", "one-two-2-accuracy")]
    assert colours == ["#0072b2", "#0072b2"]


def _colours(page: str, chart: str) -> dict[str, str]:
    text = re.findall(rf'id="{chart}".*?<script type="application/json">(.*?)</script>', page, re.DOTALL)[0]
    scale = json.loads(text)["layer"][0]["encoding"]["color"]["scale"]
    return dict(zip(scale["domain"], scale["range"], strict=True))


def test_every_figure_for_papers(make: SimpleNamespace, tmp_path: Path) -> None:
    records = make.simulated({"full": 0.2}, (20, 100), 2)
    records += make.simulated({"full": 0.2}, (20, 100), 2, target="usps")
    study = make.study(records)
    given = gather({record["id"]: record for record in records}, study.manifest, {}, {}, None)
    report = write_all([given], tmp_path, figures=True)
    names = {path.name for path in report.figures}
    # Of charts with a list to choose from, the second choice is a figure of its own.
    charts = (
        "matrix",
        "matrix-2",
        "matrices",
        "gain",
        "gain-2",
        "accuracy",
        "accuracy-2",
        "frontier",
        "frontier-2",
        "seeds",
        "seeds-2",
    )
    assert {f"{name}.{suffix}" for name in (*charts, "training") for suffix in ("svg", "pdf", "png")} == names
    begin = {"svg": b"<svg", "pdf": b"%PDF", "png": b"\x89PNG"}
    assert all(path.read_bytes().startswith(begin[path.suffix[1:]]) for path in report.figures)
    first, second = ((tmp_path / "figures" / f"gain{end}.svg").read_text() for end in ("", "-2"))
    assert first != second


def test_both_pages_say_the_same(make: SimpleNamespace, tmp_path: Path) -> None:
    records = make.simulated({"full": 0.25, "lora": -0.3}, (20, 100), 5)
    lost = [records.pop(0)]
    records[-1] = make.diverged(records[-1])
    report = written(make.study(records, lost), tmp_path)
    pages = [report.markdown.read_text(), Parsed(report.html.read_text()).text.replace("\N{NO-BREAK SPACE}", " ")]
    for part in (
        report.sentence.removesuffix("."),
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
    own = page.replace(bundle(), "")
    assert "http" not in own.replace("http-equiv", "").replace("http://www.w3.org", "") and "@import" not in own
    assert not re.search(r"url\((?!#)", own)
    parsed = Parsed(page)
    assert not {"link", "img", "iframe", "image", "object"} & set(parsed.tags)
    links = [value for _, name, value in parsed.attributes if name in ("src", "href", "xlink:href")]
    assert links and all(link.startswith("#") for link in links)


def test_html_lets_only_its_own_scripts_run(study: SimpleNamespace, tmp_path: Path) -> None:
    page = written(study, tmp_path).html.read_text()
    (policy,) = [value for _, name, value in Parsed(page).attributes if name == "content" and "default-src" in value]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert policy.split("script-src ")[1] == " ".join(f"'sha256-{each}'" for each in hashes)
    assert len(scripts) == 2 and page.count(bundle()) == 1


def test_html_ids_are_unique_and_all_references_meet_one(study: SimpleNamespace, tmp_path: Path) -> None:
    page = written(study, tmp_path).html.read_text()
    parsed = Parsed(page)
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 10
    used = [value[1:] for _, name, value in parsed.attributes if name == "href"]
    used += re.findall(r"url\(#([^)]+)\)", page.replace(bundle(), ""))
    assert set(used) <= set(ids)


def test_html_is_for_phones_paper_and_the_dark(study: SimpleNamespace, tmp_path: Path) -> None:
    page = written(study, tmp_path).html.read_text()
    assert 'name="viewport"' in page and "prefers-color-scheme: dark" in page and "@media print" in page
    parsed = Parsed(page)
    assert parsed.tags.count("svg") == parsed.tags.count("figure") == 5 and parsed.tags.count("details") == 2
    assert [value for tag, name, value in parsed.attributes if (tag, name) == ("svg", "role")] == ["img"] * 5


def test_hostile_names_are_only_text(make: SimpleNamespace, tmp_path: Path) -> None:
    records = make.simulated({HOSTILE: 0.2}, (20, 100), 3, source=HOSTILE, target=HOSTILE)
    records[0]["environment"] = {HOSTILE: HOSTILE}
    study = make.study(records, study=HOSTILE, command=f"tlx run\n{HOSTILE}", config={HOSTILE: HOSTILE})
    report = written(study, tmp_path)
    parsed = Parsed(report.html.read_text())
    tame = written(make.study(make.simulated({"full": 0.2}, (20, 100), 3)), tmp_path / "tame")
    assert parsed.tags.count("script") == Parsed(tame.html.read_text()).tags.count("script") and HOSTILE in parsed.text
    data = json.loads(
        re.findall(r'<script type="application/json" id="data">(.*?)</script>', report.html.read_text())[0]
    )
    assert {line["pair"] for line in data["gain"]} == {f"{HOSTILE} → {HOSTILE}"}
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
    assert report.html.read_text().count("<li>missing: ") == 6


def test_an_empty_study_has_a_report(make: SimpleNamespace, tmp_path: Path) -> None:
    report = written(make.study([]), tmp_path)
    assert report.rows == () and report.figures == ()

import re
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from tlx.measure.stats import Interval, interval
from tlx.report import comparisons, summarise, write
from tlx.report.chart import svg
from tlx.report.charts.prediction import prediction
from tlx.report.charts.stages import stages
from tlx.report.palette import palette
from tlx.report.results import gather
from tlx.report.sections import SECTIONS, Material, Section, parts
from tlx.report.table import Table


@dataclass(frozen=True)
class Estimated:
    estimator: str
    sources: tuple[str, ...]
    estimate_M: tuple[float, ...]
    gain_M: tuple[float, ...]
    target: str = "digits"
    entry: str = "full"
    budget: int = 20


@dataclass(frozen=True)
class Changed:
    stage: str
    depth: int
    cka: Interval
    drift: Interval = field(default_factory=lambda: interval([]))
    distortion: Interval = field(default_factory=lambda: interval([0.1, 0.2]))
    source: str = "mnist"
    target: str = "digits"
    entry: str = "full"
    budget: int = 20


@pytest.fixture
def given(make: SimpleNamespace) -> Material:
    study = make.study(make.simulated({"full": 0.25}, (20, 100), 3))
    rows = tuple(summarise(study.records, study.manifest, study.timings))
    results = gather({record["id"]: record for record in study.records}, study.manifest, study.timings, {}, None)
    return Material(results, rows, tuple(comparisons(rows)), {}, palette(rows))


def test_sections_with_nothing_to_show_are_left_out(given: Material) -> None:
    assert [part.title for part in parts(given)] == ["Labels", "Cost", "Seeds and variance", "Training"]
    empty = Table(("Method",), (("group", ()),))
    made = parts(given, [Section("a", lambda given: [None, empty, "a note alone"]), Section("b", lambda given: [])])
    assert made == ()


def test_a_section_more_is_a_line(
    given: Material, make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(("Method", "Speed"), (("digits", (("full", "3×"),)),))
    more = Section("Speed", lambda given: [table, "The <note> of it."])
    assert parts(given, [more])[0].blocks == (table, "The <note> of it.")
    monkeypatch.setattr("tlx.report.page.SECTIONS", (*SECTIONS, more))
    study = make.study(make.simulated({"full": 0.25}, (20, 100), 3))
    report = write(study.records, study.manifest, study.timings, tmp_path)
    assert re.search(r"<h2 id=[^>]*>Speed</h2>.*3×.*The &lt;note&gt; of it\.", report.html.read_text(), re.DOTALL)
    assert "## Speed\n\n| Method | Speed |" in report.markdown.read_text()


def test_estimates_against_gains(given: Material) -> None:
    found = [
        Estimated("logme", ("a", "b", "c"), (0.1, 0.2, float("nan")), (0.05, float("nan"), 0.1)),
        Estimated("leep", ("a", "b"), (-1.5, -1.25), (0.05, 0.1)),
        Estimated("nce", ("a",), (1.0,), (0.1,)),
    ]
    chart = prediction(found, given.marks)
    assert chart is not None
    (lines,) = chart.data.values()
    assert [(line["estimator"], line["source"], line["estimate"], line["gain"]) for line in lines] == [
        ("logme", "a", 0.1, 5.0),
        ("leep", "a", -1.5, 5.0),
        ("leep", "b", -1.25, 10.0),
    ]
    assert svg(chart).startswith("<svg") and prediction(found[2:], given.marks) is None


def test_what_changed_stage_by_stage(given: Material) -> None:
    rows = [
        Changed("block_1", 1, interval([0.8, 0.9, 1.0]), interval([0.5])),
        Changed("embed", 0, interval([0.9, 1.0])),
    ]
    chart = stages(rows, given.marks)
    assert chart is not None
    (lines,) = chart.data.values()
    assert [(line["stage"], line["measure"].split()[0], line["mean"], line["seeds"]) for line in lines] == [
        ("block_1", "similarity", 0.9, 3),
        ("block_1", "drift", 0.5, 1),
        ("block_1", "drift", pytest.approx(0.15), 2),
        ("embed", "similarity", 0.95, 2),
        ("embed", "drift", pytest.approx(0.15), 2),
    ]
    assert lines[0]["low"] == pytest.approx(0.651586, abs=1e-6) and lines[1]["low"] is None
    assert chart.spec["spec"]["layer"][0]["encoding"]["x"]["sort"] == ["embed", "block_1"]
    assert svg(chart).startswith("<svg") and stages([], given.marks) is None

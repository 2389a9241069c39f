from pathlib import Path
from types import SimpleNamespace

from tlx.report import comparisons, summarise
from tlx.report.findings import FINDINGS
from tlx.report.palette import palette
from tlx.report.results import gather
from tlx.report.sections import Material, parts
from tlx.report.table import Table


def material(make: SimpleNamespace, seeds: int, folder: Path | None = None) -> Material:
    study = make.study(make.simulated({"full": 0.25, "lora": 0.1}, (20, 100), seeds))
    rows = tuple(summarise(study.records, study.manifest, study.timings))
    found = {record["id"]: record for record in study.records}
    results = gather(found, study.manifest, study.timings, {}, folder)
    return Material(results, rows, tuple(comparisons(rows)), {}, palette(rows))


def test_every_measure_has_its_section(make: SimpleNamespace, tmp_path: Path) -> None:
    titles = [part.title for part in parts(material(make, 5, tmp_path), FINDINGS)]
    # Without WORKDIR/estimates and WORKDIR/inside, nothing is said of either.
    assert titles == [
        "Worth in labels",
        "Speed and compute",
        "Harm",
        "Which gains stand",
        "Over all targets",
        "Scatter over seeds",
        "Tuning",
        "Other scales",
    ]


def test_long_tables_are_cut_and_say_so(make: SimpleNamespace) -> None:
    study = make.study(
        [
            record
            for target in range(40)
            for record in make.simulated({"full": 0.1, "lora": 0.1}, (20,), 3, target=f"t{target}")
        ]
    )
    rows = tuple(summarise(study.records, study.manifest, study.timings))
    results = gather({record["id"]: record for record in study.records}, study.manifest, {}, {}, None)
    given = Material(results, rows, tuple(comparisons(rows)), {}, palette(rows))
    (stand,) = [part for part in parts(given, FINDINGS) if part.title == "Which gains stand"]
    table = stand.blocks[0]
    assert isinstance(table, Table) and sum(len(lines) for _, lines in table.groups) == 60
    assert "20 more lines are left out here." in stand.blocks


def test_a_damaged_file_takes_its_section_not_the_report(make: SimpleNamespace, tmp_path: Path) -> None:
    for folder in ("inside", "estimates"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{'0' * 16}.json").write_text("{")
    found = {part.title: part.blocks[0] for part in parts(material(make, 3, tmp_path), FINDINGS)}
    for title in ("What predicted the gains", "What changed inside"):
        table = found[title]
        assert isinstance(table, Table) and "0000000000000000.json: " in table.groups[0][1][0][0]

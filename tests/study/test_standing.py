"""How a study stands while it runs."""

from pathlib import Path

import pytest
from conftest import Make

from tlx.progress import Silent
from tlx.records import Records
from tlx.study.plan import Unit
from tlx.study.run import lay_out
from tlx.study.spec import Folders
from tlx.study.standing import Standing


def publish(records: Records, unit: Unit, scores: list[float | None]) -> None:
    for cell, score in zip(unit.cells, scores, strict=True):
        records.publish({"id": cell.id, "result": {"test_score": score}}, {})


@pytest.fixture
def units(make_study: Make, data_dir: Path, tmp_path: Path) -> dict[str, Unit]:
    study = make_study("--config.budgets=(20,)")
    return {unit.first.entry.name: unit for unit in lay_out(study, Folders(tmp_path, data_dir), Silent()).units}


def test_a_unit_is_told_beside_the_best_so_far(units: dict[str, Unit], tmp_path: Path) -> None:
    records = Records(tmp_path)
    publish(records, units["full"], [0.5, 0.7])
    publish(records, units["scratch"], [0.4, None])
    publish(records, units["lora"], [0.75, 0.85])
    publish(records, units["probe"], [None, None])
    standing = Standing(records)
    assert standing.line(units["full"]) == "full: mnist → digits, 20 labels: test 60.0"
    best = "best so far 60.0, full: mnist → digits"
    assert standing.line(units["scratch"]) == f"scratch: → digits, 20 labels: test 40.0 ({best})"
    assert standing.line(units["lora"]) == "lora: mnist → digits, 20 labels: test 80.0 (best so far)"
    assert standing.line(units["probe"]) == "probe: mnist → digits, 20 labels: every seed diverged"


def test_a_unit_of_several_budgets(make_study: Make, data_dir: Path, tmp_path: Path) -> None:
    grid = lay_out(make_study(), Folders(tmp_path, data_dir), Silent())
    unit = next(unit for unit in grid.units if unit.first.entry.name == "probe")
    records = Records(tmp_path)
    publish(records, unit, [cell.budget / 100 for cell in unit.cells])
    assert Standing(records).line(unit).endswith("labels: test 20.0 at 20, 40.0 at 40")

"""What is left of a study: counted by hand, and less of it once cells are done."""

import dataclasses
from pathlib import Path

import pytest
from conftest import Make

from tlx.progress import Silent
from tlx.records import Records
from tlx.study.cost import step_bytes, step_flops
from tlx.study.predict import predict
from tlx.study.run import Grid, lay_out
from tlx.study.spec import Folders


@pytest.fixture
def grid(make_study: Make, data_dir: Path, tmp_path: Path) -> Grid:
    return lay_out(make_study(), Folders(tmp_path, data_dir), Silent())


def test_all_of_it_is_left_at_first(grid: Grid, tmp_path: Path) -> None:
    batch, steps = grid.study.recipe.batch_size, grid.study.recipe.steps
    cells = sum(unit.runs * steps * step_flops(unit.task, batch) for unit in grid.units)
    # The source is trained as `full` is, in steps of its own.
    full = next(unit for unit in grid.units if unit.first.entry.name == "full")
    source = grid.study.sources[0].recipe
    whole = cells + source.steps * step_flops(full.task, source.batch_size)
    found = predict(grid, tmp_path)
    assert found.flops == pytest.approx(whole, rel=1e-3)
    assert found.seconds == pytest.approx(found.flops / found.rate) and found.rate > 1e8
    assert found.basis == "a guess from the speed of a matrix product"


def test_less_is_left_when_cells_are_done_and_their_rate_counts(grid: Grid, tmp_path: Path) -> None:
    records, before = Records(tmp_path), predict(grid, tmp_path)
    (tmp_path / "sources").mkdir()
    unit = next(unit for unit in grid.units if unit.first.entry.name == "scratch")
    for cell in unit.cells:
        record = {"id": cell.id, "cost": {"step_flops": 1e6}, "trials": [{}] * len(cell.entry.learning_rates)}
        records.publish(record, {"id": cell.id, "wall_s": 0.5})
    after = predict(grid, tmp_path)
    mine = unit.runs * grid.study.recipe.steps * step_flops(unit.task, grid.study.recipe.batch_size)
    assert after.flops < before.flops - mine
    assert after.basis == "the rate of the cells that are done"
    # One device count above 1 means one cell at a time.
    each = 1e6 * grid.study.recipe.steps * len(unit.first.entry.learning_rates) / 0.5
    assert grid.placement.devices > 1 and after.rate == pytest.approx(each)


def test_trials_that_are_stopped_early_count_as_far_as_they_go(
    make_study: Make, data_dir: Path, tmp_path: Path
) -> None:
    study = make_study("--config.search.kind=halving", "--config.train.steps=18")
    grid, records = lay_out(study, Folders(tmp_path, data_dir), Silent()), Records(tmp_path)
    (tmp_path / "sources").mkdir()
    batch = grid.study.recipe.batch_size
    # Of three rates one goes on from step 2 to 6, and on to 18.
    whole = sum(len(unit.cells) * (3 * 2 + 4 + 12) * step_flops(unit.task, batch) for unit in grid.units)
    assert predict(grid, tmp_path).flops == pytest.approx(whole)
    cell = grid.cells[0]
    record = {"id": cell.id, "cost": {"step_flops": 1e6}, "trials": [{"step": 2}, {"step": 2}, {}]}
    records.publish(record, {"id": cell.id, "wall_s": 0.5})
    assert predict(grid, tmp_path).rate == pytest.approx(1e6 * (2 + 2 + 18) / 0.5)


def test_memory_grows_with_the_batch_and_is_less_where_less_moves(grid: Grid) -> None:
    tasks = {unit.first.entry.name: unit.task for unit in grid.units}
    assert step_bytes(tasks["full"], 16) > step_bytes(tasks["full"], 4)
    assert step_bytes(tasks["full"], 16) > step_bytes(tasks["lora"], 16) > step_bytes(tasks["probe"], 16) > 0
    assert dataclasses.is_dataclass(predict(grid, Path("nowhere")))

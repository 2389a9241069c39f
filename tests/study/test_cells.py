import dataclasses
from pathlib import Path

import pytest
from conftest import Make
from tiers import first

from tlx.progress import Silent
from tlx.study.cells import Cell, expand
from tlx.study.run import lay_out
from tlx.study.spec import Folders, Study


def cells_of(study: Study, data_dir: Path) -> list[Cell]:
    return lay_out(study, Folders(data_dir / "nowhere", data_dir), Silent()).cells


def test_ids_depend_on_what_a_cell_is_and_on_nothing_else(make_study: Make, data_dir: Path) -> None:
    ids = [cell.id for cell in cells_of(make_study(), data_dir)]
    assert len(set(ids)) == len(ids)
    assert ids == [cell.id for cell in cells_of(make_study("--config.plan.workers=3"), data_dir)]
    assert ids == [cell.id for cell in cells_of(make_study("--config.mesh.data=2"), data_dir)]
    more = [cell.id for cell in cells_of(make_study("--config.budgets=(20,40,60)"), data_dir)]
    assert set(ids) < set(more)


@pytest.mark.parametrize(
    ("override", "changed"),
    first(
        6,
        [
            ("--config.train.steps=21", {"scratch", "random_frozen", "probe", "full", "lora"}),
            ("--config.seeds=(0,1,2)", {"scratch", "random_frozen", "probe", "full", "lora"}),
            ("--config.targets.digits.train=train[:1000]", {"scratch", "random_frozen", "probe", "full", "lora"}),
            ("--config.sources.mnist.lr=0.1", {"probe", "full", "lora"}),
            ("--config.adapt.lora.method.rank=2", {"lora"}),
            ("--config.adapt.scratch.lr=(1e-3,2e-3,5e-3)", {"scratch"}),
            ("--config.adapt.full.schedule=slanted", {"full"}),
            ("--config.adapt.probe.batch_stats=reset", {"probe"}),
            ("--config.train.ema=0.5", {"scratch", "random_frozen", "probe", "full", "lora"}),
            ("--config.sources.mnist.accumulate=2", {"probe", "full", "lora"}),
            ("--config.artifacts=true", set()),
            ("--config.loggers=()", set()),
        ],
    ),
)
def test_a_setting_changes_the_ids_it_matters_to(
    make_study: Make, data_dir: Path, override: str, changed: set[str]
) -> None:
    before = {cell.id: cell.entry.name for cell in cells_of(make_study(), data_dir)}
    after = {cell.id for cell in cells_of(make_study(override), data_dir)}
    assert {name for cell_id, name in before.items() if cell_id not in after} == changed
    assert {name for cell_id, name in before.items() if cell_id in after} == set(before.values()) - changed


def test_arms_without_a_source_are_shared_by_all_sources(make_study: Make, data_dir: Path) -> None:
    study = make_study()
    second = dataclasses.replace(study.sources[0], name="again", seed=1)
    grid = lay_out(study, Folders(data_dir / "nowhere", data_dir), Silent())
    both = dataclasses.replace(study, sources=(*study.sources, second))
    cells = expand(both, {**grid.sources, "again": grid.sources["mnist"]}, grid.targets)
    count = {name: sum(cell.entry.name == name for cell in cells) for name in ("scratch", "random_frozen", "full")}
    assert count == {"scratch": 4, "random_frozen": 4, "full": 8}

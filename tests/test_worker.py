import json
import os
from pathlib import Path
from typing import Any

import jax
import pytest
from quick import CONFIG, SMALL

from tlx.build import build
from tlx.config import load
from tlx.errors import TlxError
from tlx.lock import exclusive
from tlx.progress import Silent
from tlx.study.context import Context, Stopped
from tlx.study.plan import Unit
from tlx.study.run import in_order, lay_out
from tlx.study.spec import Folders
from tlx.worker import Worker

STUDY = build(load(str(CONFIG), SMALL), "tlx run configs/quickstart.py")


@pytest.fixture(autouse=True)
def no_cache() -> Any:
    """A worker keeps its programs in the study's folder, which a test's other programs must not."""
    yield
    jax.config.update("jax_compilation_cache_dir", None)


def order(work: Path, data_dir: Path, **changes: Any) -> str:
    config = {**STUDY.config, **changes}
    folders = {"work": str(work), "data": str(data_dir), "cwd": os.getcwd()}
    return json.dumps({"config": config, "command": STUDY.command, **folders})


def test_a_worker_lays_out_the_same_study_from_json(tmp_path: Path, data_dir: Path) -> None:
    grid = lay_out(STUDY, Folders(tmp_path, data_dir), Silent())
    worker = Worker(order(tmp_path, data_dir), 0)
    with exclusive(tmp_path):
        plan = json.loads(worker.plan())
    assert plan["manifest"] == json.loads(json.dumps(grid.manifest()))
    assert [unit["id"] for unit in plan["units"]] == [unit.id for unit in in_order(grid.units)]
    assert {cell for unit in plan["units"] for cell in unit["cells"]} == {cell.id for cell in grid.cells}


def test_what_keeps_it_from_laying_out_is_one_line(tmp_path: Path, data_dir: Path) -> None:
    def problem(**changes: Any) -> str:
        (message,) = json.loads(Worker(order(tmp_path, data_dir, **changes), 0).plan()).values()
        assert "\n" not in message
        return str(message)

    assert problem().startswith(f"{tmp_path}: on ")
    assert problem().endswith("it must lie where all nodes see it, on a file system that locks across them")
    with exclusive(tmp_path):
        assert problem(budgets=[100_000]).startswith("config.budgets[0]: 100000 labels, but ")
        assert problem(budgets="many").startswith("config.budgets: expected ")


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (None, {}),
        (Stopped("stopped"), {"stopped": True}),
        (TlxError("config.x: wrong"), {"error": "config.x: wrong", "again": False}),
        (MemoryError("16 GB\nat line"), {"error": "MemoryError: 16 GB", "again": True}),
    ],
)
def test_how_a_unit_ended(
    failure: Exception | None, said: dict[str, Any], tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_once(unit: Unit, context: Context) -> None:
        context.progress.line(f"{unit.name} on its way")
        assert context.stop.is_set()
        if failure:
            raise failure

    monkeypatch.setattr("tlx.worker.run_once", run_once)
    worker = Worker(order(tmp_path, data_dir), 0)
    with exclusive(tmp_path):
        unit = json.loads(worker.plan())["units"][0]
    worker.stop()
    for _ in range(2):
        assert json.loads(worker.run(unit["id"])) == {"lines": [f"{unit['name']} on its way"], **said}


@pytest.mark.thorough
def test_a_worker_estimates_the_places_whose_first_unit_it_ran(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlx.worker.run_once", lambda unit, context: None)
    worker = Worker(order(tmp_path, data_dir, estimators=["lfc"]), 0)
    with exclusive(tmp_path):
        units = json.loads(worker.plan())["units"]
        there = []
        for unit in units:
            assert json.loads(worker.run(unit["id"])).keys() == {"lines"}
            there.append(len(list(tmp_path.glob("estimates/*.json"))))
    # One source and target at two budgets and seeds.
    assert there == sorted(there) and there[-1] == 4

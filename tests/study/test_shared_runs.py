"""Machines with folders of their own, and a bucket that all of them see."""

import dataclasses
from pathlib import Path

import pytest
from conftest import Make

from tlx.cli import main
from tlx.errors import RecordError
from tlx.progress import Silent
from tlx.records import Records
from tlx.study import once
from tlx.study.context import Context
from tlx.study.plan import Unit
from tlx.study.run import run
from tlx.study.spec import Folders, Study


@pytest.fixture
def study(make_study: Make) -> Study:
    study = make_study("--config.budgets=(20,)")
    entries = tuple(entry for entry in study.entries if entry.arm != "transfer")
    return dataclasses.replace(study, entries=entries, sources=())


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Units are not trained; each of their cells gets a record, and a second look at the same one another score."""
    units: list[str] = []

    def publish(unit: Unit, context: Context) -> None:
        units.append(unit.first.entry.name)
        for cell in unit.cells:
            Records(context.folders.work).publish({"id": cell.id, "score": 0.5 + 0.1 * len(units)}, {"wall_s": 0.0})

    monkeypatch.setattr(once, "run_unit", publish)
    return units


def test_what_one_machine_has_done_no_other_does_again(
    study: Study, ran: list[str], tmp_path: Path, data_dir: Path
) -> None:
    url = (tmp_path / "bucket").as_uri()
    for work in ("a", "b"):
        run(study, Folders(tmp_path / work, data_dir, url), Silent(), lambda _: None)
    assert sorted(ran) == ["random_frozen", "scratch"]
    found = [Records(tmp_path / name).load_all() for name in ("a", "b", "bucket")]
    assert found[0] == found[1] == found[2] and len(found[0]) == 4
    assert Records(tmp_path / "bucket").manifest() == Records(tmp_path / "a").manifest()


def test_a_unit_that_was_done_meanwhile_is_not_run(
    study: Study, ran: list[str], tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, other = (tmp_path / "bucket").as_uri(), tmp_path / "b"
    publish = once.run_unit

    def slowly(unit: Unit, context: Context) -> None:
        publish(unit, context)
        if context.folders.work != other:  # the other machine begins, and finishes, while this one is at its first unit
            monkeypatch.setattr(once, "run_unit", publish)
            once.shared.push(url, context.folders.work, [cell.id for cell in unit.cells])
            run(study, Folders(other, data_dir, url), Silent(), lambda _: None)

    monkeypatch.setattr(once, "run_unit", slowly)
    run(study, Folders(tmp_path / "a", data_dir, url), Silent(), lambda _: None)
    assert sorted(ran) == ["random_frozen", "scratch"]
    assert Records(tmp_path / "a").load_all() == Records(other).load_all()


def test_another_result_of_the_same_cell_stops_the_run(
    study: Study, ran: list[str], tmp_path: Path, data_dir: Path
) -> None:
    for work in ("a", "b"):
        run(study, Folders(tmp_path / work, data_dir), Silent(), lambda _: None)
    url = (tmp_path / "bucket").as_uri()
    run(study, Folders(tmp_path / "a", data_dir, url), Silent(), lambda _: None)
    with pytest.raises(RecordError, match="another machine recorded this cell with another result"):
        run(study, Folders(tmp_path / "b", data_dir, url), Silent(), lambda _: None)


def test_a_report_of_an_empty_bucket_and_a_bucket_for_a_cluster_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["report", (tmp_path / "nothing").as_uri()]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "study.json" in said

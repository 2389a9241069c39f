from pathlib import Path

import pytest
from conftest import Make

from tlx import lock
from tlx.cli import main
from tlx.errors import FileError, TlxError
from tlx.progress import Silent
from tlx.records import Records
from tlx.study import once, pretrain
from tlx.study.context import Context, Stopped
from tlx.study.plan import Unit
from tlx.study.run import Grid, in_order, lay_out, run
from tlx.study.shares import Shard, parse_shard, plan_digest, share_of, units_of
from tlx.study.spec import Folders, Study


class Lines(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def line(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def study(make_study: Make) -> Study:
    return make_study()


@pytest.fixture(scope="module")
def grid(study: Study, data_dir: Path) -> Grid:
    return lay_out(study, Folders(data_dir / "nowhere", data_dir), Silent())


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Units are not trained: each of their cells gets a record that says which unit it was."""
    ran: list[str] = []

    def publish(unit: Unit, context: Context) -> None:
        ran.append(unit.id)
        for cell in unit.cells:
            Records(context.folders.work).publish({"id": cell.id, "unit": unit.id}, {"wall_s": 0.0})

    monkeypatch.setattr(once, "run_unit", publish)
    return ran


def test_a_single_cell_is_run_with_those_of_its_unit(
    study: Study, grid: Grid, data_dir: Path, tmp_path: Path, stubbed: list[str]
) -> None:
    unit = grid.units[-1]
    cell = unit.cells[0].id
    assert units_of(grid.units, cell) == (unit,) == units_of(grid.units, cell[:12])
    run(study, Folders(tmp_path, data_dir), Silent(), lambda context: None, only=cell)
    assert stubbed == [unit.id] and {path.stem for path in (tmp_path / "records").iterdir()} == {
        c.id for c in unit.cells
    }


@pytest.mark.parametrize(("cell", "why"), [("zz", "the study has no such cell"), ("", r"\d+ cells begin with it")])
def test_cells_that_are_not_one_are_refused(grid: Grid, cell: str, why: str) -> None:
    with pytest.raises(TlxError, match=f"^--cell: expected the id of a cell, got '{cell}': {why}$"):
        units_of(grid.units, cell)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_every_unit_is_in_exactly_one_share_whatever_their_order(grid: Grid, count: int) -> None:
    shares = [share_of(grid.units, Shard(i + 1, count)) for i in range(count)]
    assert sorted(unit.id for share in shares for unit in share.units) == sorted(unit.id for unit in grid.units)
    backwards = [share_of(grid.units[::-1], Shard(i + 1, count)) for i in range(count)]
    assert [{unit.id for unit in share.units} for share in shares] == [{u.id for u in s.units} for s in backwards]
    owners = [share for share in shares if share.sources]
    assert len(owners) == 1 and owners[0].sources == set(grid.study.sources)


def test_shares_are_balanced_by_their_train_steps(grid: Grid) -> None:
    # Two fused units of 12 runs and six of 6, of 20 steps each: 240 + 240 + 6 × 120 = 1,200.
    lengths = sorted(unit.runs * unit.task.steps for unit in grid.units)
    assert lengths == [120] * 6 + [240] * 2
    for count, loads in ((2, [600, 600]), (3, [360, 360, 480]), (5, [240] * 5), (9, [0] + [120] * 6 + [240] * 2)):
        shares = [share_of(grid.units, Shard(i + 1, count)).units for i in range(count)]
        assert sorted(sum(unit.runs * unit.task.steps for unit in share) for share in shares) == loads


def test_who_does_not_pre_train_a_source_begins_with_what_needs_none(grid: Grid) -> None:
    waiting = in_order(grid.units, frozenset())
    assert [unit.first.source is None for unit in waiting] == [True] * 3 + [False] * 5
    assert in_order(grid.units, frozenset(grid.study.sources)) == in_order(grid.units)


@pytest.mark.parametrize("text", ["0/3", "4/3", "a/b", "1", "1/", "/2", "-1/2", "1/2/3", "1.0/2", "²/3", "", "1/ 2"])
def test_a_wrong_shard_is_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = f"--shard: expected I/N with I from 1 to N, such as 2/4, got {text!r}"
    with pytest.raises(TlxError) as caught:
        parse_shard(text)
    assert str(caught.value) == message
    assert main(["run", "config.py", f"--shard={text}"]) == 2
    assert capsys.readouterr().err == f"{message}\n"


@pytest.mark.thorough
def test_each_shard_runs_its_share_and_says_what_is_left(
    grid: Grid, study: Study, data_dir: Path, tmp_path: Path, stubbed: list[str]
) -> None:
    expected = {index: share_of(grid.units, Shard(index, 2)).units for index in (1, 2)}
    recorded = 0
    for index in (1, 2):
        run(study, Folders(tmp_path, data_dir), lines := Lines(), lambda context: None, Shard(index, 2))
        assert sorted(stubbed) == sorted(unit.id for unit in expected[index])
        recorded += sum(len(unit.cells) for unit in expected[index])
        assert grid.recorded(tmp_path) == recorded
        stubbed.clear()
    assert recorded == 20
    run(study, Folders(tmp_path, data_dir), lines, lambda context: None, Shard(1, 2))
    mine = sum(len(unit.cells) for unit in expected[1])
    assert lines.said[-1] == f"all {mine} cells of shard 1/2 have records: nothing to run"
    run(study, Folders(tmp_path, data_dir), lines, lambda context: None)
    assert lines.said[-1] == "all 20 cells have records: nothing to run"
    assert stubbed == []
    assert not list(tmp_path.glob(".lock-*"))


def test_who_may_be_at_work_beside_a_shard(
    grid: Grid, study: Study, data_dir: Path, tmp_path: Path, stubbed: list[str]
) -> None:
    def refused(shard: Shard | None, study: Study = study) -> str:
        with pytest.raises(FileError) as caught:
            run(study, Folders(tmp_path, data_dir), Silent(), lambda context: None, shard)
        return str(caught.value).removeprefix(f"{tmp_path}: ")

    whole = "another process is at work here; wait for it, or choose --workdir"
    with lock.shard(tmp_path, 1, 2, plan_digest(grid.units)):
        assert refused(None) == whole
        assert refused(Shard(1, 2)) == "another process is at work on shard 1/2; wait for it"
        assert refused(Shard(1, 3)) == "shard 1/2 is at work here, so 1/3 cannot be; use one number for all"
        run(study, Folders(tmp_path, data_dir), Silent(), lambda context: None, Shard(2, 2))
    with lock.shard(tmp_path, 1, 2, "of another config"):
        assert refused(Shard(2, 2)) == (
            "shard 1/2 is at work here on other cells or units; use the same config, tlx and kind of devices for all"
        )
    with lock.exclusive(tmp_path):
        assert refused(Shard(2, 2)) == whole


def test_a_unit_that_another_process_has_run_is_not_run_again(
    grid: Grid, data_dir: Path, tmp_path: Path, stubbed: list[str]
) -> None:
    folders = Folders(tmp_path, data_dir)
    context = Context(grid.study, folders, grid.placement, grid.sources, grid.targets, Silent())
    for _ in range(2):
        once.run_once(grid.units[0], context)
    assert stubbed == [grid.units[0].id]


def test_who_waits_for_a_source_says_so_once_and_heeds_a_stop(grid: Grid, data_dir: Path, tmp_path: Path) -> None:
    lines = Lines()
    context = Context(grid.study, Folders(tmp_path, data_dir), grid.placement, grid.sources, grid.targets, lines)
    (source,) = grid.study.sources
    held: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "pretrain", lambda *args: held.extend(tmp_path.glob(".lock-source-*")))
        pretrain.source_model(source, context)
    context.pretrained.clear()
    context.stop.set()
    (path,) = held
    with lock.one_at_a_time(path, lambda: None), pytest.raises(Stopped, match="run the same command to go on"):
        pretrain.source_model(source, context)
    assert lines.said == ["waiting: another process pre-trains mnist"]
    assert not path.exists()

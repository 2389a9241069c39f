"""Metrics of studies: complete while they run and after every kill, and no part of any result."""

import dataclasses
import itertools
import math
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Make
from event_files import curves_of
from runs import task_of
from tiers import first

from tlx import atomic, stream
from tlx.errors import ConfigError, FileError
from tlx.loggers import registry
from tlx.loggers.logger import Run
from tlx.optim import make_schedule
from tlx.progress import Silent
from tlx.records import Records
from tlx.study import run
from tlx.study.cells import Cell
from tlx.study.metrics import Metrics
from tlx.study.search import Point
from tlx.study.select import Validation
from tlx.study.spec import Folders, Study
from tlx.study.trials import Trained, Trial

STEPS, CALL = 12, 4
# One arm whose trials run in turn, one whose run at once; neither needs a source.
OVERRIDES = (
    f"--config.train.steps={STEPS}",
    f"--config.plan.steps_per_call={CALL}",
    "--config.budgets=(20,)",
    "--config.mesh.data=1",
    "--config.plan.workers=2",
)
EVERY_CALL, NEVER = "--config.checkpoint.every_seconds=0", "--config.checkpoint.every_seconds=1000"


class Died(BaseException):
    """What a killed process sees."""


class Dying(Silent):
    """Ends the process, as it were, when a unit advances for the n-th time; keeps the lines that are shown."""

    def __init__(self, n: int = 0) -> None:
        self.left, self.lines = n, list[str]()

    def line(self, text: str) -> None:
        self.lines.append(text)

    def advance(self, task: str, units: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise Died


class Failing:
    """A logger whose service is gone."""

    def __init__(self, work: Path) -> None:
        self.asked = 0

    def log(self, run: Run, rows: Sequence[Mapping[str, Any]]) -> None:
        self.asked += 1
        raise ConnectionError("no route to host\nand more lines")

    def end(self, run: Run) -> None:
        self.asked += 1


@pytest.fixture(scope="module")
def two(make_study: Make) -> Make:
    """Overrides to a study of two arms."""

    def made(*overrides: str) -> Study:
        study = make_study(*OVERRIDES, *overrides)
        entries = tuple(entry for entry in study.entries if entry.arm != "transfer")
        return dataclasses.replace(study, entries=entries, sources=())

    return made


def run_it(study: Study, work: Path, data_dir: Path, progress: Silent | None = None) -> dict[str, bytes]:
    """The records, as they are on the disk."""
    run.run(study, Folders(work, data_dir), progress or Silent(), lambda context: None)
    return {path.stem: path.read_bytes() for path in sorted((work / "records").iterdir())}


def content(work: Path) -> dict[str, list[stream.Row]]:
    """All streams, without times."""
    return {
        path.stem: [
            {key: value for key, value in row.items() if key not in ("seconds", "time")}
            for row in stream.load(work, path.stem)
        ]
        for path in sorted((work / "metrics").iterdir())
    }


@pytest.fixture(scope="module")
def whole(two: Make, tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> tuple[Path, dict[str, bytes]]:
    """An undisturbed run: its folder and its records."""
    work = tmp_path_factory.mktemp("whole")
    return work, run_it(two(NEVER), work, data_dir)


def test_a_row_a_call_and_the_same_numbers_as_the_record(two: Make, whole: tuple[Path, dict[str, bytes]]) -> None:
    work, _ = whole
    found, records = content(work), Records(work).load_all()
    assert set(found) == {record["id"] for record in records} and len(found) == 4
    assert {record["cost"]["strategy"] for record in records} == {"loop", "fused"}
    schedule = make_schedule(two().entries[0].optimizer, STEPS)
    factors = [float(schedule(jnp.asarray(step - 1, jnp.int32))) for step in (4, 8, 12)]
    for record in records:
        rows, trials, rate = found[record["id"]], record["trials"], record["selected"]["lr"]
        assert [row["step"] for row in rows] == [4, 8, 12] * 3
        assert [row["peak_lr"] for row in rows[::3]] == [trial["lr"] for trial in trials]
        assert [row["trial"] for row in rows[::3]] == [f"{trial['lr']:g}" for trial in trials]
        for last, trial in zip(rows[2::3], trials, strict=True):
            assert (last["val_score"], last["val_loss"]) == (trial["val_score"], trial["val_loss"])
        assert not any("val_score" in row for i, row in enumerate(rows) if i % 3 != 2)
        chosen = [row for row in rows if row["peak_lr"] == rate]
        losses = np.asarray(record["curve"]["train_loss"], np.float64)  # of every step, as there are so few
        assert [row["train_loss"] for row in chosen] == pytest.approx(list(losses.reshape(3, CALL).mean(axis=1)))
        assert [row["lr"] for row in chosen] == pytest.approx([rate * factor for factor in factors])
        seconds = [row["seconds"] for row in stream.load(work, record["id"])[:3]]
        assert seconds == sorted(seconds) and seconds[0] > 0


def test_tensorboard_has_a_run_a_trial(whole: tuple[Path, dict[str, bytes]]) -> None:
    work, _ = whole
    runs = {path.parent for path in (work / "tensorboard").rglob("events.out.tfevents.*")}
    assert len(runs) == 12
    for record in Records(work).load_all():
        cell = record["cell"]
        folder = work / "tensorboard" / cell["entry"] / "digits" / f"n20-seed{cell['seed']}-{record['id']}"
        rows = stream.load(work, record["id"])
        for trial in record["trials"]:
            curves, mine = curves_of(folder / f"lr{trial['lr']:g}"), [r for r in rows if r["peak_lr"] == trial["lr"]]
            for tag, column in (("train/loss", "train_loss"), ("train/lr", "lr"), ("train/seconds", "seconds")):
                expected = [(row["step"], pytest.approx(row[column], rel=1e-6)) for row in mine]
                assert curves.pop(tag) == expected
            assert curves.pop("val/score") == [(STEPS, pytest.approx(trial["val_score"], rel=1e-6))]
            assert curves.pop("val/loss") == [(STEPS, pytest.approx(trial["val_loss"], rel=1e-6))]
            assert not curves


@pytest.mark.parametrize(("n", "saving"), first(1, [(8, EVERY_CALL), (2, EVERY_CALL), (14, EVERY_CALL), (14, NEVER)]))
def test_a_killed_study_ends_with_the_rows_of_an_undisturbed_one(
    two: Make, whole: tuple[Path, dict[str, bytes]], tmp_path: Path, data_dir: Path, n: int, saving: str
) -> None:
    with pytest.raises(Died):
        run_it(two(saving, "--config.plan.workers=1"), tmp_path, data_dir, Dying(n))
    begun = content(tmp_path) if saving == EVERY_CALL else {}
    assert saving == NEVER or (any(begun.values()) and begun != content(whole[0]))
    assert run_it(two(saving), tmp_path, data_dir) == whole[1]
    assert content(tmp_path) == content(whole[0])
    for path in (tmp_path / "metrics").iterdir():
        read = stream.read(path)
        assert len({(row["trial"], row["step"], "val_score" in row) for row in read.rows}) == len(read.rows)
        assert len(read.rows) <= 12 and read.skipped == 0


@pytest.mark.thorough
def test_metrics_that_are_gone_or_torn_cost_no_result(
    two: Make, whole: tuple[Path, dict[str, bytes]], tmp_path: Path, data_dir: Path
) -> None:
    with pytest.raises(Died):
        run_it(two(EVERY_CALL, "--config.plan.workers=1"), tmp_path, data_dir, Dying(8))
    torn, *others = sorted((tmp_path / "metrics").iterdir(), key=lambda path: -path.stat().st_size)
    before = stream.read(torn).rows
    torn.write_bytes(torn.read_bytes()[:-9])
    for path in (*others, tmp_path / "tensorboard"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert run_it(two("--config.loggers=()"), tmp_path, data_dir) == whole[1]
    after = stream.read(torn)
    assert after.skipped == 1 and after.rows[: len(before) - 1] == before[:-1]
    for cell in whole[1]:
        for rate in {trial["lr"] for trial in Records(tmp_path).get(cell)["trials"]}:
            ended = [row for row in stream.load(tmp_path, cell) if row["peak_lr"] == rate and "val_score" in row]
            assert [row["step"] for row in ended] == [STEPS]
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.thorough
def test_what_a_logger_or_the_disk_refuses_is_said_once_and_ends_nothing(
    two: Make, whole: tuple[Path, dict[str, bytes]], tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, real, refused = Failing(tmp_path), atomic.append, 0

    def refuse(path: Path, data: bytes) -> None:
        nonlocal refused
        refused += 1
        if refused <= 3:
            raise FileError(tmp_path / f"stream {refused}", "could not be written: No space left on device")
        real(path, data)

    monkeypatch.setitem(registry.LOGGERS, "mlflow", registry.Kind(lambda work: failing, "json"))  # type: ignore[index]
    monkeypatch.setattr(atomic, "append", refuse)
    progress = Dying()
    loggers = "--config.loggers=('mlflow','tensorboard')"
    assert run_it(two(EVERY_CALL, loggers), tmp_path, data_dir, progress) == whole[1]
    full = "could not be written: No space left on device; results are not harmed, metrics wait in memory"
    assert [line for line in progress.lines if "metrics" in line] == [
        f"mlflow gets no more metrics (ConnectionError: no route to host); all are in {tmp_path / 'metrics'}",
        f"{tmp_path / 'stream 1'}: {full}",
    ]
    assert failing.asked == 1 and refused > 3
    assert content(tmp_path) == content(whole[0])
    assert len(list((tmp_path / "tensorboard").rglob("events.out.tfevents.*"))) == 12


def test_a_logger_that_is_not_installed_is_refused_before_anything_is_done(
    two: Make, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"^config\.loggers: 'wandb' needs the package wandb, which is not installed"):
        run_it(two("--config.loggers=wandb"), tmp_path / "work", data_dir)
    assert not (tmp_path / "work").exists()
    with pytest.raises(ConfigError, match=r"^config\.loggers\[0\]: unknown value 'wandbb' \(did you mean 'wandb'\?\)$"):
        two("--config.loggers=('wandbb',)")


@pytest.fixture
def trial(two: Make) -> Trial:
    study = two()
    cell = Cell("0123456789abcdef", None, study.targets[0], study.entries[0], 20, 0, {})
    return Trial(cell, Point(0.5, 0.0))


def noted(work: Path, trial: Trial, steps: int, lengths: Iterable[int], loss: float = 1.0) -> Metrics:
    metrics = Metrics(work, "small", (), print)
    for length in lengths:
        metrics.note(task_of("full", steps), trial, np.full(length, loss, np.float32), 0.0)
    return metrics


def test_long_runs_have_a_thousand_rows_and_the_last_one(tmp_path: Path, trial: Trial) -> None:
    metrics = noted(tmp_path, trial, 4005, [*range(2, 4005, 2), 4005])
    assert not (tmp_path / "metrics").exists(), "not yet"
    metrics.flush()
    steps = [row["step"] for row in stream.load(tmp_path, trial.cell.id)]
    assert steps == [*range(6, 4005, 6), 4005] and len(steps) == 668
    assert {after - before for before, after in itertools.pairwise(steps)} == {6, 3}


def test_a_diverged_trial_ends_where_it_did(tmp_path: Path, trial: Trial) -> None:
    metrics = noted(tmp_path, trial, 100, (10, 20), loss=math.nan)
    run = Trained({}, {}, np.full(20, math.nan, np.float32), True, 1.0)
    metrics.end(task_of("full", 100), [trial], [run], [Validation(0, 0.5, None, None)])
    last = stream.load(tmp_path, trial.cell.id)[-1]
    assert {key: last[key] for key in ("step", "train_loss", "val_score", "val_loss", "peak_lr", "trial")} == {
        "step": 20,
        "train_loss": None,
        "val_score": None,
        "val_loss": None,
        "peak_lr": 0.5,
        "trial": "0.5",
    }


def test_rows_reach_the_disk_while_a_trial_runs(tmp_path: Path, trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    metrics = noted(tmp_path, trial, 100, (10,))
    assert not (tmp_path / "metrics").exists()
    now = 10.0
    metrics.note(task_of("full", 100), trial, np.ones(20, np.float32), 0.0)
    assert [row["step"] for row in stream.load(tmp_path, trial.cell.id)] == [10, 20]


def test_threads_do_not_get_in_one_anothers_way(tmp_path: Path, trial: Trial) -> None:
    metrics, task = Metrics(tmp_path, "small", ("tensorboard",), print), task_of("full", 200)
    cells = [dataclasses.replace(trial.cell, id=f"{i:016x}", seed=i) for i in range(8)]

    def work(cell: Cell) -> None:
        for step in range(1, 101):
            metrics.note(task, Trial(cell, Point(0.5, 0.0)), np.ones(step, np.float32), 0.0)
            if step % 10 == 0:
                metrics.flush()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, cells))
    for cell in cells:
        read = stream.read(stream.path_of(tmp_path, cell.id))
        assert [row["step"] for row in read.rows] == list(range(1, 101)) and read.skipped == 0
        (folder,) = {path.parent for path in (tmp_path / "tensorboard").rglob("events*") if cell.id in str(path)}
        assert [step for step, _ in curves_of(folder)["train/loss"]] == list(range(1, 101))

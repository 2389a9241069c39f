"""Scores on the way: where they are taken, that they are what a shorter run ends with, and that a stop changes none."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from conftest import Make
from tiers import first

from tlx.loop import Programs, call_end
from tlx.progress import Silent
from tlx.records import Records
from tlx.step import Task
from tlx.study import run
from tlx.study.context import Context, Stopped
from tlx.study.plan import train_programs
from tlx.study.spec import Folders

FLAT = ("--config.train.schedule=constant", "--config.train.warmup=0.0")
QUICK = (*FLAT, "--config.budgets=(20,)", "--config.mesh.data=1", "--config.checkpoint.every_seconds=0")


class Stopping(Silent):
    """Asks for an end after every call of a program."""

    def __init__(self) -> None:
        self.context: Context | None = None

    def watch(self, context: Context) -> None:
        self.context = context

    def advance(self, task: str, units: int) -> None:
        if self.context is not None and units:
            self.context.stop.set()


def records_of(
    make_study: Make, entry: str, work: Path, data_dir: Path, *overrides: str, stopping: bool = False
) -> tuple[list[dict[str, Any]], int]:
    """What an entry of the small study came to, from random weights; and how often it was stopped."""
    study = make_study(*QUICK, *overrides)
    entries = tuple(one for one in study.entries if one.name == entry)
    study, stops = dataclasses.replace(study, entries=entries, sources=()), 0
    while True:
        progress = Stopping()
        try:
            run.run(study, Folders(work, data_dir), progress, progress.watch if stopping else lambda _: None)
            return Records(work).load_all(), stops
        except Stopped:
            stops += 1


@pytest.mark.parametrize(
    ("entry", "strategy"), first(1, [("random_frozen", "fused"), ("scratch", "loop"), ("random_frozen", "loop")])
)
def test_a_score_on_the_way_is_what_a_shorter_run_ends_with(
    make_study: Make, tmp_path: Path, data_dir: Path, entry: str, strategy: str
) -> None:
    how = f"--config.plan.strategy={strategy}"
    looked = ("--config.train.steps=8", "--config.train.evaluations=4", how)
    long, _ = records_of(make_study, entry, tmp_path / "long", data_dir, *looked)
    for record in long:
        assert record["evaluations"]["step"] == [2, 4, 6, 8]
        assert record["evaluations"]["val_score"][-1] == record["result"]["val_score"]
    short, _ = records_of(make_study, entry, tmp_path / "short", data_dir, "--config.train.steps=4", how)
    by_seed = {record["cell"]["seed"]: record for record in short}
    for record in long:
        other = by_seed[record["cell"]["seed"]]
        (trial,) = [one for one in other["trials"] if one["lr"] == record["selected"]["lr"]]
        assert record["evaluations"]["val_score"][1] == trial["val_score"]
        assert "evaluations" not in other and other["id"] != record["id"]


@pytest.mark.parametrize(
    ("entry", "strategy"),
    [
        ("random_frozen", "fused"),
        pytest.param("random_frozen", "loop", marks=pytest.mark.thorough),
        pytest.param("scratch", "loop", marks=pytest.mark.exhaustive),
    ],
)
def test_stopped_after_every_call_the_scores_are_the_same(
    make_study: Make, tmp_path: Path, data_dir: Path, entry: str, strategy: str
) -> None:
    how = (f"--config.plan.strategy={strategy}", "--config.train.steps=6", "--config.train.evaluations=3")
    once, _ = records_of(make_study, entry, tmp_path / "once", data_dir, *how)
    often, stops = records_of(make_study, entry, tmp_path / "often", data_dir, *how, stopping=True)
    assert stops >= 3 and [one["evaluations"] for one in once] == [one["evaluations"] for one in often]
    assert once == often


@pytest.mark.thorough
def test_looks_do_not_change_what_is_trained(make_study: Make, tmp_path: Path, data_dir: Path) -> None:
    plain, _ = records_of(make_study, "scratch", tmp_path / "plain", data_dir, "--config.train.steps=6")
    how = ("--config.train.steps=6", "--config.train.evaluations=6")
    looked, _ = records_of(make_study, "scratch", tmp_path / "looked", data_dir, *how)
    for one, other in zip(*(sorted(some, key=lambda r: r["cell"]["seed"]) for some in (plain, looked)), strict=True):
        assert one["trials"] == other["trials"] and one["result"] == other["result"]
        assert other["evaluations"]["step"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.thorough
def test_the_plan_foresees_the_programs(make_study: Make, tmp_path: Path, data_dir: Path) -> None:
    programs = Programs()

    def share(context: Context) -> None:
        context.programs = programs

    # Looks after every third step, halves after the fourth: calls of 3, of 1, of 2 and again of 3 and of 1.
    study = make_study(
        *QUICK, "--config.train.steps=10", "--config.train.evaluations=3", "--config.search.kind=halving"
    )
    study = dataclasses.replace(study, search=dataclasses.replace(study.search, rungs=1, eta=2), sources=())
    study = dataclasses.replace(study, entries=tuple(one for one in study.entries if one.name == "scratch"))
    grid = run.run(study, Folders(tmp_path, data_dir), Silent(), share)
    made = sum(isinstance(name, Task) for name in programs.names())
    assert made == train_programs(grid.study, grid.units) and {unit.chunk for unit in grid.units} == {3}
    for record in Records(tmp_path).load_all():
        assert record["evaluations"]["step"] == [3, 6, 9, 10]


def test_a_call_ends_at_the_next_multiple() -> None:
    assert [call_end(start, 4, 0) for start in (0, 4, 5)] == [4, 8, 9]
    assert [call_end(start, 4, 6) for start in (0, 4, 5, 6)] == [4, 6, 6, 10]

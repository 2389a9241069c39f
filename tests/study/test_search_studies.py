"""Searches end to end, one arm in turn and one at once: no source, so nothing is pre-trained."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Make
from runs import host
from tiny import differing

from tlx import fused
from tlx.checkpoint import Checkpoints
from tlx.loop import Programs
from tlx.progress import Silent
from tlx.records import Records
from tlx.step import Task
from tlx.study import run
from tlx.study.at_once import AtOnce
from tlx.study.context import Context, Stopped
from tlx.study.heats import Judge, run_heats
from tlx.study.in_turn import InTurn
from tlx.study.plan import Unit, train_programs
from tlx.study.run import Grid, lay_out
from tlx.study.spec import TRANSFER, Folders, Study
from tlx.study.starts import starts_of
from tlx.study.trials import Trained, Trial

STEPS = ("--config.train.steps=18", "--config.plan.steps_per_call=2", "--config.budgets=(20,)", "--config.mesh.data=1")
HALVING = ("--config.search.kind=halving",)
RANDOM = ("--config.search.kind=random", "--config.search.trials=3", "--config.search.seed=5")
RANGES = (
    "--config.adapt.scratch.lr=(1e-3,1e-2)",
    "--config.adapt.random_frozen.lr=(1e-2,1.0)",
    "--config.adapt.random_frozen.weight_decays=(1e-3,1e-1)",
)


def without_sources(study: Study) -> Study:
    entries = tuple(entry for entry in study.entries if entry.arm != TRANSFER)
    return dataclasses.replace(study, entries=entries, sources=())


@pytest.fixture(scope="module")
def programs() -> Programs:
    """Shared by all studies here: they differ in nothing that is compiled."""
    return Programs()


class Bench:
    """The units of a study, to be run one by one, stopped after every few calls of a program if so wished."""

    def __init__(self, study: Study, work: Path, data_dir: Path, programs: Programs) -> None:
        self.folders, self.every = Folders(work, data_dir), 0
        self.grid: Grid = lay_out(without_sources(study), self.folders, Silent())
        self.stops = self.calls = self.steps = self.total = 0
        self.said: list[str] = []
        self.context = Context(
            self.grid.study, self.folders, self.grid.placement, {}, self.grid.targets, self, programs
        )

    def line(self, text: str) -> None:
        """Keeps it."""
        self.said.append(text)

    def start(self, task: str, total: int, done: int = 0) -> None:
        """Remembers what is to be done."""
        self.total, self.steps = total, done

    def advance(self, task: str, units: int) -> None:
        """Counts, and asks for an end."""
        self.steps += units
        self.calls += units > 0
        if self.every and units and self.calls % self.every == 0:
            self.context.stop.set()

    def unit(self, entry: str) -> Unit:
        """The only one of an entry."""
        (unit,) = [unit for unit in self.grid.units if unit.first.entry.name == entry]
        return unit

    def run(self, entry: str) -> tuple[list[Trial], dict[str, Trained]]:
        """Run a unit, as often as it is stopped."""
        unit, starts = self.unit(entry), starts_of(self.unit(entry), self.context)
        while True:
            self.context.stop.clear()
            checkpoints = Checkpoints(self.folders.work / unit.id)
            runner = (AtOnce if unit.strategy == "fused" else InTurn)(unit, starts, checkpoints, self.context)
            try:
                trials = run_heats(unit, runner, Judge(unit, starts, self.context))
            except Stopped:
                self.stops += 1
                continue
            assert self.steps == self.total == unit.steps
            return trials, runner.done


def leaves(run: Trained) -> dict[str, Any]:
    return host({name: leaf for name, leaf in run.as_tree().items() if name not in ("seconds", "stopped")})


@pytest.mark.parametrize(("entry", "strategy"), [("scratch", "loop"), ("random_frozen", "fused")])
def test_what_survives_is_what_the_grid_would_have_trained(
    make_study: Make, tmp_path: Path, data_dir: Path, programs: Programs, entry: str, strategy: str
) -> None:
    whole = Bench(make_study(*STEPS), tmp_path / "grid", data_dir, programs)
    _, full = whole.run(entry)
    halved = Bench(make_study(*STEPS, *HALVING), tmp_path / "halving", data_dir, programs)
    trials, done = halved.run(entry)
    assert halved.unit(entry).strategy == strategy
    assert halved.unit(entry).steps == 2 * (3 * 2 + 1 * 4 + 1 * 12) and whole.unit(entry).steps == 2 * 3 * 18
    survivors = [trial for trial in trials if done[trial.key].stopped is None]
    assert {done[trial.key].stopped for trial in trials} == {2, None}
    assert len(survivors) == 2 and len({trial.point for trial in survivors}) == 1
    by_rate = {(trial.cell.seed, trial.point): full[f"{_twin(whole, entry, trial)}"] for trial in trials}
    for trial in trials:
        mine, twin = leaves(done[trial.key]), leaves(by_rate[trial.cell.seed, trial.point])
        if trial in survivors:
            assert differing(mine, twin) == set()
        else:
            np.testing.assert_array_equal(mine["losses"], twin["losses"][:2])


def _twin(bench: Bench, entry: str, trial: Trial) -> str:
    """The key of the same trial in another study."""
    (cell,) = [cell for cell in bench.unit(entry).cells if cell.seed == trial.cell.seed]
    return Trial(cell, trial.point).key


EXTENDED = ("--config.search.extend=2", "--config.train.steps=4")


@pytest.mark.parametrize(
    ("entry", "search", "every"),
    [
        ("scratch", HALVING, 5),
        ("random_frozen", HALVING, 2),
        ("random_frozen", EXTENDED, 2),
        ("random_frozen", (*HALVING, "--config.plan.members=4"), 3),
        pytest.param("scratch", EXTENDED, 3, marks=pytest.mark.thorough),
        *(
            pytest.param(entry, search, 1, marks=pytest.mark.exhaustive)
            for entry in ("scratch", "random_frozen")
            for search in (HALVING, EXTENDED)
        ),
        pytest.param("random_frozen", (*HALVING, "--config.plan.members=2"), 1, marks=pytest.mark.thorough),
        pytest.param("random_frozen", (*EXTENDED, "--config.plan.members=2"), 1, marks=pytest.mark.thorough),
    ],
)
def test_stopped_again_and_again_it_ends_with_the_same_bits(
    make_study: Make,
    tmp_path: Path,
    data_dir: Path,
    programs: Programs,
    entry: str,
    search: tuple[str, ...],
    every: int,
) -> None:
    study = make_study(*STEPS, *search)
    trials, done = Bench(study, tmp_path / "undisturbed", data_dir, programs).run(entry)
    often = Bench(study, tmp_path / "stopped", data_dir, programs)
    often.every = every
    again, resumed = often.run(entry)
    assert often.stops >= 3 and again == trials and resumed.keys() == done.keys()
    for key, run_ in done.items():
        assert resumed[key].stopped == run_.stopped
        assert differing(leaves(resumed[key]), leaves(run_)) == set()


def test_survivors_that_do_not_fit_begin_again_in_smaller_groups(
    make_study: Make, tmp_path: Path, data_dir: Path, programs: Programs
) -> None:
    study = make_study(*STEPS, *HALVING)
    trials, done = Bench(study, tmp_path / "undisturbed", data_dir, programs).run("random_frozen")
    real, sizes = fused.run, []

    def small(task: Any, state: Any, *args: Any, until: int, **settings: Any) -> Any:
        sizes.append(len(state.step))
        if until > 2 and sizes[-1] > 1:
            raise MemoryError
        return real(task, state, *args, until=until, **settings)

    short = Bench(study, tmp_path / "short", data_dir, programs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "run", small)
        again, retried = short.run("random_frozen")
    # All six to the first rung; of those that go on one of each seed, together and then alone, to the second and on.
    assert sizes == [6, 2, 2, 2, 1, 1, 1, 1] and again == trials
    name = "random_frozen: → digits, 20 labels"
    assert short.said == [f"{name}: out of memory, going on with {size} runs at once" for size in (3, 2, 1)]
    for key, run_ in done.items():
        assert retried[key].stopped == run_.stopped
        np.testing.assert_allclose(retried[key].losses, run_.losses, rtol=1e-5)


class Finished:
    """A study that was run, its records, and how many train programs it compiled of those that others share."""

    def __init__(
        self, make_study: Make, work: Path, data_dir: Path, *overrides: str, programs: Programs | None = None
    ) -> None:
        programs = programs or Programs()

        def share(context: Context) -> None:
            context.programs = programs

        study = without_sources(make_study(*STEPS, *overrides))
        self.grid = run.run(study, Folders(work, data_dir), Silent(), share)
        self.records = Records(work).load_all()
        names = [name for name in programs.names() if isinstance(name, Task)]
        self.programs = len(names) + sum(isinstance(name, tuple) and "fused" in name for name in programs.names())

    def of(self, entry: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["cell"]["entry"] == entry]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("search", "count"), [(("--config.search.extend=2",), 1 + 2), ((*HALVING, "--config.search.trials=9"), 1 + 3)]
)
def test_the_plan_foresees_what_is_compiled(
    make_study: Make, tmp_path: Path, data_dir: Path, search: tuple[str, ...], count: int
) -> None:
    done = Finished(make_study, tmp_path, data_dir, *search)
    assert done.programs == train_programs(done.grid.study, done.grid.units) == count


def test_halving_is_recorded_and_its_programs_foreseen(make_study: Make, tmp_path: Path, data_dir: Path) -> None:
    # Rungs at 2 and 6 of 18 steps: calls of 2 and of 4 steps, and for what is fused groups of 6 and of 2.
    done = Finished(make_study, tmp_path, data_dir, *HALVING, "--config.plan.steps_per_call=4")
    assert done.programs == train_programs(done.grid.study, done.grid.units) == 2 + 2
    for record in done.of("scratch") + done.of("random_frozen"):
        assert record["config"]["search"] == {"kind": "halving", "rungs": 2, "eta": 3}
        assert sorted(trial["status"] for trial in record["trials"]) == ["ok", "stopped", "stopped"]
        for trial in record["trials"]:
            assert trial.get("step") == (2 if trial["status"] == "stopped" else None)
        (survivor,) = [trial for trial in record["trials"] if trial["status"] == "ok"]
        assert record["selected"]["lr"] == survivor["lr"]
        assert record["result"]["val_score"] == survivor["val_score"]


def test_drawn_trials_are_recorded_with_their_decay(
    make_study: Make, tmp_path: Path, data_dir: Path, programs: Programs
) -> None:
    done = Finished(make_study, tmp_path, data_dir, *RANDOM, *RANGES, programs=programs)
    scratch, frozen = done.of("scratch"), done.of("random_frozen")
    assert len(scratch) == len(frozen) == 2
    assert all("weight_decay" not in trial for record in scratch for trial in record["trials"])
    for plain, drawn in zip(scratch[0]["trials"], frozen[0]["trials"], strict=True):
        # The same share of either range, in logarithms.
        assert np.log10(drawn["lr"] / 1e-2) / 2 == pytest.approx(np.log10(plain["lr"] / 1e-3), abs=1e-5)
        assert 1e-3 <= drawn["weight_decay"] <= 1e-1
    assert frozen[0]["selected"].keys() == {"lr", "weight_decay", "by", "edge"}
    assert frozen[0]["selected"]["edge"] is None


def test_an_extended_grid_says_where_it_ended(
    make_study: Make, tmp_path: Path, data_dir: Path, programs: Programs
) -> None:
    # So few steps that the highest rate is the best, and then the one past it.
    done = Finished(make_study, tmp_path, data_dir, *EXTENDED, programs=programs)
    for entry in ("scratch", "random_frozen"):
        for record in done.of(entry):
            rates = [trial["lr"] for trial in record["trials"]]
            assert len(rates) == 5
            chosen = record["selected"]["lr"]
            assert record["selected"]["edge"] == {min(rates): "low", max(rates): "high"}.get(chosen)
    assert done.of("scratch")[0]["trials"][3]["lr"] == 8e-3


def test_a_plain_grid_is_recorded_as_ever(make_study: Make, data_dir: Path, tmp_path: Path) -> None:
    study = make_study(*STEPS)
    grid = lay_out(without_sources(study), Folders(tmp_path, data_dir), Silent())
    assert all("search" not in cell.identity for cell in grid.cells)
    assert all("weight_decays" not in cell.identity["entry"] for cell in grid.cells)

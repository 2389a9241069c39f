"""Methods that are more than a training run: phases, calibration, combination; and what is kept of each cell."""

import dataclasses
import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Make

from tlx import artifact, tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.hooks import Candidates
from tlx.adapt.registry import METHODS
from tlx.artifact import Artifact
from tlx.data.pipeline import load_arrays
from tlx.data.preprocess import normalise
from tlx.errors import TlxError
from tlx.fields import check_fields
from tlx.loop import Programs
from tlx.optim import Optimizer
from tlx.progress import Silent
from tlx.records import Records
from tlx.step import Task
from tlx.study import run
from tlx.study.context import Context, Stopped, fresh_variables
from tlx.study.examples import subset_of
from tlx.study.plan import Unit, train_programs
from tlx.study.spec import Entry, Folders, Study
from tlx.study.starts import starts_of

pytestmark = pytest.mark.thorough

LOW, HIGH, STEPS = 1e-3, 4e-3, 6
# Name, method, its settings and the learning rates.
ENTRIES: list[tuple[str, str, dict[str, Any], tuple[float, ...]]] = [
    ("low", "full", {}, (LOW,)),
    ("high", "full", {}, (HIGH,)),
    ("mean", "mean_of_trials", {}, (LOW, HIGH)),
    ("phased", "lp_ft", {"probe": 0.5, "lr": 0.1}, (1e-2,)),
    ("masked", "fish", {"keep": 0.02}, (1e-2,)),
    ("probe", "head", {}, (LOW, HIGH)),
]
PHASED = ENTRIES[3]
QUICK = (
    f"--config.train.steps={STEPS}",
    "--config.sources.mnist.steps=4",
    "--config.budgets=(20,)",
    "--config.mesh.data=1",
    "--config.plan.steps_per_call=3",
)


def transferring(study: Study, *entries: tuple[str, str, dict[str, Any], tuple[float, ...]]) -> Study:
    """The study with these entries alone."""

    def entry(name: str, method: str, given: dict[str, Any], rates: tuple[float, ...]) -> Entry:
        settings = tuple(sorted(check_fields("method", METHODS[method].fields, given).items()))
        return Entry(name, "transfer", method, settings, (), "auto", Optimizer(), 0.0, rates)

    return dataclasses.replace(study, entries=tuple(entry(*one) for one in entries))


@dataclasses.dataclass(frozen=True)
class Finished:
    """A study that was run, and what it left."""

    work: Path
    study: Study
    grid: run.Grid
    context: Context

    @property
    def records(self) -> list[dict[str, Any]]:
        return Records(self.work).load_all()

    @property
    def source(self) -> dict[str, Any]:
        """The pre-trained leaves."""
        return self.context.pretrained["mnist"].variables

    def record(self, entry: str, seed: int) -> dict[str, Any]:
        (found,) = [r for r in self.records if (r["cell"]["entry"], r["cell"]["seed"]) == (entry, seed)]
        return found

    def kept(self, entry: str, seed: int) -> Artifact:
        """The artifact of a cell, on its base."""
        return artifact.load(self.work / "artifacts" / self.record(entry, seed)["id"], self.source)

    def leaves(self, entry: str, seed: int) -> dict[str, np.ndarray]:
        """What a cell ended with, by path."""
        return {path: np.asarray(leaf) for path, leaf in tree.flatten(self.kept(entry, seed).variables).items()}

    def unit(self, entry: str) -> Unit:
        (found,) = [unit for unit in self.grid.units if unit.first.entry.name == entry]
        return found


# What a method that combines trials was handed, and the score of the chosen one, evaluated once more.
HANDED: list[tuple[Candidates, float]] = []


def mean_of_trials(settings: Any, candidates: Candidates) -> dict[str, Any]:
    HANDED.append((candidates, candidates.evaluate(candidates.tuned[candidates.chosen])))
    return jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *candidates.tuned)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "mean_of_trials", dataclasses.replace(METHODS["full"], combine=mean_of_trials))
        yield


@pytest.fixture(scope="module")
def finished(make_study: Make, tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Finished:
    study = transferring(make_study(*QUICK, "--config.artifacts=true"), *ENTRIES)
    work, contexts = tmp_path_factory.mktemp("study"), []
    grid = run.run(study, Folders(work, data_dir), Silent(), contexts.append)
    return Finished(work, study, grid, contexts[0])


def start_of(finished: Finished, seed: int) -> dict[str, np.ndarray]:
    """The source's body under a cell's own fresh head, by path."""
    model = finished.unit("low").task.adapted.model
    head = tree.flatten({"params": {"head": fresh_variables(model, seed)["params"]["head"]}})
    body = {p: leaf for p, leaf in tree.flatten(finished.source).items() if not p.startswith("params/head/")}
    return {path: np.asarray(leaf) for path, leaf in {**body, **head}.items()}


def test_the_plan_predicts_the_programs_of_every_phase(finished: Finished) -> None:
    names = finished.context.programs.names()
    trained = [name for name in names if isinstance(name, Task) or (isinstance(name, tuple) and "fused" in name)]
    # The source's, one each of `low` and `high` together, `mean`, `masked` and `probe`, and both phases of `phased`.
    assert len(trained) == train_programs(finished.study, finished.grid.units)
    assert [name.phase for name in trained if isinstance(name, Task) and name.adapted.method == "lp_ft"] == [0, 1]


# What is kept


@functools.cache
def predictor(adapted: Adapted) -> Callable[..., Any]:
    return jax.jit(lambda variables, image: adapted.apply(variables, normalise(image))[0])


def test_what_is_kept_of_every_cell_scores_what_its_record_says(finished: Finished, data_dir: Path) -> None:
    records, test = finished.records, load_arrays("digits", finished.study.targets[0].test, data_dir)
    assert len(records) == 2 * len(ENTRIES)
    assert {path.name for path in (finished.work / "artifacts").iterdir()} == {record["id"] for record in records}
    for record in records:
        kept = finished.kept(record["cell"]["entry"], record["cell"]["seed"])
        logits_NC = predictor(kept.adapted)(kept.variables, test.input_N)
        correct = int(np.sum(np.argmax(logits_NC, axis=1) == test.label_N))
        assert correct == record["result"]["test_correct"], record["cell"]["entry"]
        picked = jax.nn.log_softmax(logits_NC)[np.arange(len(test.label_N)), test.label_N]
        assert record["result"]["test_loss"] == pytest.approx(-float(np.mean(picked)), abs=1e-5)
        assert kept.lineage == record["lineage"] and len(kept.lineage["checkpoint"]) == 64


def test_a_cell_keeps_little_where_little_moved(finished: Finished) -> None:
    sizes = {}
    for name in ("probe", "masked", "low"):
        folder = finished.work / "artifacts" / finished.record(name, 0)["id"]
        restored = artifact.load_artifact(folder)
        sizes[name] = tree.count(restored.tree)
    head = 16 * 10 + 10
    body = tree.count(finished.source) - head
    assert sizes == {"probe": head, "masked": head + 2 * round(0.02 * body), "low": head + body}


# Combination


def test_a_combination_is_what_is_kept_and_scored(finished: Finished) -> None:
    for seed in (0, 1):
        low, high, mean = (finished.leaves(name, seed) for name in ("low", "high", "mean"))
        for path, leaf in mean.items():
            np.testing.assert_allclose(leaf, (low[path] + high[path]) / 2, atol=1e-6, err_msg=path)
        assert max(float(np.abs(low[path] - high[path]).max()) for path in mean) > 5e-3
    data = finished.context.targets["digits"].validation
    kept, record = finished.kept("mean", 0), finished.record("mean", 0)
    logits_NC = predictor(kept.adapted)(kept.variables, data.input_N)
    accuracy = float(np.mean(np.argmax(logits_NC, axis=1) == data.label_N))
    assert record["result"]["val_score"] == pytest.approx(accuracy)
    # Its trials are the runs themselves.
    for name, trial in zip(("low", "high"), record["trials"], strict=True):
        assert trial["val_loss"] == pytest.approx(finished.record(name, 0)["trials"][0]["val_loss"], abs=1e-5)


def test_what_a_method_that_combines_is_handed(finished: Finished) -> None:
    assert len(HANDED) == 2, "once a cell"
    by_start = {
        candidates.start["params"]["head"]["kernel"].tobytes(): (candidates, again) for candidates, again in HANDED
    }
    for seed in (0, 1):
        start, record = start_of(finished, seed), finished.record("mean", seed)
        candidates, again = by_start[start["params/head/kernel"].tobytes()]
        begun = tree.flatten(candidates.start)
        assert begun.keys() == start.keys() and all(np.array_equal(begun[path], leaf) for path, leaf in start.items())
        for name, tuned in zip(("low", "high"), candidates.tuned, strict=True):
            for path, leaf in finished.leaves(name, seed).items():
                np.testing.assert_allclose(tree.flatten(tuned)[path], leaf, atol=1e-6)
        assert list(candidates.accuracy) == [trial["val_score"] for trial in record["trials"]]
        assert (LOW, HIGH)[candidates.chosen] == record["selected"]["lr"]
        assert again == candidates.accuracy[candidates.chosen]
    keys = {bytes(np.asarray(jax.random.key_data(candidates.key))) for candidates, _ in HANDED}
    assert len(keys) == 2, "a key for each seed"


# Phases


def test_a_phased_cell_trains_its_head_first_and_the_rest_slowly(finished: Finished) -> None:
    unit, record = finished.unit("phased"), finished.record("phased", 0)
    assert unit.strategy == "loop" and "it has phases" in unit.reason
    assert record["cost"]["trainable_params"] == record["cost"]["total_params"]
    assert record["curve"]["step"][-1] == STEPS and record["status"] == "ok"
    start, end = start_of(finished, 0), finished.leaves("phased", 0)
    moved = {path: float(np.abs(end[path] - leaf).max()) for path, leaf in start.items()}
    # Adam's first steps are about as long as the learning rate: three at all of it, then three at a tenth.
    body = max(move for path, move in moved.items() if not path.startswith("params/head/"))
    assert 1e-4 < body < 1.5 * 3 * 1e-3
    assert 1e-2 < moved["params/head/kernel"] < 1.5 * 3 * 1.1e-2


class StopAfter(Silent):
    """Asks a study to stop once the training runs have made some steps."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.left, self.contexts = name, steps, []

    def advance(self, task: str, units: int) -> None:
        """Counts."""
        if self.name in task:
            self.left -= units
            if self.left <= 0:
                self.contexts[0].stop.set()


def test_a_phased_study_stopped_after_any_step_ends_with_the_same_bytes(
    make_study: Make, tmp_path: Path, data_dir: Path
) -> None:
    every_step = ("--config.plan.steps_per_call=1", "--config.checkpoint.every_seconds=0", "--config.seeds=(0,)")
    study = transferring(make_study(*QUICK, *every_step, "--config.train.steps=4"), PHASED)
    programs = Programs()

    def go(work: Path, progress: Silent) -> None:
        def share(context: Context) -> None:
            # One compilation for all of these runs.
            context.programs = programs
            if isinstance(progress, StopAfter):
                progress.contexts.append(context)

        run.run(study, Folders(work, data_dir), progress, share)

    go(tmp_path / "whole", Silent())
    (record,) = (tmp_path / "whole" / "records").glob("*.json")
    for steps in range(1, 5):
        work = tmp_path / str(steps)
        shutil.copytree(tmp_path / "whole" / "sources", work / "sources")
        with pytest.raises(Stopped):
            go(work, StopAfter("phased", steps))
        assert not list((work / "records").glob("*.json"))
        go(work, Silent())
        assert (work / "records" / record.name).read_bytes() == record.read_bytes(), f"stopped after {steps} steps"
    assert not (tmp_path / "whole" / "artifacts").exists(), "none was asked for"


# Calibration


def test_a_mask_is_made_from_the_labels_of_its_own_cell(finished: Finished) -> None:
    unit = finished.unit("masked")
    model, data = unit.task.adapted.model, finished.context.targets["digits"].train
    chosen = {}
    for seed in (0, 1):
        (cell,) = [cell for cell in unit.cells if cell.seed == seed]
        index_N = subset_of(cell, finished.context)
        start = tree.unflatten({path: jnp.asarray(leaf) for path, leaf in start_of(finished, seed).items()})
        head, body = start["params"].pop("head"), start["params"]

        def log_probability(body: Any, head: Any, image: jax.Array, label: jax.Array) -> jax.Array:
            logits = model.module.apply({"params": {**body, "head": head}}, normalise(image)[None])[0]
            return jax.nn.log_softmax(logits)[label]

        each = jax.jit(jax.vmap(jax.grad(log_probability), (None, None, 0, 0)))
        gradient = each(body, head, jnp.asarray(data.input_N[index_N]), jnp.asarray(data.label_N[index_N]))
        fisher = np.concatenate(
            [np.mean(np.asarray(leaf) ** 2, axis=0).ravel() for _, leaf in sorted(tree.flatten(gradient).items())]
        )
        chosen[seed] = finished.leaves("masked", seed)["adapters/fish/index"]
        count = round(0.02 * fisher.size)
        threshold = np.sort(fisher)[-count]
        assert len(chosen[seed]) == count and np.all(fisher[chosen[seed]] >= threshold * (1 - 1e-4))
    assert len(set(chosen[0]) & set(chosen[1])) < len(chosen[0]), "other labels, another mask"


def test_what_was_calibrated_for_each_seed_is_never_shared(
    finished: Finished, make_study: Make, data_dir: Path
) -> None:
    held = ("held", "ewc", {}, (LOW,))
    study = transferring(make_study(*QUICK, "--config.plan.strategy=fused"), *ENTRIES, held)
    grid = run.lay_out(study, Folders(data_dir / "nowhere", data_dir), Silent())
    strategies = {unit.first.entry.name: unit.strategy for unit in grid.units}
    assert {name for name, strategy in strategies.items() if strategy == "loop"} == {"phased", "masked", "held"}
    # The Fisher information of the source is there from the first step, its labels drawn with a key of the seed.
    (unit,) = [unit for unit in grid.units if unit.first.entry.name == "held"]
    starts = starts_of(unit, finished.context)
    each = [tree.flatten(starts[seed].frozen["reference"]["fisher"]) for seed in (0, 1)]
    assert all(np.all(leaf >= 0) for fisher in each for leaf in fisher.values())
    assert sum(float(leaf.sum()) for leaf in each[0].values()) > 1e-3
    assert not np.array_equal(*(fisher["embed/patches/kernel"] for fisher in each))
    assert "reference" not in starts[0].trainable


def test_each_cell_saw_the_test_split_once_and_says_so(finished: Finished) -> None:
    door = finished.context.targets["digits"].test
    assert door.releases() == len(finished.records)
    for record in finished.records:
        found = record["data"]["test"]
        assert found["releases"] == 1 and sum(found["per_class"]) == found["examples"] > 0
        with pytest.raises(TlxError, match="given out already; a cell is scored once"):
            door.release(record["id"])
    with pytest.raises(TlxError, match="after selection, which is not done"):
        door.release("of-no-study")

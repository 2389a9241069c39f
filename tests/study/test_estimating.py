"""Estimates after a study's units: right, once for each place, and no part of what a cell is."""

import dataclasses
import itertools
import json
import math
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import Make
from scipy.special import softmax

from tlx import cut
from tlx.cli import main
from tlx.data.preprocess import normalise
from tlx.errors import ConfigError, RecordError
from tlx.measure.transferability.leep import leep
from tlx.measure.transferability.logme import logme
from tlx.measure.transferability.registry import ESTIMATORS, Estimator
from tlx.progress import Silent
from tlx.records import Records
from tlx.report.plan import outline, show
from tlx.report.predicted import predicted
from tlx.study import estimating, once, pretrain
from tlx.study.cells import Cell
from tlx.study.context import Context, Stopped
from tlx.study.estimates import Estimates, is_estimated, place_of, places
from tlx.study.examples import subset_of
from tlx.study.plan import Unit
from tlx.study.run import Grid, lay_out, run
from tlx.study.shares import Shard, share_of
from tlx.study.spec import SCORE, Folders, Study

NAMES = ("leep", "logme", "knn_5", "source_accuracy", "parameter_count")
QUICK = (
    "--config.sources.mnist.steps=2",
    "--config.budgets=(4,20)",
    "--config.mesh.data=1",
    "--config.plan.steps_per_call=1",
    "--config.plan.workers=1",
)


def record_of(cell: Cell) -> dict[str, Any]:
    """What of a record estimates are set beside."""
    result = {"test_score": 0.5 + 0.1 * cell.seed}
    return {"id": cell.id, "status": "ok", "cell": cell.key(), "config": dict(cell.identity), "result": result}


@pytest.fixture(autouse=True)
def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units are not trained; estimates do not ask for what they came to."""

    def publish(unit: Unit, context: Context) -> None:
        for cell in unit.cells:
            Records(context.folders.work).publish(record_of(cell), {"wall_s": 0.0})

    monkeypatch.setattr(once, "run_unit", publish)


def two_sources(study: Study) -> Study:
    """The same source from two seeds."""
    (mnist,) = study.sources
    return dataclasses.replace(study, sources=(mnist, dataclasses.replace(mnist, name="other", seed=1)))


@pytest.fixture(scope="module")
def study(make_study: Make) -> Study:
    return two_sources(make_study(*QUICK, f"--config.estimators={NAMES}"))


@dataclasses.dataclass
class Done:
    """A study that was run, and its context."""

    work: Path
    grid: Grid
    context: Context

    @property
    def found(self) -> dict[tuple[str, str, int, int], dict[str, Any]]:
        """Its estimates by place."""
        order = ("source", "target", "budget", "seed")
        loaded = Estimates(self.work).load_all()
        return {tuple(one["place"][part] for part in order): one for one in loaded}  # type: ignore[misc]


def go(study: Study, work: Path, data_dir: Path, shard: Shard | None = None) -> Done:
    contexts: list[Context] = []
    grid = run(study, Folders(work, data_dir), Silent(), contexts.append, shard)
    return Done(work, grid, contexts[0])


@pytest.fixture(scope="module")
def done(study: Study, tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Done:
    def publish(unit: Unit, context: Context) -> None:
        for cell in unit.cells:
            Records(context.folders.work).publish(record_of(cell), {"wall_s": 0.0})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(once, "run_unit", publish)
        return go(study, tmp_path_factory.mktemp("study"), data_dir)


def elsewhere(done: Done, work: Path, data_dir: Path, names: tuple[str, ...] = NAMES) -> Context:
    """The same study with its sources and programs, in an empty folder."""
    execution = dataclasses.replace(done.context.study.execution, estimators=names)
    study = dataclasses.replace(done.context.study, execution=execution)
    return dataclasses.replace(done.context, study=study, folders=Folders(work, data_dir), stop=threading.Event())


def test_there_is_one_file_for_each_source_target_budget_and_seed(done: Done) -> None:
    expected = set(itertools.product(("mnist", "other"), ("digits",), (4, 20), (0, 1)))
    assert done.found.keys() == expected
    assert [place_of(cell) for cell in places(done.grid.units)].count(("mnist", "digits", 4, 0)) == 1
    for one in done.found.values():
        assert one["of"]["estimators"] == dict.fromkeys(NAMES, 1)
        assert one["estimates"].keys() | one["reasons"].keys() == set(NAMES)
        assert all(type(value) is float and math.isfinite(value) for value in one["estimates"].values())
        assert one["features"] == 16 and one["examples"] == one["place"]["budget"]


def features(done: Done, source: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the source's stages, and then its head, make of training examples: without cuts, caches or batches."""
    variables = done.context.pretrained[source].variables
    module = done.grid.units[0].task.adapted.model.module
    x_N = normalise(done.context.targets["digits"].train.input_N[rows])
    feature_ND = module.apply(variables, x_N, 0, len(module.stages()) - 1)
    head = variables["params"]["head"]
    return np.asarray(feature_ND), np.asarray(feature_ND @ head["kernel"] + head["bias"][None, :])


def test_they_are_of_the_features_and_predictions_of_the_labelled_examples_alone(done: Done) -> None:
    for cell in places(done.grid.units):
        if cell.budget == 20:
            one, rows = done.found[place_of(cell)], subset_of(cell, done.context)
            label_N = done.context.targets["digits"].train.label_N[rows]
            feature_ND, logit_NZ = features(done, place_of(cell)[0], rows)
            assert one["estimates"]["logme"] == pytest.approx(float(logme(feature_ND, label_N)), abs=1e-4)
            share_NZ = softmax(logit_NZ.astype(np.float64), axis=1)
            assert one["estimates"]["leep"] == pytest.approx(float(leep(share_NZ, label_N)), abs=1e-5)
            source = done.context.pretrained[place_of(cell)[0]]
            assert one["estimates"]["source_accuracy"] == source.test_accuracy
            assert one["estimates"]["parameter_count"] == sum(x.size for x in jax.tree.leaves(source.variables))
            assert one["lineage"] == {"checkpoint": source.digest}
    assert done.context.targets["digits"].test.releases() == 0


def test_what_cannot_be_estimated_says_why(done: Done) -> None:
    for (_, _, budget, _), one in done.found.items():
        expected = {} if budget == 20 else {"knn_5": "features: expected more than 5 examples for 5 neighbours"}
        assert one["reasons"] == expected


def test_a_second_run_computes_nothing_and_changes_nothing(
    done: Done, study: Study, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in Estimates(done.work).folder.iterdir()}
    monkeypatch.setattr(estimating, "source_model", None)
    monkeypatch.setattr(pretrain, "pretrain", None)
    monkeypatch.setattr(cut, "activations", None)
    go(study, done.work, data_dir)
    assert {path.name: path.read_bytes() for path in Estimates(done.work).folder.iterdir()} == before


def test_cells_do_not_depend_on_them(done: Done, study: Study, data_dir: Path) -> None:
    plain = dataclasses.replace(study, execution=dataclasses.replace(study.execution, estimators=()))
    grid = lay_out(plain, Folders(done.work, data_dir), Silent())
    assert [cell.id for cell in grid.cells] == [cell.id for cell in done.grid.cells]
    assert [unit.id for unit in grid.units] == [unit.id for unit in done.grid.units]


def test_other_estimators_are_other_files_and_none_are_none(done: Done, data_dir: Path, tmp_path: Path) -> None:
    cells = places(done.grid.units)
    estimating.estimate(cells, elsewhere(done, tmp_path, data_dir, ()))
    assert not (tmp_path / "estimates").exists()
    estimating.estimate(cells, elsewhere(done, tmp_path, data_dir, ("lfc",)))
    found = Estimates(tmp_path).load_all()
    assert {one["id"] for one in found}.isdisjoint(one["id"] for one in done.found.values())
    assert len(found) == 8 and all(-1 <= one["estimates"]["lfc"] <= 1 for one in found)


def test_every_place_belongs_to_one_share(done: Done) -> None:
    units = done.grid.units
    for count in (1, 2, 3, 9):
        shares = [places(units, share_of(units, Shard(i + 1, count)).units) for i in range(count)]
        assert sorted(place_of(cell) for share in shares for cell in share) == sorted(map(place_of, places(units)))


@pytest.mark.thorough
def test_shards_share_them_out(done: Done, study: Study, data_dir: Path, tmp_path: Path) -> None:
    counts = []
    for index in (1, 2):
        go(study, tmp_path, data_dir, Shard(index, 2))
        counts.append(len(list((tmp_path / "estimates").glob("*.json"))))
    assert 0 < counts[0] < counts[1] == 8
    for path in Estimates(done.work).folder.iterdir():
        assert (tmp_path / "estimates" / path.name).read_bytes() == path.read_bytes()


def test_a_stop_ends_between_two_places_and_the_rest_follows(done: Done, data_dir: Path, tmp_path: Path) -> None:
    context = elsewhere(done, tmp_path, data_dir)

    class Stop(Silent):
        def advance(self, task: str, units: int) -> None:
            assert task == "estimates of quickstart"
            context.stop.set()

    context.progress = Stop()
    with pytest.raises(Stopped, match="^stopped; run the same command to go on$"):
        estimating.estimate(places(done.grid.units), context)
    assert len(list((tmp_path / "estimates").iterdir())) == 1
    estimating.estimate(places(done.grid.units), elsewhere(done, tmp_path, data_dir))
    for path in Estimates(done.work).folder.iterdir():
        assert (tmp_path / "estimates" / path.name).read_bytes() == path.read_bytes()


def test_a_crash_of_an_estimator_is_a_reason_and_of_memory_a_line(
    done: Done, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(error: Exception) -> Estimator:
        def function(*given: Any) -> float:
            raise error

        return dataclasses.replace(ESTIMATORS["logme"], function=function)

    class Told(Silent):
        lines: tuple[str, ...] = ()

        def line(self, text: str) -> None:
            self.lines += (text,)

    cells = places(done.grid.units)
    monkeypatch.setitem(ESTIMATORS, "logme", broken(RuntimeError("no convergence")))
    estimating.estimate(cells, elsewhere(done, tmp_path / "one", data_dir))
    for one in Estimates(tmp_path / "one").load_all():
        assert one["reasons"]["logme"] == "RuntimeError: no convergence"
        assert "leep" in one["estimates"]

    monkeypatch.setitem(ESTIMATORS, "logme", broken(MemoryError()))
    context = elsewhere(done, tmp_path / "two", data_dir)
    context.progress = told = Told()
    estimating.estimate(cells, context)
    assert Estimates(tmp_path / "two").load_all() == []
    why = "out of memory; lower config.plan.eval_batch"
    assert told.lines == (f"not estimated: mnist → digits: {why}", f"not estimated: other → digits: {why}")


def test_a_target_with_scores_has_no_classes(done: Done, data_dir: Path, tmp_path: Path) -> None:
    cell = places(done.grid.units)[0]
    scored = dataclasses.replace(cell, target=dataclasses.replace(cell.target, predict=SCORE))
    estimating.estimate([scored], elsewhere(done, tmp_path, data_dir))
    (one,) = Estimates(tmp_path).load_all()
    assert one["reasons"]["logme"] == "needs classes, and the target has scores"
    assert one["estimates"].keys() == {"source_accuracy", "parameter_count"}


def test_task2vec_sets_the_target_s_task_beside_the_source_s(done: Done, data_dir: Path, tmp_path: Path) -> None:
    cells = [cell for cell in places(done.grid.units) if cell.budget == 20][:1]
    estimating.estimate(cells, elsewhere(done, tmp_path, data_dir, ("task2vec",)))
    (one,) = Estimates(tmp_path).load_all()
    assert -1 < one["estimates"]["task2vec"] < 0


def test_the_report_finds_them_beside_the_records(done: Done) -> None:
    records = [record for record in Records(done.work).load_all() if record["cell"]["arm"] == "transfer"]
    found = predicted(records, Estimates(done.work).load_all())
    (one,) = [x for x in found if (x.entry, x.budget, x.estimator) == ("lora", 20, "logme")]
    assert sorted(one.sources) == ["mnist", "other"]
    assert (one.seeds_M, one.score_M) == ((2, 2), (0.55, 0.55))
    means = [
        np.mean([done.found[(source, "digits", 20, seed)]["estimates"]["logme"] for seed in (0, 1)])
        for source in one.sources
    ]
    assert one.estimate_M == tuple(means)


def test_a_damaged_file_is_named(done: Done, tmp_path: Path) -> None:
    path = next(iter(sorted(Estimates(done.work).folder.iterdir())))
    (tmp_path / "estimates").mkdir()
    changed = json.loads(path.read_bytes())
    changed["estimates"]["parameter_count"] = 3.0
    (tmp_path / "estimates" / path.name).write_text(json.dumps(changed))
    with pytest.raises(RecordError) as caught:
        Estimates(tmp_path).load_all()
    assert str(caught.value) == (
        f"{tmp_path / 'estimates' / path.name}: is damaged; delete it to have it estimated again"
    )


def test_what_is_there_is_kept(done: Done) -> None:
    one = next(iter(done.found.values()))
    path = Estimates(done.work).path(one["of"])
    before = path.read_bytes()
    Estimates(done.work).publish(one["of"], {"estimates": {"leep": -1.0}})
    assert path.read_bytes() == before


@pytest.mark.thorough
def test_the_plan_says_what_will_be_estimated(
    done: Done, study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell, context = places(done.grid.units)[0], done.context
    assert not is_estimated(study, cell, context.sources, context.targets, tmp_path)
    plan = outline(done.grid, done.work)
    assert (plan.estimators, plan.places, plan.estimated) == (NAMES, 8, 8)
    show(plan)
    said = " ".join(capsys.readouterr().out.split())
    where = "estimates for 8 (source, target, budget, seed), 8 of them there, in WORKDIR/estimates after the cells: "
    assert where + ", ".join(NAMES) in said


def test_a_wrong_name_is_one_line(make_study: Make, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        make_study("--config.estimators=('logm',)")
    assert str(caught.value) == "config.estimators[0]: unknown value 'logm' (did you mean 'logme'?)"
    assert main(["plan", "configs/quickstart.py", "--config.estimators=('logm',)"]) == 2
    assert capsys.readouterr().err == f"{caught.value}\n"

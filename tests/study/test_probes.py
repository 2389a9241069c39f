"""Studies with heads that are solved for, on activations that are kept: the same numbers wherever they come from."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Make
from sklearn.linear_model import LogisticRegression

from tlx import artifact, atomic, cut, mapped, tree
from tlx.adapt.registry import METHODS
from tlx.data.firewall import Firewall
from tlx.errors import ConfigError
from tlx.fields import check_fields
from tlx.models.registry import MODELS
from tlx.optim import Optimizer
from tlx.progress import Silent
from tlx.records import Records
from tlx.report.plan import outline
from tlx.study import run
from tlx.study.context import Context, Stopped
from tlx.study.examples import subset_of
from tlx.study.features import Features
from tlx.study.merge import merge_cell
from tlx.study.plan import train_programs
from tlx.study.spec import Entry, Folders, Search, Study

PENALTIES = (1e-4, 1e-2)
ENTRIES = [
    ("trained", "transfer", "head", {}, (1e-2, 1e-1)),
    ("newton", "transfer", "probe", {}, PENALTIES),
    ("ridge", "transfer", "probe", {"solver": "ridge"}, PENALTIES),
    ("random", "random-frozen", "probe", {}, PENALTIES),
]
QUICK = (
    "--config.train.steps=2",
    "--config.sources.mnist.steps=2",
    "--config.budgets=(20,40)",
    "--config.mesh.data=1",
    "--config.plan.steps_per_call=2",
    "--config.plan.workers=2",
)
Given = tuple[str, str, str, dict[str, Any], tuple[float, ...]]


def with_entries(study: Study, *entries: Given) -> Study:
    """The study with these entries alone."""

    def entry(name: str, arm: str, method: str, given: dict[str, Any], trials: tuple[float, ...]) -> Entry:
        settings = tuple(sorted(check_fields("method", METHODS[method].fields, given).items()))
        return Entry(name, arm, method, settings, (), "auto", Optimizer(), 0.0, trials)

    return dataclasses.replace(study, entries=tuple(entry(*one) for one in entries))


class Told(Silent):
    """Keeps every line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        """One more."""
        self.lines.append(text)


@dataclasses.dataclass
class Finished:
    """A study that was run, what it left, and in which order it asked for activations and test splits."""

    work: Path
    grid: run.Grid
    context: Context
    order: list[str]
    lines: list[str]

    @property
    def records(self) -> list[dict[str, Any]]:
        return Records(self.work).load_all()

    @property
    def compiled(self) -> list[Any]:
        """Names of the programs that computed activations."""
        return [name for name in self.context.programs.names() if isinstance(name, tuple) and "below" in name]


def go(study: Study, work: Path, data_dir: Path) -> Finished:
    contexts, order, told = [], [], Told()
    real_get, real_release = Features.get, Firewall.release

    def get(self: Features, identity: Any, *rest: Any) -> Any:
        order.append(identity["examples"])
        return real_get(self, identity, *rest)

    def release(self: Firewall, cell: str) -> Any:
        order.append("release")
        return real_release(self, cell)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Features, "get", get)
        patch.setattr(Firewall, "release", release)
        grid = run.run(study, Folders(work, data_dir), told, contexts.append)
    return Finished(work, grid, contexts[0], order, told.lines)


@pytest.fixture(scope="module")
def study(make_study: Make) -> Study:
    return with_entries(make_study(*QUICK, "--config.artifacts=true"), *ENTRIES)


@pytest.fixture(scope="module")
def finished(study: Study, tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Iterator[Finished]:
    yield go(study, tmp_path_factory.mktemp("study"), data_dir)


def copied(finished: Finished, work: Path, *folders: str) -> Path:
    """A work folder with some of what the study left."""
    for folder in folders:
        shutil.copytree(finished.work / folder, work / folder)
    return work


def same_records(one: Finished, other: Finished) -> None:
    names = sorted(path.name for path in (one.work / "records").iterdir())
    assert names == sorted(path.name for path in (other.work / "records").iterdir())
    for name in names:
        assert (one.work / "records" / name).read_bytes() == (other.work / "records" / name).read_bytes()


def test_every_backbone_runs_once_over_every_split(finished: Finished) -> None:
    """Three entries share the source's activations; each seed of the random backbone has its own."""
    folders = sorted((finished.work / "features").iterdir())
    assert len(folders) == 3 + 2 * 3
    assert len(finished.compiled) == 1, "one program for all of them"
    kept = [mapped.load(folder) for folder in folders]
    data = finished.context.targets["digits"]
    sizes = sorted([len(data.train), len(data.validation), data.test.facts()["examples"]] * 3)
    assert sorted(len(one.arrays) for one in kept) == sizes
    assert {one.arrays.dtype.name for one in kept} == {"float32"}
    assert {one.meta["of"]["depth"] for one in kept} == {3}
    assert len({one.meta["of"]["leaves"] for one in kept}) == 3
    predicted = outline(finished.grid, finished.work).features_bytes
    assert predicted == sum(one.arrays.nbytes for one in kept)


def test_the_test_split_s_activations_wait_for_the_firewall(finished: Finished) -> None:
    door, digest = finished.context.targets["digits"].test, finished.context.targets["digits"].test.facts()["digest"]
    assert finished.order.index("release") < finished.order.index(digest)
    assert door.releases() == len(finished.records) == 16


@pytest.mark.thorough
def test_in_memory_and_from_an_earlier_run_the_records_are_the_same_to_the_byte(
    finished: Finished, study: Study, tmp_path: Path, data_dir: Path
) -> None:
    memory = dataclasses.replace(study, execution=dataclasses.replace(study.execution, features="memory"))
    in_memory = go(memory, copied(finished, tmp_path / "memory", "sources"), data_dir)
    assert not (tmp_path / "memory" / "features").exists()
    same_records(finished, in_memory)
    again = go(study, copied(finished, tmp_path / "again", "sources", "features"), data_dir)
    same_records(finished, again)
    assert again.compiled == [], "nothing was computed"
    door, digest = again.context.targets["digits"].test, again.context.targets["digits"].test.facts()["digest"]
    assert door.releases() == 16 and again.order.index("release") < again.order.index(digest)


@pytest.mark.thorough
def test_damaged_activations_are_computed_again(
    finished: Finished, study: Study, tmp_path: Path, data_dir: Path
) -> None:
    work = copied(finished, tmp_path / "work", "sources", "features")
    folder = sorted((work / "features").iterdir())[0]
    content = bytearray((folder / "0.npy").read_bytes())
    content[-1] ^= 64
    (folder / "0.npy").write_bytes(content)
    again = go(study, work, data_dir)
    same_records(finished, again)
    assert again.lines.count(f"{folder}: is damaged: 0.npy is not as it was written; computed again") == 1


def test_heads_of_all_budgets_and_seeds_are_one_unit_without_programs(finished: Finished, study: Study) -> None:
    units = {unit.first.entry.name: unit for unit in finished.grid.units}
    assert {name: (unit.strategy, len(unit.cells)) for name, unit in units.items()} == {
        "trained": ("fused", 4),
        "newton": ("solved", 4),
        "ridge": ("solved", 4),
        "random": ("solved", 4),
    }
    assert units["newton"].reason.startswith("embed…pool frozen: cached; ")
    # The source's, and that of the head that is trained.
    assert train_programs(study, finished.grid.units) == 2
    plan = {entry.entry: entry for entry in outline(finished.grid, finished.work).entries}
    assert plan["newton"].step_flops == 0.0 < plan["trained"].step_flops
    assert plan["newton"].size.optimizer_bytes == 0 < plan["trained"].size.optimizer_bytes


def features_of(finished: Finished, digest: str) -> np.ndarray:
    """What the source's stages made of the examples with this digest."""
    below = cut.below(finished.grid.units[0].task.adapted, 3)
    leaves = tree.digest(cut.leaves_below(below, finished.context.pretrained["mnist"].variables, 3))
    found = [mapped.load(folder) for folder in (finished.work / "features").iterdir()]
    (mine,) = [x for x in found if (x.meta["of"]["examples"], x.meta["of"]["leaves"]) == (digest, leaves)]
    return np.asarray(mine.arrays, np.float64)


def test_the_numbers_are_scikit_learn_s_on_the_same_features(finished: Finished) -> None:
    data = finished.context.targets["digits"]
    train_ND, validation_ND = (features_of(finished, split.digest) for split in (data.train, data.validation))
    (unit,) = [unit for unit in finished.grid.units if unit.first.entry.name == "newton"]
    for cell in unit.cells:
        record, index_N = Records(finished.work).get(cell.id), subset_of(cell, finished.context)
        assert record["config"]["entry"]["method"] == "probe"
        for trial in record["trials"]:
            theirs = LogisticRegression(C=1 / (trial["l2"] * len(index_N)), tol=1e-8, max_iter=100_000)
            theirs.fit(train_ND[index_N], data.train.label_N[index_N])
            share_NC = theirs.predict_proba(validation_ND)
            picked_N = share_NC[np.arange(len(share_NC)), data.validation.label_N]
            assert trial["val_loss"] == pytest.approx(-np.log(picked_N).mean(), abs=2e-4)
            score = np.mean(share_NC.argmax(axis=1) == data.validation.label_N)
            assert trial["val_score"] == pytest.approx(score, abs=0.01)


def test_a_probe_s_record_is_an_ordinary_one(finished: Finished) -> None:
    by_entry = {record["cell"]["entry"]: record for record in finished.records if record["cell"]["budget"] == 40}
    trained = by_entry["trained"]
    for name in ("newton", "ridge", "random"):
        record = by_entry[name]
        assert record.keys() == trained.keys() and record["result"].keys() == trained["result"].keys()
        assert record["status"] == "ok" and record["data"]["test"]["releases"] == 1
        assert [trial["l2"] for trial in record["trials"]] == list(PENALTIES)
        assert record["selected"]["l2"] in PENALTIES
        assert record["curve"]["step"] == [1]
        cost = record["cost"]
        assert cost.keys() == trained["cost"].keys()
        assert cost["cached_flops"] == trained["cost"]["cached_flops"] > 0
        assert (cost["strategy"], cost["optimizer_bytes"]) == ("solved", 0)
        assert cost["trainable_params"] == trained["cost"]["trainable_params"] == 16 * 10 + 10
        # Of a Gram matrix of 40 examples and 16 features at least, over the two steps of the others.
        assert cost["step_flops"] > 2 * 40 * 16 * 16 / 2 / 2
    assert by_entry["random"]["lineage"] is None
    assert by_entry["newton"]["lineage"] == trained["lineage"]


def test_the_penalty_is_the_best_on_validation_over_the_seeds(finished: Finished) -> None:
    for entry in ("newton", "ridge", "random"):
        both = [r for r in finished.records if (r["cell"]["entry"], r["cell"]["budget"]) == (entry, 20)]
        means = [np.mean([record["trials"][i]["val_score"] for record in both]) for i in range(2)]
        assert {record["selected"]["l2"] for record in both} <= {
            PENALTIES[i] for i in range(2) if means[i] == max(means)
        }


@pytest.mark.thorough
def test_what_was_solved_is_kept_and_merged_as_a_head_is(finished: Finished, tmp_path: Path) -> None:
    for entry in ("newton", "trained"):
        record = next(r for r in finished.records if r["cell"]["entry"] == entry)
        kept = artifact.load(finished.work / "artifacts" / record["id"], finished.context.pretrained["mnist"].variables)
        assert kept.adapted.method == record["cell"]["method"]["name"]
        assert kept.variables["params"]["head"]["kernel"].shape == (16, 10)
        outcome = merge_cell(finished.work, record["id"], tmp_path / entry)
        assert (outcome.changed, outcome.gap) == (0, 0.0)


@pytest.mark.thorough
def test_a_study_stopped_between_heads_ends_with_the_same_bytes(
    finished: Finished, study: Study, tmp_path: Path, data_dir: Path
) -> None:
    work = copied(finished, tmp_path / "work", "sources")
    contexts: list[Context] = []

    class Stop(Silent):
        def advance(self, task: str, units: int) -> None:
            if task.startswith("newton"):
                contexts[0].stop.set()

    with pytest.raises(Stopped, match="run the same command to go on"):
        run.run(study, Folders(work, data_dir), Stop(), contexts.append)
    assert len(list((work / "records").iterdir())) < 16
    same_records(finished, go(study, work, data_dir))


def test_penalties_are_searched_as_rates_are(finished: Finished, study: Study, tmp_path: Path, data_dir: Path) -> None:
    def searched(name: str, search: Search) -> list[dict[str, Any]]:
        work = copied(finished, tmp_path / name, "sources", "features")
        return go(dataclasses.replace(study, entries=study.entries[1:2], search=search), work, data_dir).records

    before = {
        (record["cell"]["budget"], record["cell"]["seed"]): record["trials"]
        for record in finished.records
        if record["cell"]["entry"] == "newton"
    }
    for record in searched("extended", Search(extend=1)):
        trials, chosen = record["trials"], record["selected"]
        assert trials[:2] == before[record["cell"]["budget"], record["cell"]["seed"]]
        tried = [trial["l2"] for trial in trials]
        assert len(tried) == 3 and tried[2] in (1e-6, 1.0)
        assert chosen["edge"] == {min(tried): "low", max(tried): "high"}.get(chosen["l2"])
    for record in searched("drawn", Search("random", trials=4)):
        tried = [trial["l2"] for trial in record["trials"]]
        assert len(set(tried)) == 4 and min(PENALTIES) <= min(tried) <= max(tried) <= max(PENALTIES)
        assert record["selected"].keys() == {"l2", "by", "edge"} and record["selected"]["edge"] is None


REFUSED: list[tuple[tuple[str, ...], dict[str, Any], str]] = [
    (
        ('--config.preprocess.ops=("pad_crop","center_crop")', "--config.preprocess.center_crop.side=28"),
        {},
        "config.adapt.newton.method.name: 'probe' needs features that stay the same, and 'pad_crop' of "
        "config.preprocess.ops draws; use 'head'",
    ),
    (
        (),
        {"batch_stats": "update_stats"},
        "config.adapt.newton.batch_stats: 'probe' needs features that stay the same, and 'update_stats' changes "
        "statistics below the head; use 'frozen_stats'",
    ),
]


@pytest.mark.parametrize(("overrides", "changes", "message"), REFUSED, ids=["draws", "statistics"])
def test_features_that_change_are_refused_in_one_line(
    make_study: Make, data_dir: Path, overrides: tuple[str, ...], changes: dict[str, Any], message: str
) -> None:
    study = with_entries(make_study(*QUICK, *overrides), ENTRIES[1])
    study = dataclasses.replace(study, entries=(dataclasses.replace(study.entries[0], **changes),))
    if changes:
        settings = check_fields("model", MODELS["resnet"].fields, {"depths": (1, 1), "width": 8, "stem": "small"})
        study = dataclasses.replace(study, model="resnet", model_settings=tuple(sorted(settings.items())))
    with pytest.raises(ConfigError) as caught:
        run.lay_out(study, Folders(data_dir / "nowhere", data_dir), Silent())
    assert str(caught.value) == message


def test_the_identity_of_activations_says_all_that_matters(finished: Finished) -> None:
    for folder in (finished.work / "features").iterdir():
        of = mapped.load(folder).meta["of"]
        assert folder.name == atomic.digest_json(of)[:16]
        assert sorted(of) == [
            *("batch", "depth", "device", "examples", "jax", "leaves", "methods", "model", "numerics", "ops"),
            "precision",
        ]
        assert of["methods"] == [["full", {}]], "a head does nothing below the cut"

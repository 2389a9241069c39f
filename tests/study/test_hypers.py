"""Hyper-parameters that change no shape: one program for all of their values, and the values that were asked for."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Make
from tiers import first
from tiny import tiny_model

from tlx.optim import Optimizer
from tlx.progress import Silent
from tlx.records import Records
from tlx.state import make_hyper
from tlx.step import Task, steps_of
from tlx.study import run
from tlx.study.cells import Cell
from tlx.study.search import Point
from tlx.study.spec import Folders
from tlx.study.trials import Trial

QUICK = ("--config.train.steps=6", "--config.budgets=(20,)", "--config.mesh.data=1", "--config.model.dropout=0.0")
DRAWN = (
    "--config.search.kind=random",
    "--config.search.trials=4",
    "--config.adapt.lora.lr=(3e-3,3e-2)",
    "--config.adapt.lora.weight_decays=(1e-3,1e-1)",
    "--config.adapt.lora.label_smoothings=(0.0,0.3)",
    "--config.adapt.lora.dropouts=(0.0,0.5)",
    "--config.adapt.lora.scales=(0.5,4.0)",
    "--config.adapt.lora.lengths=(0.3,1.0)",
)


def records_of(make_study: Make, entry: str, work: Path, data_dir: Path, *overrides: str) -> list[dict[str, Any]]:
    """What one entry of the small study came to, sorted by seed; without a source, so from random weights."""
    study, arm = make_study(*QUICK, *overrides), "scratch" if entry == "full" else "random-frozen"
    (only,) = [dataclasses.replace(one, arm=arm) for one in study.entries if one.name == entry]
    run.run(dataclasses.replace(study, entries=(only,), sources=()), Folders(work, data_dir), Silent(), lambda _: None)
    return sorted(Records(work).load_all(), key=lambda record: record["cell"]["seed"])


def test_everything_that_changes_no_shape_is_drawn_and_fused_as_in_turn(
    make_study: Make, tmp_path: Path, data_dir: Path
) -> None:
    every = [
        records_of(make_study, "lora", tmp_path / kind, data_dir, *DRAWN, f"--config.plan.strategy={kind}")
        for kind in ("loop", "fused")
    ]
    names = ("lr", "weight_decay", "label_smoothing", "dropout", "scale", "length")
    for turn, fused in zip(*every, strict=True):
        assert turn["id"] == fused["id"] and len(turn["trials"]) == 4
        for one, other in zip(turn["trials"], fused["trials"], strict=True):
            assert [one[name] for name in names] == [other[name] for name in names]
            np.testing.assert_allclose(one["val_loss"], other["val_loss"], rtol=1e-4)
        assert all(len({trial[name] for trial in turn["trials"]}) == 4 for name in names)
        assert turn["selected"].keys() == {*names, "by", "edge"}
        np.testing.assert_allclose(turn["result"]["test_loss"], fused["result"]["test_loss"], rtol=1e-4)


def test_twice_the_scale_is_twice_the_alpha_in_training_and_after(
    make_study: Make, tmp_path: Path, data_dir: Path
) -> None:
    results = []
    for name, alpha, scale in (("alpha", 16.0, 1.0), ("scale", 8.0, 2.0), ("neither", 8.0, 1.0)):
        said = (f"--config.adapt.lora.method.alpha={alpha}", f"--config.adapt.lora.scale={scale}")
        found = records_of(make_study, "lora", tmp_path / name, data_dir, *said, *_one_rate())
        results.append([record["result"]["test_loss"] for record in found])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5)
    assert not np.allclose(results[0], results[2], rtol=1e-4)


@pytest.mark.parametrize("kind", first(1, ["fused", "loop"]))
def test_half_the_length_is_half_the_steps(make_study: Make, tmp_path: Path, data_dir: Path, kind: str) -> None:
    results = []
    for name, said in (("half", "--config.adapt.lora.length=0.5"), ("few", "--config.train.steps=3")):
        overrides = (said, f"--config.plan.strategy={kind}", *_one_rate())
        results.append(records_of(make_study, "lora", tmp_path / name, data_dir, *overrides))
    for half, few in zip(*results, strict=True):
        assert half["curve"]["step"] == few["curve"]["step"] == [1, 2, 3]
        np.testing.assert_allclose(half["curve"]["train_loss"], few["curve"]["train_loss"], rtol=1e-4)
        np.testing.assert_allclose(half["result"]["test_loss"], few["result"]["test_loss"], rtol=1e-4)


def test_a_run_ends_where_its_program_ends_it(make_study: Make) -> None:
    study = make_study()
    task = Task(study.entries[0].adapted(tiny_model("vit")), Optimizer(), 37, shortened=True)
    for length in (1e-6, 0.013, 0.0135, 0.3, 0.5, 0.5000001, 0.999, 1.0):
        trial = Trial(Cell("x", None, study.targets[0], study.entries[0], 1, 0, {}), Point(0.1, 0.0, length=length))
        assert trial.steps(task) == int(steps_of(task, make_hyper(0.1, length=length)))


@pytest.mark.thorough
def test_an_entrys_dropout_and_smoothing_are_as_the_models_and_the_recipes(
    make_study: Make, tmp_path: Path, data_dir: Path
) -> None:
    of_all = ("--config.model.dropout=0.3", "--config.train.label_smoothing=0.2")
    of_one = ("--config.adapt.full.dropout=0.3", "--config.adapt.full.label_smoothing=0.2")
    curves, ids = [], set()
    for name, said in (("all", of_all), ("one", of_one), ("none", ())):
        found = records_of(make_study, "full", tmp_path / name, data_dir, *said, *_one_rate())
        curves.append([record["curve"]["train_loss"] for record in found])
        ids |= {record["id"] for record in found}
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-4)
    assert not np.allclose(curves[0], curves[2], rtol=1e-3)
    assert len(ids) == 3 * len(curves[0]), "they are different cells"


def _one_rate() -> tuple[str, ...]:
    names = ("scratch", "random_frozen", "probe", "full", "lora")
    return tuple(f"--config.adapt.{name}.lr=(1e-2,)" for name in names)

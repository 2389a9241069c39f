"""A study whose source is a checkpoint: the model is what the checkpoint says, and nothing is pre-trained."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny import CLASSES

from tlx import tree
from tlx.artifact import describe_model
from tlx.build import build
from tlx.checkpoint import load_artifact, save_artifact
from tlx.cli import main
from tlx.config import load
from tlx.fields import check_fields
from tlx.interop import hf_vit
from tlx.interop.peft_load import load_adapter
from tlx.interop.write import save_released
from tlx.models.registry import MODELS, Model
from tlx.progress import Silent
from tlx.records import Records
from tlx.study import run
from tlx.study.spec import Folders

SETTINGS = {"patch": 7, "width": 16, "depth": 1, "heads": 2}
CONFIG = """
from ml_collections import ConfigDict


def get_config(argument=""):
    config = ConfigDict()
    config.sources = {"kept": {"checkpoint": argument}}
    config.targets = {"digits": {"dataset": "digits", "train": "train[:100]", "validation": "train[100:200]"}}
    config.adapt = {
        "scratch": {"arm": "scratch", "method": {"name": "full"}, "lr": (1e-3,)},
        "full": {"method": {"name": "full"}, "lr": (1e-3,)},
        "lora": {"method": {"name": "lora", "rank": 2}, "lr": (1e-2,)},
    }
    config.budgets, config.seeds = (20,), (0,)
    config.train = {"steps": 4, "batch_size": 4}
    config.mesh = {"data": 1}
    config.artifacts = True
    return config
"""


def model() -> Model:
    settings = check_fields("model", MODELS["vit"].fields, SETTINGS)
    return Model("vit", tuple(sorted(settings.items())), CLASSES, (28, 28, 1))


def write(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model().init, 0)
    leaves = jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32), shapes)
    save_artifact(folder, leaves, {"kind": "released", "model": describe_model(model())})
    return leaves


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A config and the checkpoint it names."""
    folder = tmp_path_factory.mktemp("source")
    write(folder / "weights")
    (folder / "config.py").write_text(CONFIG)
    return f"{folder / 'config.py'}:{folder / 'weights'}"


def test_the_model_is_the_checkpoint_s_and_may_be_overridden(spec: str) -> None:
    config = load(spec, ("--config.model.dropout=0.25",))
    assert {name: config.model[name] for name in SETTINGS} == SETTINGS
    assert (config.model.name, config.model.dropout) == ("vit", 0.25)


def test_another_architecture_beside_it_is_refused(spec: str, tmp_path: Path, capsys: Any) -> None:
    assert main(["plan", spec, "--config.model.name=resnet"]) == 2
    assert capsys.readouterr().err.startswith("config.model.name: ")
    assert main(["plan", spec, f"--config.sources.kept.checkpoint={tmp_path / 'none'}"]) == 2
    said = f"config.sources.kept.checkpoint: {tmp_path / 'none'}: there is no such file or folder\n"
    assert capsys.readouterr().err == said
    assert main(["plan", spec, "--config.adapt.full.method.name=ewc"]) == 2
    said = "config.adapt.full.method.name: 'ewc' needs examples of the source, and config.sources.kept is a checkpoint"
    assert capsys.readouterr().err.startswith(said)


@pytest.fixture(scope="module")
def finished(spec: str, tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    work = tmp_path_factory.mktemp("work")
    run.run(build(load(spec), "tlx run"), Folders(work, data_dir), Silent(), lambda context: None)
    return work


def test_records_say_what_was_loaded(finished: Path) -> None:
    records = {record["cell"]["entry"]: record for record in Records(finished).load_all()}
    assert records.keys() == {"scratch", "full", "lora"}
    lineage = records["lora"]["lineage"]
    assert lineage["source_test_accuracy"] is None and lineage["source"] == "kept"
    assert {row["what"] for row in lineage["tensors"]} == {"copied"}
    assert len(lineage["tensors"]) == len(jax.tree.leaves(jax.eval_shape(model().init, 0)))
    assert records["full"]["surgery"]["reset"] == ["params/head/bias", "params/head/kernel"]
    assert records["scratch"]["lineage"] is None
    assert not (finished / "sources").exists()


def test_ids_follow_from_the_content_not_from_the_folder(
    finished: Path, spec: str, tmp_path: Path, data_dir: Path
) -> None:
    write(tmp_path / "elsewhere")
    study = build(load(f"{spec.partition(':')[0]}:{tmp_path / 'elsewhere'}"), "tlx run")
    grid = run.lay_out(study, Folders(tmp_path, data_dir), Silent())
    assert {cell.id for cell in grid.cells} == {record["id"] for record in Records(finished).load_all()}
    other = jax.tree.map(lambda leaf: leaf + 1, write(tmp_path / "elsewhere"))
    save_artifact(tmp_path / "other", other, {"kind": "released", "model": describe_model(model())})
    grid = run.lay_out(
        build(load(spec, (f"--config.sources.kept.checkpoint={tmp_path / 'other'}",)), "tlx run"),
        Folders(tmp_path, data_dir),
        Silent(),
    )
    same = {cell.entry.name for cell in grid.cells if (finished / "records" / f"{cell.id}.json").exists()}
    assert same == {"scratch"}


def test_what_was_adapted_merges_into_a_source_for_the_next_study(
    finished: Path, spec: str, tmp_path: Path, capsys: Any
) -> None:
    (cell,) = [record for record in Records(finished).load_all() if record["cell"]["entry"] == "lora"]
    assert main(["merge", str(finished), cell["id"], "--out", str(tmp_path / "merged"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gap"] < 1e-5
    config = load(f"{spec.partition(':')[0]}:{tmp_path / 'merged'}")
    assert config.model.width == 16


def test_the_plan_says_what_is_loaded(spec: str, data_dir: Path, capsys: Any) -> None:
    assert main(["plan", spec, "--data-dir", str(data_dir)]) == 0
    assert "load: kept, " in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.thorough
def test_an_adapter_of_a_foreign_checkpoint_is_exported_for_peft(
    spec: str, tmp_path: Path, data_dir: Path, capsys: Any
) -> None:
    own = {**SETTINGS, "pool": "class", "gelu_exact": True, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    settings = check_fields("model", MODELS["vit"].fields, own)
    made = Model("vit", tuple(sorted(settings.items())), CLASSES, (28, 28, 1))
    save_released(tmp_path / "vit", hf_vit.VIT, made, jax.jit(made.init)(0))
    study = build(load(f"{spec.partition(':')[0]}:{tmp_path / 'vit'}"), "tlx run")
    run.run(study, Folders(tmp_path / "work", data_dir), Silent(), lambda context: None)
    (cell,) = [r for r in Records(tmp_path / "work").load_all() if r["cell"]["entry"] == "lora"]
    assert main(["export", str(tmp_path / "work"), cell["id"], "--out", str(tmp_path / "peft")]) == 0
    assert capsys.readouterr().out.startswith("lora, ")
    target = dataclasses.replace(made, num_classes=10)
    adapted, leaves, _ = load_adapter(tmp_path / "peft", hf_vit.VIT, target)
    kept = tree.flatten(load_artifact(tmp_path / "work" / "artifacts" / cell["id"]).tree)
    found = tree.flatten(leaves)
    assert adapted.method == "lora" and found.keys() == kept.keys()
    for path in kept:
        np.testing.assert_allclose(found[path], kept[path], rtol=1e-6, atol=1e-7)


def test_what_did_not_start_from_another_library_s_checkpoint_is_not_exported(
    finished: Path, tmp_path: Path, capsys: Any
) -> None:
    (cell,) = [record for record in Records(finished).load_all() if record["cell"]["entry"] == "lora"]
    assert main(["export", str(finished), cell["id"], "--out", str(tmp_path / "out")]) == 2
    said = "this cell did not start from another library's checkpoint, so no other knows its base"
    assert capsys.readouterr().err == f"{finished}: {said}\n"

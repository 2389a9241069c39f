"""What changed inside finished cells: numbers by hand, cells that cannot be inspected, and the command."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sentences import rows, trusted, write_archive, write_tokenizer

from tlx import tree
from tlx.build import build
from tlx.checkpoint import load_artifact
from tlx.cli import main
from tlx.config import load
from tlx.data.pipeline import load_arrays
from tlx.data.preprocess import normalised
from tlx.errors import FileError
from tlx.measure.representation.capture import capture
from tlx.measure.representation.cka import linear_cka
from tlx.measure.representation.distance import weight_distance
from tlx.measure.representation.distortion import feature_distortion
from tlx.models.registry import Model
from tlx.progress import Silent
from tlx.records import Records
from tlx.study import run
from tlx.study.inside import Inside
from tlx.study.inspecting import inspect
from tlx.study.merge import merge_cell
from tlx.study.spec import Folders, Study

CONFIG = str(Path(__file__).with_name("inside_study.py"))
TEXT = str(Path(__file__).with_name("small_text.py"))
STAGES = ["embed", "block_0", "pool"]


def study_of(config: str = CONFIG, *overrides: str) -> Study:
    return build(load(config, overrides))


def finish(study: Study, work: Path, data: Path) -> Path:
    run.run(study, Folders(work, data), Silent(), lambda context: None)
    return work


@pytest.fixture(scope="module")
def work(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study whose cells were inspected; not to be written to."""
    folder = finish(study_of(), tmp_path_factory.mktemp("inside"), data_dir)
    inspect(study_of(), Folders(folder, data_dir), Silent(), pairs=True, probes=True)
    return folder


def found(work: Path, entry: str) -> list[dict[str, Any]]:
    return [each for each in Inside(work).cells() if each["cell"]["entry"] == entry]


def leaves_of(work: Path) -> dict[str, Any]:
    """The source's leaves."""
    (folder,) = (work / "sources").glob("*/00000008")
    return dict(load_artifact(folder).tree["state"]["trainable"])


def features(leaves: dict[str, Any], data_dir: Path, split: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Of every stage, by linen's own capture; and the labels."""
    arrays = load_arrays("digits", split, data_dir)
    settings = study_of().model_settings
    model = Model("vit", settings, 10, arrays.input_shape)
    x = normalised(jnp.asarray(arrays.input_N))
    run = jax.jit(lambda leaves, x: capture(model.module, leaves, x, [*STAGES, "head"]))
    return jax.tree.map(np.asarray, run(leaves, x)), arrays.label_N


def test_every_transfer_cell_is_told_of_and_scores_as_recorded(work: Path) -> None:
    cells, records = Inside(work).cells(), Records(work)
    assert sorted(each["cell"]["entry"] for each in cells) == ["full", "full"]
    for each in cells:
        record = records.get(each["id"])
        assert each["test_score"] == record["result"]["test_score"] and each["cell"] == record["cell"]
        assert [stage["stage"] for stage in each["stages"]] == STAGES
        assert each["target"]["digest"] == record["data"]["test"]["digest"]


def test_full_fine_tuning_by_hand(work: Path, data_dir: Path) -> None:
    told, before = found(work, "full")[0], leaves_of(work)
    after = load_artifact(work / "artifacts" / told["id"]).tree
    drift = weight_distance(before, after)
    (old, _), (new, _) = (features(leaves, data_dir, "test[50:90]") for leaves in (before, after))
    for stage in told["stages"]:
        name = stage["stage"]
        assert stage["drift"] == pytest.approx(drift[name].relative, rel=1e-6) and 0.001 < stage["drift"] < 0.2
        assert stage["cka"] == pytest.approx(linear_cka(old[name], new[name]), abs=1e-4)
        assert stage["distortion"] == pytest.approx(feature_distortion(old[name], new[name]), rel=1e-3)
    assert told["stages"][-1]["cka"] < 0.99
    kept = {**after, "params": {**after["params"], "head": before["params"]["head"]}}
    source, label_N = features(kept, data_dir, "test[:50]")
    assert told["forgetting"]["after"] == float(np.mean(source["head"].argmax(axis=1) == label_N))
    assert told["forgetting"]["examples"] == 50


def test_what_was_inspected_is_not_inspected_again(work: Path, data_dir: Path) -> None:
    files = {path: path.read_bytes() for path in (work / "inside").rglob("*.json")}
    done = inspect(study_of(), Folders(work, data_dir), Silent(), pairs=True, probes=True)
    assert done.found == [] and done.there == 2 and done.lines() == []
    assert {path: path.read_bytes() for path in (work / "inside").rglob("*.json")} == files


def test_two_seeds_of_every_entry(work: Path) -> None:
    by_entry = {pair["cell"]["entry"]: pair for pair in Inside(work).pairs()}
    assert by_entry.keys() == {"scratch", "full"}
    for pair in by_entry.values():
        assert pair["cell"]["seed"] == [0, 1] and len(pair["test"]["loss"]) == len(pair["test"]["alpha"]) == 11
        assert pair["train"]["loss_barrier"] >= 0 and pair["test"]["examples"] == 40
    assert by_entry["scratch"]["distance"]["block_0"] > 5 * by_entry["full"]["distance"]["block_0"]
    assert "update_cosine" not in by_entry["scratch"] and -1 <= by_entry["full"]["update_cosine"]["block_0"] <= 1


def test_ends_of_the_line_are_the_two_cells(work: Path) -> None:
    (pair,) = (pair for pair in Inside(work).pairs() if pair["cell"]["entry"] == "full")
    results = [Records(work).get(name)["result"] for name in pair["id"].split("-")]
    for end, result in ((0, results[0]), (-1, results[1])):
        assert pair["test"]["score"][end] == result["test_score"]
        assert pair["test"]["loss"][end] == pytest.approx(result["test_loss"], rel=1e-5)


def test_every_stage_is_probed_before_and_after(work: Path, data_dir: Path) -> None:
    probes = Inside(work).probes()
    assert [each["id"] for each in probes] == [each["id"] for each in Inside(work).cells()]
    for each in probes:
        assert [stage["stage"] for stage in each["stages"]] == STAGES and each["examples"] == 20
        for stage in each["stages"]:
            for probe in (stage["before"], stage["after"]):
                assert probe["selectivity"] == probe["accuracy"] - probe["control"]
    assert probes[0]["stages"][0]["before"] != probes[0]["stages"][0]["after"]


def test_cells_of_which_nothing_was_kept_say_what_to_do(work: Path, data_dir: Path, tmp_path: Path) -> None:
    for part in ("records", "sources"):
        shutil.copytree(work / part, tmp_path / part)
    done = inspect(study_of(), Folders(tmp_path, data_dir), Silent(), pairs=True, probes=True)
    told = "run the study with --config.artifacts=True in a new --workdir"
    assert done.lines() == [f"nothing was kept of 2 finished cells: {told}"]
    assert done.found == [] and set(done.not_kept) == {each["id"] for each in Inside(work).cells()}
    assert not (tmp_path / "inside").exists()
    assert replace(done, not_kept=done.not_kept[:1]).lines() == [f"nothing was kept of 1 finished cell: {told}"]


def test_cells_that_are_not_finished_or_diverged(work: Path, data_dir: Path) -> None:
    done = inspect(study_of(CONFIG, "--config.seeds=(0,1,2)"), Folders(work, data_dir), Silent())
    assert done.lines() == ["3 cells have no record yet: run the study, then inspect it again"]
    assert replace(done, unfinished=0, diverged=2).lines() == ["2 cells diverged, and have nothing to compare"]


def test_a_kept_cell_that_is_damaged_is_one_line(
    work: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("records", "sources", "artifacts"):
        shutil.copytree(work / part, tmp_path / part)
    path = next((tmp_path / "artifacts").glob(f"{found(work, 'full')[0]['id']}/**/manifest*.json"), None)
    victim = path or next(
        p for p in sorted((tmp_path / "artifacts" / found(work, "full")[0]["id"]).rglob("*")) if p.is_file()
    )
    victim.write_bytes(b"{}")
    command = ["inspect", CONFIG, "--workdir", str(tmp_path), "--data-dir", str(data_dir)]
    assert main(command) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert found(work, "full")[0]["id"] in err and "Traceback" not in err


def test_the_command_shows_tables(work: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["inspect", CONFIG, "--workdir", str(work), "--data-dir", str(data_dir)]
    assert main(command) == 0
    out = capsys.readouterr().out
    for heading in (
        "CKA of each stage's features",
        "Drift of each stage's weights",
        "Forgetting",
        "two seeds",
        "linear probe",
    ):
        assert heading in out
    assert "upper → lower" in out and f"The numbers of each cell: {work / 'inside'}" in out
    assert main([*command, "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{\n") :])["there"] == 2


def test_findings_that_are_damaged_or_of_another_version_are_refused(tmp_path: Path) -> None:
    inside = Inside(tmp_path)
    inside.publish({"id": "a1", "stages": [{"cka": float("nan"), "drift": 0.5}]})
    assert inside.has("a1") and not inside.has("a1-b2")
    assert inside.cells()[0]["stages"] == [{"cka": None, "drift": 0.5}]
    inside.publish({"id": "a1", "stages": [{"cka": float("inf"), "drift": 0.5}]})
    with pytest.raises(FileError, match="was published before with other content"):
        inside.publish({"id": "a1", "stages": []})
    path = tmp_path / "inside" / "a1.json"
    path.write_text(path.read_text().replace("0.5", "0.25"))
    with pytest.raises(FileError, match=r"a1\.json: is damaged; delete it and run `tlx inspect` again"):
        inside.cells()
    path.write_text("[]")
    with pytest.raises(FileError, match="is damaged"):
        inside.cells()


@pytest.mark.thorough
def test_adapters_count_as_the_plain_leaves_they_amount_to(data_dir: Path, tmp_path: Path) -> None:
    study, work = study_of(f"{CONFIG}:vit"), tmp_path / "work"
    finish(study, work, data_dir)
    inspect(study, Folders(work, data_dir), Silent(), pairs=True, probes=True)
    told = found(work, "lora")[0]
    merge_cell(work, told["id"], tmp_path / "plain")
    drift = weight_distance(leaves_of(work), load_artifact(tmp_path / "plain").tree)
    for stage in told["stages"]:
        assert stage["drift"] == pytest.approx(drift[stage["stage"]].relative, rel=1e-5)
    assert told["stages"][0]["drift"] == 0.0 < told["stages"][1]["drift"]
    assert told["drift"]["adapters_folded"] is True
    # The embedding is left alone, and so is what is read from it.
    embed = next(each for each in Inside(work).probes() if each["id"] == told["id"])["stages"][0]
    assert embed["before"] == embed["after"] and 0 < embed["after"]["accuracy"] < 1
    for each in found(work, "probe"):
        assert each["forgetting"]["drop"] == each["drift"]["l2"] == 0.0


@pytest.mark.thorough
def test_a_cnn_with_running_statistics(data_dir: Path, tmp_path: Path) -> None:
    study = study_of(f"{CONFIG}:resnet")
    finish(study, tmp_path, data_dir)
    done = inspect(study, Folders(tmp_path, data_dir), Silent(), pairs=True)
    assert len(done.found) == 6 + 4
    for each in Inside(tmp_path).cells():
        assert [stage["stage"] for stage in each["stages"]] == ["stem", "block_0", "block_1", "pool"]
        assert each["stages"][-1]["drift"] is None  # it has no weights
        assert each["test_score"] == Records(tmp_path).get(each["id"])["result"]["test_score"]
    for each in found(tmp_path, "probe"):  # which changes nothing, and forgets nothing
        assert each["forgetting"]["drop"] == each["drift"]["relative"] == 0.0
        for stage in each["stages"]:
            assert stage["cka"] == pytest.approx(1.0, abs=1e-9)
            assert stage["distortion"] == stage["source_distortion"] == 0.0
    by_entry = {pair["cell"]["entry"]: pair for pair in Inside(tmp_path).pairs()}
    assert all(np.isfinite(pair["test"]["loss"]).all() for pair in by_entry.values())
    # The trunk is one, and between two heads on it the loss is convex.
    assert by_entry["probe"]["test"]["loss_barrier"] == pytest.approx(0.0, abs=1e-6)
    assert by_entry["probe"]["update_cosine"]["block_0"] is None


@pytest.mark.thorough
def test_a_bert_and_its_padding(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer")
    domains = {"movies": rows(0, 200), "tweets": [(str(i), *row[1:]) for i, row in enumerate(rows(1, 200))]}
    text = (f"--config.text.tokenizer={tmp_path / 'tokenizer'}", "--config.text.length=14", "--config.artifacts=True")
    with trusted(write_archive(tmp_path, domains)):
        study = study_of(TEXT, *text, "--config.train.steps=5", "--config.sources.movies.steps=10")
        finish(study, tmp_path / "work", tmp_path)
        inspect(study, Folders(tmp_path / "work", tmp_path), Silent(), pairs=True)
    cells = Inside(tmp_path / "work").cells()
    assert len(cells) == 4 and len(Inside(tmp_path / "work").pairs()) == 3
    for each in cells:
        assert [stage["stage"] for stage in each["stages"]] == ["embed", "block_0", "pool"]
        assert each["test_score"] == Records(tmp_path / "work").get(each["id"])["result"]["test_score"]
        assert tree.flatten(each["forgetting"]).keys() == {"before", "after", "drop", "examples"}

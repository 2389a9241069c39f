"""Cells folded into plain models: leaves by hand, equal logits, and one-line refusals."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import adapt, tiny_model

from tlx import artifact, tree
from tlx.adapt.adapted import Adapted
from tlx.checkpoint import Checkpoints, load_artifact
from tlx.errors import CheckpointError, ConfigError, FileError
from tlx.models.registry import Model
from tlx.optim import Optimizer
from tlx.partition import FROZEN
from tlx.records import Records
from tlx.state import make_hyper, to_tree
from tlx.step import Task, init_state
from tlx.study.context import fresh_variables
from tlx.study.merge import find, merge_cell, random_inputs
from tlx.surgery import transplant

METHODS = {
    "lora": ("lora", {"rank": 4, "alpha": 6.0}),
    "random": ("lora", {"rank": 4, "alpha": 6.0}),
    "scratch": ("full", {}),
    "prompt": ("prompt", {}),
}
IDS = {entry: f"{i}123456789abcdef" for i, entry in enumerate(METHODS, 1)}
SEED = 3


def trained(adapted: Adapted, base: dict[str, Any]) -> dict[str, Any]:
    """The leaves after some training: noise on all that moves."""
    rng, labels = np.random.default_rng(1), adapted.labels()
    found = tree.flatten(adapted.init_adapters(base, 0))
    for path in sorted(labels):
        if labels[path] != FROZEN:
            found[path] = found[path] + jnp.asarray(rng.normal(0, 0.1, found[path].shape), jnp.float32)
    return tree.unflatten(found)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a study leaves behind that kept what it trained; not to be written to."""
    folder, model = tmp_path_factory.mktemp("merge"), tiny_model()
    fresh, pretrained = fresh_variables(model, SEED), fresh_variables(model, SEED + 1)
    full = Task(Adapted(model, "full"), Optimizer(), 2)
    for name, leaves in (("wrong", fresh), ("upper", pretrained)):
        state = init_state(full, leaves, {}, make_hyper(1e-3))
        saved = {"state": to_tree(state), "losses": np.zeros(2, np.float32)}
        Checkpoints(folder / "sources" / name).save(2, saved, {})
    keys = {entry: {"entry": entry, "seed": SEED, "method": {"name": METHODS[entry][0]}} for entry in METHODS}
    cells = [{"id": IDS[entry], "cell": keys[entry]} for entry in METHODS]
    Records(folder).write_manifest({"cells": cells, "config": {"sources": {"upper": {"checkpoint": ""}}}})
    for entry, (method, settings) in METHODS.items():
        adapted = adapt(method, model, **settings)
        lineage = {"source": "upper", "checkpoint": tree.digest(pretrained)} if entry in ("lora", "prompt") else None
        base = transplant(pretrained, fresh, ("params/head/.*",))[0] if lineage else fresh
        artifact.save(folder / "artifacts" / IDS[entry], adapted, trained(adapted, base), lineage)
        record = {"id": IDS[entry], "cell": keys[entry], "config": {"entry": {}}, "lineage": lineage}
        Records(folder).publish(record, {})
    return folder


def leaves(folder: Path) -> dict[str, Any]:
    return tree.flatten(load_artifact(folder).tree)


def source(work: Path, name: str = "upper") -> dict[str, Any]:
    return tree.flatten(load_artifact(work / "sources" / name / "00000002").tree["state"]["trainable"])


def test_a_transferred_lora_becomes_plain_leaves(work: Path, tmp_path: Path) -> None:
    outcome = merge_cell(work, IDS["lora"], tmp_path / "out")
    plain, own, base = leaves(tmp_path / "out"), leaves(work / "artifacts" / outcome.cell), source(work)
    assert plain.keys() == base.keys()
    adapted = {path.removesuffix("/lora_a").removeprefix("adapters/") for path in own if path.endswith("/lora_a")}
    assert len(adapted) == 2 * 2
    for path, leaf in plain.items():
        name = path.removeprefix("params/").removesuffix("/kernel")
        if name in adapted and path.endswith("/kernel"):
            a, b = (np.float64(own[f"adapters/{name}/lora_{side}"]) for side in "ab")
            np.testing.assert_allclose(leaf, np.float64(base[path]) + 6.0 / 4 * (a @ b), atol=1e-6)
            assert np.abs(leaf - base[path]).max() > 1e-5
        else:
            np.testing.assert_array_equal(leaf, own[path] if path.startswith("params/head/") else base[path])
    assert (outcome.changed, outcome.inputs, outcome.folder) == (4, 32, str(tmp_path / "out"))
    assert 0 <= outcome.gap < 1e-5


def test_fresh_frozen_leaves_are_drawn_anew(work: Path, tmp_path: Path) -> None:
    outcome = merge_cell(work, IDS["random"], tmp_path / "out")
    path, plain = "params/embed/patches/kernel", leaves(tmp_path / "out")
    assert outcome.changed == 4 and outcome.gap < 1e-5
    np.testing.assert_array_equal(plain[path], source(work, "wrong")[path])
    assert np.any(plain[path] != source(work)[path])


def test_what_has_no_adapters_is_as_it_was(work: Path, tmp_path: Path) -> None:
    outcome = merge_cell(work, IDS["scratch"], tmp_path / "out")
    assert (outcome.changed, outcome.gap) == (0, 0.0)
    own = leaves(work / "artifacts" / outcome.cell)
    plain = leaves(tmp_path / "out")
    assert plain.keys() == own.keys() and all(np.array_equal(plain[path], own[path]) for path in own)


def test_the_folder_says_what_it_holds(work: Path, tmp_path: Path) -> None:
    name = IDS["lora"]
    merge_cell(work, name, tmp_path / "out")
    meta = load_artifact(tmp_path / "out").meta
    assert (meta["kind"], meta["cell"], meta["method"]["name"]) == ("merged", name, "lora")
    assert meta["lineage"]["source"] == "upper"
    assert (meta["model"]["name"], meta["model"]["input_shape"]) == ("vit", [8, 8, 1])
    json.dumps(meta)


def test_the_line_says_how_far_the_two_are_apart(work: Path, tmp_path: Path) -> None:
    line = merge_cell(work, IDS["lora"], tmp_path / "out").line()
    assert line.startswith("4 leaves changed; logits differ by at most ")
    assert line.endswith(f" on 32 random inputs; {tmp_path / 'out'}")


def test_prompts_have_no_place_in_a_plain_model(work: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^config\.adapt\.prompt\.method\.name: 'prompt' cannot be merged: "):
        merge_cell(work, IDS["prompt"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_model_is_not_overwritten(work: Path, tmp_path: Path) -> None:
    merge_cell(work, IDS["lora"], tmp_path / "out")
    merge_cell(work, IDS["lora"], tmp_path / "out")
    with pytest.raises(CheckpointError):
        merge_cell(work, IDS["scratch"], tmp_path / "out")


def test_a_cell_is_found_by_the_beginning_of_its_id(work: Path) -> None:
    records, name = Records(work), IDS["lora"]
    assert find(records, name[:12])["id"] == name
    with pytest.raises(FileError, match="'' begins the ids of 4 cells"):
        find(records, "")
    with pytest.raises(FileError, match="'z' begins the id of no cell"):
        find(records, "z")


def test_a_cell_of_which_nothing_was_kept_is_refused(work: Path, tmp_path: Path) -> None:
    other, name = tmp_path / "work", IDS["lora"]
    (other / "records").mkdir(parents=True)
    for path in (Path("study.json"), Path("records") / f"{name}.json"):
        (other / path).write_bytes((work / path).read_bytes())
    with pytest.raises(FileError, match=r"nothing was kept of this cell; .*--config\.artifacts=True"):
        merge_cell(other, name, tmp_path / "out")


def test_leaves_it_began_with_must_be_there(work: Path, tmp_path: Path) -> None:
    other, name = tmp_path / "work", IDS["lora"]
    for path in sorted(work.rglob("*")):
        if path.is_file() and "sources" not in path.parts:
            (other / path.relative_to(work)).parent.mkdir(parents=True, exist_ok=True)
            (other / path.relative_to(work)).write_bytes(path.read_bytes())
    with pytest.raises(CheckpointError, match="holds no intact checkpoint the cell began with"):
        merge_cell(other, name, tmp_path / "out")


def test_random_inputs_are_always_the_same() -> None:
    vit = Model("vit", (), 3, (8, 8, 1))
    image_BHWC = random_inputs(vit, 4)
    assert image_BHWC.shape == (4, 8, 8, 1) and -1 <= image_BHWC.min() < 0 < image_BHWC.max() <= 1
    np.testing.assert_array_equal(image_BHWC, random_inputs(vit, 4))
    ids_BT = random_inputs(Model("bert", (("vocab", 5),), 3, (40,)), 4)
    assert ids_BT.dtype == jnp.int32 and set(np.unique(ids_BT)) == set(range(5))

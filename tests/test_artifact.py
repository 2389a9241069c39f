"""What a run trained, saved alone and put back on its base, or refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import first
from tiny import adapt, batch, compiled_forward, compiled_init, differing, tiny_model, variables

from tlx import artifact, atomic, tree
from tlx.adapt.adapted import Adapted
from tlx.checkpoint import load_artifact, save_artifact
from tlx.errors import CheckpointError
from tlx.models.registry import Model

LINEAGE = {"source": "mnist", "checkpoint": "ab" * 32, "source_test_accuracy": 0.5}

CASES = {
    "full": adapt("full"),
    "head": adapt("head"),
    "lora": adapt("lora"),
    "fish": adapt("fish"),
    "l2_sp": adapt("l2_sp"),
    "pissa": adapt("pissa"),
    "lp_ft": adapt("lp_ft"),
    "lora+norm": replace(adapt("lora"), also=(("norm", ()),)),
    # Its own head stays; the one it was given in its place is an adapter.
    "head2toe": adapt("head2toe"),
    "freeze-resnet": adapt("freeze", tiny_model("resnet")),
    "lora-resnet-reset": replace(adapt("lora", tiny_model("resnet")), stats="reset"),
    "bitfit-bert": adapt("bitfit", tiny_model("bert")),
}


def trained(adapted: Adapted) -> dict[str, Any]:
    """The variables with noise on all that the method moves, as after a run."""
    rng = np.random.default_rng(0)
    leaves = tree.flatten(variables(adapted))
    labels = {**adapted.labels(), **adapted.stat_labels()}
    moved = {}
    for path, leaf in leaves.items():
        noise = jnp.asarray(rng.uniform(0.1, 0.5, leaf.shape), jnp.float32)
        moved[path] = leaf if labels.get(path, "frozen") == "frozen" else leaf + noise
    return tree.unflatten(moved)


def saved(folder: Path, name: str) -> dict[str, Any]:
    """Saves a case and gives its leaves."""
    leaves = trained(CASES[name])
    artifact.save(folder / name, CASES[name], leaves, LINEAGE)
    return leaves


def base_of(adapted: Adapted) -> dict[str, Any]:
    """The base as a source has it: with another head."""
    model = adapted.model
    other = Model(model.name, model.settings, model.num_classes + 2, model.input_shape)
    head = compiled_init(other)(7)["params"]["head"]
    base = compiled_init(model)(0)
    return {**base, "params": {**base["params"], "head": head}}


def own_leaves(folder: Path) -> set[str]:
    return set(json.loads((folder / "manifest.json").read_text())["leaves"])


@pytest.mark.parametrize("name", first(5, CASES))
def test_what_is_loaded_predicts_as_what_was_saved(name: str, tmp_path: Path) -> None:
    adapted, leaves = CASES[name], saved(tmp_path, name)
    loaded = artifact.load(tmp_path / name, base_of(adapted))
    assert loaded.adapted == adapted and loaded.lineage == LINEAGE
    whole = {key: leaf for key, leaf in leaves.items() if key != "reference"}
    assert differing(whole, loaded.variables) == set()
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded.variables))
    x = batch(adapted.model)["input"]
    logits = [compiled_forward(adapted)(v, x)[0] for v in (leaves, loaded.variables)]
    np.testing.assert_array_equal(*logits)
    assert np.abs(logits[0] - compiled_forward(adapted)(variables(adapted), x)[0]).max() > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_nothing_of_the_base_is_in_it(name: str, tmp_path: Path) -> None:
    adapted, leaves = CASES[name], saved(tmp_path, name)
    labels = {**adapted.labels(), **adapted.stat_labels()}
    moving = {path for path, label in labels.items() if label != "frozen"}
    adapters = {path for path in tree.flatten(leaves) if path.startswith("adapters/")}
    head = {"params/head/bias", "params/head/kernel"}
    assert own_leaves(tmp_path / name) == moving | adapters | head
    content = tree.flatten(load_artifact(tmp_path / name).tree)
    own = sum(leaf.nbytes for leaf in content.values())
    assert own == tree.nbytes({path: leaf for path, leaf in tree.flatten(leaves).items() if path in content})


def test_it_is_small_where_little_moved(tmp_path: Path) -> None:
    saved(tmp_path, "lora")
    # Two blocks, two layers each, two factors of rank 2; and the head.
    own = tree.count(load_artifact(tmp_path / "lora").tree)
    assert own == 2 * 2 * 2 * 2 * 16 + 16 * 3 + 3
    assert own < tree.count(variables(adapt("lora"))) / 20


# What is refused


def refusal(folder: Path, base: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        artifact.load(folder, base)
    line = str(caught.value)
    assert line.startswith(f"{folder}: ") and "\n" not in line
    return line.removeprefix(f"{folder}: ")


def with_leaf(base: dict[str, Any], path: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    leaves = tree.flatten(base)
    return tree.unflatten({**leaves, path: change(np.array(leaves[path]))})


def one_bit(leaf: np.ndarray) -> np.ndarray:
    leaf.view(np.uint32).flat[0] ^= 1
    return leaf


NOT_ITS_BASE = "belongs to another base: its leaves have another digest"


@pytest.mark.parametrize("name", ["lora", "freeze-resnet"])
def test_a_base_that_differs_in_one_bit(name: str, tmp_path: Path) -> None:
    adapted = CASES[name]
    saved(tmp_path, name)
    base = base_of(adapted)
    frozen = [path for path, label in {**adapted.labels(), **adapted.stat_labels()}.items() if label == "frozen"]
    some = [next(path for path in frozen if end in path) for end in ("kernel", *(["var"] if "resnet" in name else []))]
    for path in some:
        assert refusal(tmp_path / name, with_leaf(base, path, one_bit)) == NOT_ITS_BASE
    # What the artifact brings along may be anything in the base, or nothing.
    for path in ("params/head/kernel", "params/head/bias"):
        artifact.load(tmp_path / name, with_leaf(base, path, one_bit))
    headless = {**base, "params": {name: leaves for name, leaves in base["params"].items() if name != "head"}}
    artifact.load(tmp_path / name, headless)


def test_a_base_of_another_shape_or_another_model(tmp_path: Path) -> None:
    saved(tmp_path, "lora")
    base = base_of(CASES["lora"])
    grown = with_leaf(base, "params/embed/position", lambda leaf: np.concatenate([leaf, leaf], axis=1))
    assert refusal(tmp_path / "lora", grown) == NOT_ITS_BASE
    half = with_leaf(base, "params/embed/position", lambda leaf: leaf.astype(jnp.bfloat16))
    assert refusal(tmp_path / "lora", half) == NOT_ITS_BASE
    assert refusal(tmp_path / "lora", base_of(CASES["bitfit-bert"])).startswith("belongs to another base: it has no '")
    shallow = compiled_init(tiny_model(depth=1))(0)
    missing = "belongs to another base: it has no 'params/block_1/attention/key/bias'"
    assert refusal(tmp_path / "lora", shallow) == missing


def test_leaves_of_the_base_that_the_model_does_not_have_are_no_part_of_it(tmp_path: Path) -> None:
    leaves = saved(tmp_path, "lora")
    deep = base_of(CASES["lora"])
    deep = {**deep, "params": {**deep["params"], "block_2": deep["params"]["block_1"]}}
    assert differing(artifact.load(tmp_path / "lora", deep).variables, leaves) == set()


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The same leaves under another description, as a forger or another version would write it."""
    restored = load_artifact(folder)
    meta = json.loads(json.dumps(restored.meta))
    change(meta)
    other = folder.with_name("rewritten")
    shutil.rmtree(other, ignore_errors=True)
    save_artifact(other, restored.tree, meta)
    return other


UNKNOWN = "is no adaptation this version can read: "


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda meta: meta["method"].update(name="lorra"), UNKNOWN),
        (lambda meta: meta["model"].update(name="vitt"), UNKNOWN),
        (lambda meta: meta["also"].append({"name": "nothing", "settings": {}}), UNKNOWN),
        (lambda meta: meta["method"]["settings"].update(rnak=2), f"{UNKNOWN}method.rnak: no such field"),
        (lambda meta: meta["method"]["settings"].update(rank=0), f"{UNKNOWN}method.rank: expected an integer from 1"),
        (lambda meta: meta["method"]["settings"].update(rank=17), f"{UNKNOWN}rank: expected at most 16"),
        (lambda meta: meta["model"]["settings"].update(heads=3), f"{UNKNOWN}heads: "),
        (lambda meta: meta["model"].update(input_shape=[8, 8]), UNKNOWN),
        (lambda meta: meta["model"].pop("settings"), UNKNOWN),
        (lambda meta: meta.clear(), UNKNOWN),
        (lambda meta: meta.update(method="lora"), UNKNOWN),
        (lambda meta: meta["method"]["settings"].update(rank=3), "its leaves are not those of its method; the first"),
        (
            lambda meta: meta["model"].update(num_classes=4),
            "its leaves are not those of its method; the first to differ",
        ),
        (lambda meta: meta["method"].update(name="full", settings={}), "its leaves are not those of its method; the"),
        (lambda meta: meta.update(batch_stats="often"), f"{UNKNOWN}batch_stats: unknown value 'often'"),
        (lambda meta: meta.update(base="0" * 64), NOT_ITS_BASE),
    ],
)
def test_a_description_that_does_not_fit(change: Any, line: str, tmp_path: Path) -> None:
    saved(tmp_path, "lora")
    assert refusal(rewritten(tmp_path / "lora", change), base_of(CASES["lora"])).startswith(line)


def test_settings_a_later_version_added_take_their_defaults(tmp_path: Path) -> None:
    saved(tmp_path, "lora")
    older = rewritten(tmp_path / "lora", lambda meta: meta["method"]["settings"].pop("dropout"))
    assert artifact.load(older, base_of(CASES["lora"])).adapted == CASES["lora"]


def test_what_is_missing_or_damaged(tmp_path: Path) -> None:
    base = base_of(CASES["head"])
    assert refusal(tmp_path / "nowhere", base) == "there is no checkpoint here"
    saved(tmp_path, "head")
    for number, file in enumerate(sorted(path for path in (tmp_path / "head").rglob("*") if path.is_file())):
        if not file.stat().st_size:
            continue
        copy = tmp_path / str(number)
        shutil.copytree(tmp_path / "head", copy)
        damaged = copy / file.relative_to(tmp_path / "head")
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.write_bytes(bytes(content))
        assert refusal(copy, base).startswith("is damaged: "), file
    manifest = atomic.read_json(tmp_path / "head" / "manifest.json")
    atomic.write_json(
        tmp_path / "head" / "manifest.json", {**manifest, "meta": {**manifest["meta"], "batch_stats": "reset"}}
    )
    assert (
        refusal(tmp_path / "head", base)
        == "is damaged: manifest.json is not as it was written; delete it to have it made again"
    )


def test_an_artifact_is_never_overwritten(tmp_path: Path) -> None:
    leaves = saved(tmp_path, "lora")
    artifact.save(tmp_path / "lora", CASES["lora"], leaves, LINEAGE)
    with pytest.raises(CheckpointError, match="holds another tree"):
        artifact.save(tmp_path / "lora", CASES["lora"], variables(CASES["lora"]), LINEAGE)
    assert differing(artifact.load(tmp_path / "lora", base_of(CASES["lora"])).variables, leaves) == set()

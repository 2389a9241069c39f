"""From a checkpoint to a model and leaves: what is recognised, what stays fresh, and what is told of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny import compiled_init, differing, tiny_model

from tlx import tree
from tlx.errors import FileError, RuleError
from tlx.interop import layout as layouts
from tlx.interop.files import open_checkpoint
from tlx.interop.hf_bert import BERT
from tlx.interop.released import recognise, resized
from tlx.models import stack

MODEL = replace(tiny_model("bert"), input_shape=(16,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert BERT.config is not None
    tensors = layouts.save(BERT.layout(dict(MODEL.settings), MODEL.num_classes), leaves())
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(BERT.config(MODEL)))
    return tmp_path


def leaves() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(MODEL.init, 0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def test_a_checkpoint_says_what_it_is(folder: Path) -> None:
    found = recognise(folder)
    assert (found.format.name, found.model, found.has_head) == ("hf-bert", MODEL, True)
    assert found.checkpoint.path == folder
    read, report = found.load()
    assert differing(leaves(), read) == set()
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(read))
    assert report.line() == f"read {len(tree.flatten(leaves()))} leaves, reset none, left out none"
    assert report.as_dict()[0] == {
        "ours": "params/embed/word/embedding",
        "theirs": "bert.embeddings.word_embeddings.weight",
        "what": "copied",
        "shape": [50, 16],
    }
    assert open_checkpoint(folder).config == found.checkpoint.config


def test_a_head_that_is_reset_is_as_the_model_draws_it(folder: Path) -> None:
    other = replace(MODEL, num_classes=7)
    read, report = recognise(folder).load(other, reset=("params/head/.*",))
    fresh = compiled_init(other)(0)
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(read["params"]["head"][name], fresh["params"]["head"][name], atol=1e-6)
    assert [row.ours for row in report.of("reset")] == ["params/head/kernel", "params/head/bias"]
    body = {stage: own for stage, own in leaves()["params"].items() if stage != "head"}
    assert differing(body, {stage: read["params"][stage] for stage in body}) == set()
    with pytest.raises(FileError, match=r"'classifier\.weight' has shape \(3, 16\), which does not make 'params/head/"):
        recognise(folder).load(other)
    with pytest.raises(RuleError, match="^reset rule 'head/.*' matches no parameter$"):
        recognise(folder).load(reset=("head/.*",))


def test_settings_that_change_no_leaf_may_differ(folder: Path) -> None:
    found = recognise(folder)
    assert differing(leaves(), found.load(resized(found.model, dropout=0.5, remat=True))[0]) == set()


def test_scanned_blocks_are_the_same_leaves_stacked(folder: Path) -> None:
    found = recognise(folder)
    scanned = resized(found.model, scan=True)
    read, _ = found.load(scanned)
    shapes = {path: leaf.shape for path, leaf in tree.flatten(jax.eval_shape(scanned.init, 0)).items()}
    assert {path: leaf.shape for path, leaf in tree.flatten(read).items()} == shapes
    own = tree.flatten(leaves())
    for path, leaf in tree.flatten(read).items():
        if path.startswith("params/blocks/"):
            each = [own[path.replace("blocks", f"block_{i}")] for i in range(2)]
            np.testing.assert_array_equal(leaf, np.stack(each))
        else:
            np.testing.assert_array_equal(leaf, own[path])


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"model_type": "mamba"}, "a 'mamba' model"),
        ({"architecture": "nfnet_l0"}, "a 'nfnet_l0' model"),
        ({}, "these tensors"),
        ({"model_type": 3}, "these tensors"),
    ],
)
def test_what_nobody_knows(config: dict[str, Any], what: str, tmp_path: Path) -> None:
    save_file({"w": np.ones(2, np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(FileError, match=f"^.*: {what} is of no known architecture \\(one of .*hf-bert.*\\)$"):
        recognise(tmp_path)


def test_stacking_blocks_has_an_inverse() -> None:
    assert differing(leaves(), stack.apart(stack.stacked(leaves()))) == set()
    assert differing({"params": {"head": np.ones(2)}}, stack.apart({"params": {"head": np.ones(2)}})) == set()

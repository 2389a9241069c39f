"""Checkpoints from one format to another, by the command a user types."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny import differing, tiny_model

from tlx.checkpoint import load_artifact, save_artifact
from tlx.cli import main
from tlx.interop import hf_bert
from tlx.interop.released import recognise
from tlx.interop.write import save_released
from tlx.study.weights import content_digest, open_weights

MODEL = tiny_model("bert")


def leaves() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(MODEL.init, 0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    save_released(tmp_path / "foreign", hf_bert.BERT, MODEL, leaves())
    return tmp_path / "foreign"


def refused(capsys: pytest.CaptureFixture[str], *argv: Path | str) -> str:
    assert main(["convert", *map(str, argv)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err.strip()


def test_there_and_back_is_the_same(foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(foreign), str(tmp_path / "ours")]) == 0
    text = capsys.readouterr().out
    for words in ("bert.encoder.layer.0.attention.self.query.weight", "params/block_0/attention/query/kernel"):
        assert words in text
    assert "hf-bert: a bert of " in text and "written as tlx: " in text
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "back")]) == 0
    assert "written as hf-bert: " in capsys.readouterr().out
    assert differing(leaves(), recognise(tmp_path / "back").load()[0]) == set()
    before, after = ((folder / "model.safetensors").read_bytes() for folder in (foreign, tmp_path / "back"))
    assert before == after


def test_as_json_it_says_the_same(foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(foreign), str(tmp_path / "ours"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["format"] == "hf-bert" and said["written_as"] == "tlx"
    assert len(said["tensors"]) == len(jax.tree.leaves(leaves()))
    assert {row["what"] for row in said["tensors"]} == {"copied"}
    kept = load_artifact(tmp_path / "ours").meta["lineage"]["tensors"]
    assert kept == said["tensors"]


def test_a_checkpoint_without_a_head_keeps_having_none(tmp_path: Path) -> None:
    save_released(tmp_path / "bare", hf_bert.BERT, MODEL, leaves(), with_head=False)
    assert main(["convert", str(tmp_path / "bare"), str(tmp_path / "ours")]) == 0
    assert not open_weights(str(tmp_path / "ours")).has_head
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "back")]) == 0
    assert not recognise(tmp_path / "back").has_head


def test_what_cannot_be_is_one_line(foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert refused(capsys, tmp_path / "none", out) == f"{tmp_path / 'none'}: there is no such file or folder"
    said = refused(capsys, foreign, out, "--to", "hf-bird")
    assert said == "--to: a 'bert' cannot be written as 'hf-bird' (did you mean 'hf-bert'?)"
    (foreign / "config.json").write_text('{"model_type": "mamba"}')
    assert refused(capsys, foreign, out).startswith(f"{foreign}: a 'mamba' model is of no known architecture (one of ")
    (foreign / "config.json").write_text("{")
    assert refused(capsys, foreign, out).startswith(f"{foreign / 'config.json'}: is not JSON: ")
    assert not out.exists()


def test_adapters_alone_are_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_artifact(tmp_path / "kept", {"a": np.ones(2, np.float32)}, {"kind": "adaptation"})
    said = refused(capsys, tmp_path / "kept", tmp_path / "out")
    assert said == f"{tmp_path / 'kept'}: holds no whole model; merge what was adapted with `tlx merge` first"


def test_the_digest_is_of_the_content(foreign: Path, tmp_path: Path) -> None:
    def digest(folder: Path) -> str:
        return content_digest(open_weights(str(folder)))

    shutil.copytree(foreign, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("about it")
    assert digest(foreign) == digest(tmp_path / "copy")
    with (tmp_path / "copy" / "config.json").open("a") as file:
        file.write("\n")
    assert digest(foreign) != digest(tmp_path / "copy")

"""Folders that other libraries load: what is in them, in how many files, and that they come whole or not at all."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny import differing, tiny_model

from tlx.errors import FileError
from tlx.interop import hf_bert
from tlx.interop.files import open_checkpoint
from tlx.interop.format import Format
from tlx.interop.released import recognise
from tlx.interop.write import save_released
from tlx.models.stack import stacked

MODEL = tiny_model("bert")
FORMAT = hf_bert.BERT


def leaves(seed: int = 0) -> dict[str, Any]:
    """Random leaves, so that no two tensors are alike."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(MODEL.init, 0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("shard_bytes", [10**9, 4000])
def test_what_is_written_is_read_back(shard_bytes: int, tmp_path: Path) -> None:
    saved = leaves()
    places = save_released(tmp_path / "out", FORMAT, MODEL, saved, shard_bytes=shard_bytes)
    files = set(places.values())
    assert {path.name for path in (tmp_path / "out").glob("*.safetensors")} == files
    assert (len(files) > 3) == (shard_bytes == 4000)
    found = recognise(tmp_path / "out")
    assert found.has_head and found.model.num_classes == MODEL.num_classes
    assert differing(saved, found.load()[0]) == set()
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_shards_are_listed_with_their_size(tmp_path: Path) -> None:
    save_released(tmp_path / "out", FORMAT, MODEL, leaves(), shard_bytes=4000)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_bytes())
    tensors = open_checkpoint(tmp_path / "out").tensors
    assert index["weight_map"].keys() == tensors.keys()
    assert index["metadata"]["total_size"] == sum(tensors[name].nbytes for name in tensors)
    for name in set(index["weight_map"].values()):
        own = [tensors[key].nbytes for key, place in index["weight_map"].items() if place == name]
        assert sum(own) <= 4000 or len(own) == 1


def test_scanned_blocks_are_written_apart(tmp_path: Path) -> None:
    scanned = tiny_model("bert", scan=True)
    save_released(tmp_path / "out", FORMAT, scanned, stacked(leaves()))
    assert differing(leaves(), recognise(tmp_path / "out").load()[0]) == set()


def test_a_head_may_be_left_out(tmp_path: Path) -> None:
    save_released(tmp_path / "out", FORMAT, MODEL, leaves(), with_head=False)
    found = recognise(tmp_path / "out")
    assert not found.has_head
    _, report = found.load()
    assert {row.ours for row in report.of("reset")} == {"params/head/kernel", "params/head/bias"}


def test_the_tokenizer_comes_along(tmp_path: Path) -> None:
    beside = tmp_path / "from"
    beside.mkdir()
    (beside / "vocab.txt").write_text("[PAD]\n")
    (beside / "training_args.bin").write_bytes(b"not to be copied")
    save_released(tmp_path / "out", FORMAT, MODEL, leaves(), beside=beside)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"config.json", "model.safetensors", "vocab.txt"}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    save_released(tmp_path / "out", FORMAT, MODEL, leaves())
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    with pytest.raises(FileError, match="out: exists already; delete it or choose another folder$"):
        save_released(tmp_path / "out", FORMAT, MODEL, leaves(1))
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="could not be written"):
        save_released(tmp_path / "file" / "out", FORMAT, MODEL, leaves())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_format_that_is_only_read(tmp_path: Path) -> None:
    read_only = Format("old", "bert", FORMAT.recognises, FORMAT.describe, FORMAT.layout)
    with pytest.raises(FileError, match="out: old is only read, not written$"):
        save_released(tmp_path / "out", read_only, MODEL, leaves())

"""Rows of running text: every token of the corpus once, in its order."""

import json
from pathlib import Path

import numpy as np
import pytest
from sentences import write_tokenizer

from tlx.data.look import Examples
from tlx.data.pipeline import load_arrays
from tlx.data.running_text import load_running_text
from tlx.data.source import prepare
from tlx.data.text import Tokenizer, load_tokenizer
from tlx.errors import TlxError

TEXTS = ["the film was lovely", "a dull plot", "the phone is broken and the lens is so bright"]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return load_tokenizer(write_tokenizer(tmp_path / "tokenizer"), 6)


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """A prepared table of texts alone."""
    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    name = f"table:{file}?label="
    prepare(name, tmp_path / "data")
    return name


def test_rows_hold_every_token_once(tokenizer: Tokenizer, corpus: str, tmp_path: Path) -> None:
    arrays = load_running_text(corpus, "train", tmp_path / "data", tokenizer)
    running = [id for text in Examples(corpus, "train", tmp_path / "data") for id in tokenizer.whole([text])[0]]
    assert max(map(len, tokenizer.whole(TEXTS))) == 12  # longer than a row
    np.testing.assert_array_equal(arrays.input_N.ravel(), running[: len(running) // 6 * 6])
    assert (arrays.input_N.dtype, arrays.num_classes, arrays.tokenizer) == (np.int32, 0, tokenizer.digest)
    assert not arrays.label_N.any() and len(arrays.label_N) == len(arrays.input_N)


def test_images_are_no_text(tokenizer: Tokenizer, data_dir: Path) -> None:
    with pytest.raises(TlxError, match=r"^dataset digits is of images"):
        load_running_text("digits", "test", data_dir, tokenizer)


def test_a_text_needs_no_label_where_none_is_wanted(tokenizer: Tokenizer, corpus: str, tmp_path: Path) -> None:
    arrays = load_arrays(corpus, "train", tmp_path / "data", tokenizer, target="")
    np.testing.assert_array_equal(arrays.label_N, [0, 0, 0])
    assert arrays.num_classes == 0 and arrays.label_N.dtype == np.int32
    shown = Examples(corpus, "train", tmp_path / "data")
    assert sorted(shown) == sorted(TEXTS) and shown.at([0])[0][1] == "no label"
    with pytest.raises(TlxError, match=r"has no label$"):
        load_arrays(corpus, "train", tmp_path / "data", tokenizer)

"""Hugging Face's GPT-2 folders without Hugging Face: old names, every head, every misfit.

What transformers makes of them is tested in `tests/parity/test_hf_decoders.py`.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decoder_files import CLASSES, VOCAB, Arrays, config_with, decoder, leaves, renamed, tensors_of, written
from tiny import differing

from tlx.errors import ConfigError, FileError
from tlx.interop.hf_gpt2 import GPT2
from tlx.interop.released import recognise, resized

LM = decoder(head="lm")
CASES = {
    "tied": (LM, "GPT2LMHeadModel"),
    "untied": (decoder(head="lm", tied=False, eos=(7, 9)), "GPT2LMHeadModel"),
    "classify": (decoder(mlp="gelu", dropout=0.2, epsilon=1e-4, pad=3), "GPT2ForSequenceClassification"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_read_back(name: str, tmp_path: Path) -> None:
    model, architecture = CASES[name]
    folder = written(tmp_path, GPT2, model)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [architecture] and config["model_type"] == "gpt2"
    found = recognise(folder)
    assert (found.format.name, found.model, found.has_head) == ("hf-gpt2", model, True)
    read, report = found.load()
    assert differing(leaves(model), read) == set()
    assert {row.what for row in report.rows} == {"copied"}


def test_kernels_lie_as_ours_do_and_queries_keys_and_values_side_by_side() -> None:
    tensors, own = tensors_of(GPT2, LM), leaves(LM)["params"]["block_1"]
    parts = [own["attention"][name] for name in ("query", "key", "value")]
    c_attn = np.concatenate([part["kernel"] for part in parts], axis=1)
    assert c_attn.shape == (16, 48) and np.array_equal(tensors["transformer.h.1.attn.c_attn.weight"], c_attn)
    bias = np.concatenate([part["bias"] for part in parts])
    assert np.array_equal(tensors["transformer.h.1.attn.c_attn.bias"], bias)
    assert np.array_equal(tensors["transformer.h.1.mlp.c_fc.weight"], own["mlp"]["up"]["kernel"])
    assert np.array_equal(tensors["transformer.h.1.attn.c_proj.weight"], own["attention"]["out"]["kernel"])
    assert "lm_head.weight" not in tensors
    score = tensors_of(GPT2, CASES["classify"][0])["score.weight"]
    assert np.array_equal(score, leaves(CASES["classify"][0])["params"]["head"]["kernel"].T)


def old(config: dict[str, Any], tensors: Arrays) -> None:
    """As the first files were: no prefix, masks among the weights, no word on ties."""
    renamed(tensors, r"^transformer\.", "")
    for i in (0, 1):
        tensors[f"h.{i}.attn.bias"] = np.tril(np.ones((1, 1, 16, 16), np.float32))
        tensors[f"h.{i}.attn.masked_bias"] = np.array(-1e4, np.float32)
    for name in ("tie_word_embeddings", "n_inner", "activation_function", "pad_token_id", "eos_token_id"):
        del config[name]


def test_old_files_have_no_prefix_and_hold_masks(tmp_path: Path) -> None:
    model = decoder(head="lm", hidden=64)
    found = recognise(written(tmp_path, GPT2, model, old))
    assert found.model == model
    read, report = found.load()
    assert differing(leaves(model), read) == set() and not report.of("left out")


def test_a_tied_head_in_the_file_must_equal_the_words(tmp_path: Path) -> None:
    def with_head(config: dict[str, Any], tensors: Arrays) -> None:
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"].copy()

    def with_another(config: dict[str, Any], tensors: Arrays) -> None:
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"] + 1

    read, report = recognise(written(tmp_path / "same", GPT2, LM, with_head)).load()
    assert differing(leaves(LM), read) == set() and not report.of("left out")
    folder = written(tmp_path / "other", GPT2, LM, with_another)
    with pytest.raises(FileError, match="'lm_head.weight' should equal 'transformer.wte.weight', to which it is tied"):
        recognise(folder).load()


def test_a_language_model_becomes_a_classifier(tmp_path: Path) -> None:
    for name in ("tied", "untied"):
        model, _ = CASES[name]
        found = recognise(written(tmp_path / name, GPT2, model))
        target = replace(resized(found.model, head="classify"), num_classes=CLASSES)
        read, report = found.load(target, reset=("params/head/.*",))
        assert read["params"]["head"]["kernel"].shape == (16, CLASSES)
        body = {stage: part for stage, part in read["params"].items() if stage != "head"}
        own = {stage: part for stage, part in leaves(model)["params"].items() if stage != "head"}
        assert differing(own, body) == set()
        assert [row.ours for row in report.of("reset")] == ["params/head/kernel"]
        assert [row.theirs for row in report.of("left out")] == (["lm_head.weight"] if name == "untied" else [])


def test_a_file_of_the_bare_model_has_no_head(tmp_path: Path) -> None:
    def bare(config: dict[str, Any], tensors: Arrays) -> None:
        renamed(tensors, r"^transformer\.", "")
        config["architectures"] = ["GPT2Model"]

    found = recognise(written(tmp_path, GPT2, LM, bare))
    assert not found.has_head and dict(found.model.settings)["head"] == "classify"
    read, report = found.load()
    assert differing(leaves(LM)["params"]["block_0"], read["params"]["block_0"]) == set()
    assert [row.ours for row in report.of("reset")] == ["params/head/kernel"]


@pytest.mark.parametrize(
    ("values", "pad", "eos"),
    [
        ({"pad_token_id": None, "eos_token_id": 7}, 7, (7,)),
        ({"pad_token_id": 4, "eos_token_id": [7, 9, 7]}, 4, (7, 9)),
        ({"pad_token_id": -1, "eos_token_id": 50256}, 0, ()),
        ({"pad_token_id": ..., "eos_token_id": [9, 8]}, 9, (9, 8)),
    ],
)
def test_padding_and_ends(values: dict[str, Any], pad: int, eos: tuple[int, ...], tmp_path: Path) -> None:
    settings = dict(recognise(written(tmp_path, GPT2, LM, config_with(**values))).model.settings)
    assert (settings["pad"], settings["eos"]) == (pad, eos)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx: True is not supported"),
        ({"scale_attn_weights": False}, "scale_attn_weights: False is not supported"),
        ({"add_cross_attention": True}, "add_cross_attention: True is not supported"),
        ({"activation_function": "relu"}, "activation_function: 'relu' is not supported"),
        ({"n_embd": ...}, "n_embd: expected an integer, got None"),
        ({"n_head": "four"}, "n_head: expected an integer, got 'four'"),
        ({"eos_token_id": "<end>"}, "eos_token_id: expected token ids, got '<end>'"),
        ({"n_head": 5}, "describes a decoder that cannot be: heads: 5 heads do not divide the width 16"),
    ],
)
def test_configs_that_the_model_cannot_compute(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = written(tmp_path, GPT2, LM, config_with(**values))
    with pytest.raises(FileError) as caught:
        recognise(folder)
    assert str(caught.value).startswith(str(folder)) and message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("transformer.h.1.ln_2.bias", None, "has no tensor 'transformer.h.1.ln_2.bias'"),
        ("transformer.h.0.attn.c_attn.weight", np.zeros((48, 16), np.float32), "shape (48, 16), which does not make"),
        ("transformer.h.0.attn.c_attn.weight", np.zeros((16, 47), np.float32), "shape (16, 47), which does not make"),
        ("transformer.wpe.weight", np.zeros((17, 16), np.float32), "has shape (17, 16), which does not make"),
        ("transformer.h.0.crossattention.q.weight", np.zeros((2, 2), np.float32), "that the model has no place for"),
    ],
)
def test_tensors_that_do_not_fit(name: str, array: np.ndarray | None, message: str, tmp_path: Path) -> None:
    def change(config: dict[str, Any], tensors: Arrays) -> None:
        tensors.pop(name, None)
        if array is not None:
            tensors[name] = array

    folder = written(tmp_path, GPT2, LM, change)
    with pytest.raises(FileError) as caught:
        recognise(folder).load()
    assert str(caught.value).startswith(str(folder)) and message in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position": "rotary"}, "position: GPT-2 has 'learned' only, not 'rotary'"),
        ({"norm": "rms"}, "norm: GPT-2 has 'layer' only, not 'rms'"),
        ({"bias": "none"}, "bias: GPT-2 has 'all' only, not 'none'"),
        ({"kv_heads": 2}, "kv_heads: GPT-2 has 0 only, not 2"),
        ({"window": 4}, "window: GPT-2 has 0 only, not 4"),
        ({"mlp": "swiglu"}, "mlp: GPT-2 has gelu or gelu_tanh only, not 'swiglu'"),
    ],
)
def test_what_gpt2_is_not_cannot_be_written(changes: dict[str, Any], message: str) -> None:
    assert GPT2.config is not None
    with pytest.raises(ConfigError) as caught:
        GPT2.config(decoder(**changes))
    assert str(caught.value) == message
    assert GPT2.config(decoder(kv_heads=4, head_width=4))["vocab_size"] == VOCAB

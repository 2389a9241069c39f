"""Hugging Face's Llama, Qwen2 and Mistral folders without Hugging Face: every kin, old configs, every misfit.

What transformers makes of them is tested in `tests/parity/test_hf_decoders.py`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decoder_files import LLAMA, Arrays, config_with, decoder, leaves, renamed, tensors_of, written
from tiny import differing

from tlx.errors import ConfigError, FileError
from tlx.interop.hf_llama import LLAMA as FORMAT
from tlx.interop.released import recognise

LLAMA3 = {"rope_factor": 8.0, "rope_low": 1.0, "rope_high": 4.0, "rope_original": 12, "rope_scaling": "llama3"}
PLAIN = decoder(**LLAMA, head="lm", tied=False)
CASES = {
    "plain": (PLAIN, "LlamaForCausalLM"),
    "scaled": (decoder(**LLAMA, **LLAMA3, head="lm", tied=True, head_width=6, eos=(3, 5)), "LlamaForCausalLM"),
    "stretched": (
        decoder(**LLAMA, head="lm", tied=False, rope_scaling="linear", rope_factor=2.0, rope_theta=99.0),
        "LlamaForCausalLM",
    ),
    "biased": (decoder(**{**LLAMA, "bias": "all"}, tied=False), "LlamaForSequenceClassification"),
    "half-biased": (decoder(**{**LLAMA, "bias": "attention"}, tied=False), "LlamaForSequenceClassification"),
    "qwen2": (decoder(**{**LLAMA, "bias": "qkv"}, head="lm", tied=True), "Qwen2ForCausalLM"),
    "qwen2-window": (decoder(**{**LLAMA, "bias": "qkv"}, window=4, tied=False), "Qwen2ForSequenceClassification"),
    "mistral": (decoder(**LLAMA, head="lm", tied=False, window=4), "MistralForCausalLM"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_read_back(name: str, tmp_path: Path) -> None:
    model, architecture = CASES[name]
    folder = written(tmp_path, FORMAT, model)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [architecture]
    assert config["model_type"] == architecture.partition("For")[0].lower()
    found = recognise(folder)
    assert (found.format.name, found.model, found.has_head) == ("hf-llama", model, True)
    read, report = found.load()
    assert differing(leaves(model), read) == set()
    assert {row.what for row in report.rows} == {"copied"}


def test_kernels_are_turned_and_keys_and_values_have_fewer_heads() -> None:
    tensors, own = tensors_of(FORMAT, PLAIN), leaves(PLAIN)["params"]
    key = tensors["model.layers.1.self_attn.k_proj.weight"]
    assert key.shape == (8, 16) and np.array_equal(key, own["block_1"]["attention"]["key"]["kernel"].T)
    assert np.array_equal(tensors["model.layers.0.mlp.gate_proj.weight"], own["block_0"]["mlp"]["gate"]["kernel"].T)
    assert np.array_equal(tensors["model.layers.0.post_attention_layernorm.weight"], own["block_0"]["norm2"]["scale"])
    assert np.array_equal(tensors["lm_head.weight"], own["head"]["kernel"].T)
    assert "model.layers.0.self_attn.q_proj.bias" in tensors_of(FORMAT, CASES["qwen2"][0])
    assert "model.layers.0.self_attn.o_proj.bias" not in tensors_of(FORMAT, CASES["qwen2"][0])


def test_old_files_say_otherwise_how_positions_are_stretched(tmp_path: Path) -> None:
    def old(config: dict[str, Any], tensors: Arrays) -> None:
        del config["rope_parameters"], config["head_dim"], config["attention_bias"], config["mlp_bias"]
        config["rope_scaling"] = {"type": "linear", "factor": 2}
        for i in (0, 1):
            tensors[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = np.ones(2, np.float32)

    model, _ = CASES["stretched"]
    found = recognise(written(tmp_path, FORMAT, model, old))
    assert found.model == model
    read, report = found.load()
    assert differing(leaves(model), read) == set() and not report.of("left out")


def test_a_silent_config(tmp_path: Path) -> None:
    silent = ("num_key_value_heads", "head_dim", "rms_norm_eps", "rope_parameters", "rope_theta", "rope_scaling")
    model = decoder(**{**LLAMA, "kv_heads": 4}, tied=False)
    found = recognise(written(tmp_path, FORMAT, model, config_with(**dict.fromkeys(silent, ...)))).model
    settings = dict(found.settings)
    assert (settings["kv_heads"], settings["head_width"], settings["epsilon"]) == (4, 0, 1e-6)
    assert (settings["rope_theta"], settings["rope_scaling"]) == (10000.0, "none")


def test_a_file_of_the_bare_model_has_no_head(tmp_path: Path) -> None:
    def bare(config: dict[str, Any], tensors: Arrays) -> None:
        del tensors["lm_head.weight"]
        renamed(tensors, r"^model\.", "")
        config["architectures"] = ["LlamaModel"]

    found = recognise(written(tmp_path, FORMAT, PLAIN, bare))
    assert not found.has_head
    read, report = found.load()
    for stage in ("embed", "block_0", "block_1", "pool"):
        assert differing(leaves(PLAIN)["params"][stage], read["params"][stage]) == set()
    assert [row.ours for row in report.of("reset")] == ["params/head/kernel"]


def test_an_untied_head_that_is_missing_is_not_made_up(tmp_path: Path) -> None:
    def lacking(config: dict[str, Any], tensors: Arrays) -> None:
        del tensors["lm_head.weight"]

    assert not recognise(written(tmp_path, FORMAT, PLAIN, lacking)).has_head


@pytest.mark.parametrize(
    ("name", "values", "window"),
    [
        ("mistral", {"sliding_window": None}, 0),
        ("mistral", {"sliding_window": 7}, 7),
        ("mistral", {"sliding_window": ...}, 4096),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 7}, 0),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 0}, 7),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 28}, 0),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 7, "layer_types": ["sliding_attention"] * 2}, 7),
        ("plain", {"sliding_window": 7}, 0),
    ],
)
def test_windows(name: str, values: dict[str, Any], window: int, tmp_path: Path) -> None:
    found = recognise(written(tmp_path, FORMAT, CASES[name][0], config_with(**values)))
    assert dict(found.model.settings)["window"] == window


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("plain", {"hidden_act": "gelu"}, "hidden_act: 'gelu' is not supported"),
        ("plain", {"mlp_bias": True}, "mlp_bias: true is not supported without attention_bias"),
        ("plain", {"hidden_size": ...}, "hidden_size: expected an integer, got None"),
        ("plain", {"num_key_value_heads": 3}, "kv_heads: 3 heads of keys and values cannot be shared evenly"),
        ("plain", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_type: 'yarn' is not supported"),
        (
            "plain",
            {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
            "partial_rotary_factor: 0.5 is not supported",
        ),
        ("plain", {"rope_parameters": {"rope_theta": "high"}}, "rope_theta: expected a number, got 'high'"),
        ("plain", {"rope_parameters": [1.0]}, "rope_parameters: expected an object, got [1.0]"),
        (
            "plain",
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}},
            "factor: expected a number, got None",
        ),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
            "use_sliding_window: true is not supported where some layers have no window",
        ),
    ],
)
def test_configs_that_the_model_cannot_compute(name: str, values: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = written(tmp_path, FORMAT, CASES[name][0], config_with(**values))
    with pytest.raises(FileError) as caught:
        recognise(folder)
    assert str(caught.value).startswith(str(folder)) and message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("model.norm.weight", None, "has no tensor 'model.norm.weight'"),
        ("model.layers.0.self_attn.k_proj.weight", np.zeros((16, 16), np.float32), "which does not make"),
        ("model.layers.0.self_attn.q_proj.bias", np.zeros(16, np.float32), "that the model has no place for"),
    ],
)
def test_tensors_that_do_not_fit(name: str, array: np.ndarray | None, message: str, tmp_path: Path) -> None:
    def change(config: dict[str, Any], tensors: Arrays) -> None:
        tensors.pop(name, None)
        if array is not None:
            tensors[name] = array

    folder = written(tmp_path, FORMAT, PLAIN, change)
    with pytest.raises(FileError) as caught:
        recognise(folder).load()
    assert str(caught.value).startswith(str(folder)) and message in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "layer"}, "norm: Llama and its kin have 'rms' only, not 'layer'"),
        ({"position": "learned"}, "position: Llama and its kin have 'rotary' only, not 'learned'"),
        ({"mlp": "gelu"}, "mlp: Llama and its kin have 'swiglu' only, not 'gelu'"),
        ({"bias": "attention", "window": 4}, "bias: expected 'none' or 'qkv' with a window, got 'attention'"),
    ],
)
def test_what_none_of_them_is_cannot_be_written(changes: dict[str, Any], message: str) -> None:
    assert FORMAT.config is not None
    with pytest.raises(ConfigError) as caught:
        FORMAT.config(decoder(**{**LLAMA, **changes}))
    assert str(caught.value) == message

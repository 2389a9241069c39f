"""Adapter files written: what is in them, and that reading them back gives what computes the same."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapter_files import BERT, CLASSIFY, DEPTH, GPT2, HIDDEN, LORA, VIT, WIDTH, bert_lora, put, random_leaves
from safetensors import safe_open
from safetensors.numpy import load_file
from tiny import tiny_model

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.registry import METHODS
from tlx.errors import ConfigError, FileError
from tlx.fields import check_fields
from tlx.interop import hf_bert, hf_gpt2, hf_vit
from tlx.interop.peft_load import load_adapter, onto
from tlx.interop.peft_save import save_adapter
from tlx.models.registry import Model

Leaves = dict[str, np.ndarray]
FORMATS = {"bert": hf_bert.BERT, "vit": hf_vit.VIT, "decoder": hf_gpt2.GPT2}
LOW_RANK = {"rank": 2, "alpha": 6.0}


def adapted_by(method: str, model: Model = BERT, also: Any = (), **settings: Any) -> Adapted:
    checked = check_fields("method", METHODS[method].fields, settings)
    return Adapted(model, method, tuple(sorted(checked.items())), also)


def leaves_of(adapted: Adapted) -> dict[str, Any]:
    """Random leaves, base and adapters."""
    rng = np.random.default_rng(1)
    shapes = {path: leaf.shape for path, leaf in tree.flatten(adapted.abstract()).items()}
    base = tree.flatten(random_leaves(adapted.model))
    grown = {path: rng.normal(size=shape).astype(np.float32) for path, shape in shapes.items() if path not in base}
    return tree.unflatten({**base, **grown})


def saved(folder: Path, adapted: Adapted, leaves: dict[str, Any], **options: Any) -> tuple[dict[str, Any], Leaves]:
    """The config and the tensors that were written."""
    save_adapter(folder, adapted, leaves, FORMATS[adapted.model.name], **options)
    return json.loads((folder / "adapter_config.json").read_bytes()), load_file(folder / "adapter_model.safetensors")


def updates(adapted: Adapted, leaves: dict[str, Any]) -> Leaves:
    """What a low-rank method adds to each kernel."""
    model, flat = adapted.model, tree.flatten(leaves)
    before = {path.removeprefix("params/"): leaf for path, leaf in flat.items() if path.startswith("params/")}
    sides = {path.removeprefix("adapters/"): leaf for path, leaf in flat.items() if path.startswith("adapters/")}
    merge = METHODS[adapted.method].merge
    assert merge is not None and model.name
    after = merge(dict(adapted.settings), dict(before), sides)
    return {path: np.asarray(after[path] - before[path]) for path in before if after[path] is not before[path]}


SAME = {
    "lora": ("lora", {**LOW_RANK, "dropout": 0.25, "target": "embed/word|.*/(query|up)"}),
    "rslora": ("rslora", LOW_RANK),
    "dora": ("dora", LOW_RANK),
    "vera": ("vera", {"rank": 5, "d_start": 0.5}),
    "ia3": ("ia3", {}),
    "prompt": ("prompt", {"length": 3, "pool": "prompt"}),
    "ptuning_v2": ("ptuning_v2", {"length": 3}),
}


@pytest.mark.parametrize("case", SAME)
def test_what_is_written_is_read_back(case: str, tmp_path: Path) -> None:
    method, settings = SAME[case]
    adapted = adapted_by(method, **settings)
    leaves = leaves_of(adapted)
    saved(tmp_path / "out", adapted, leaves)
    again, found, _ = load_adapter(tmp_path / "out", hf_bert.BERT, BERT)
    assert again.method == method
    assert {**dict(adapted.settings), **settings} == {**dict(again.settings), **dict(adapted.settings)}
    own = {path: leaf for path, leaf in tree.flatten(leaves).items() if path.startswith(("adapters/", "params/head/"))}
    assert tree.flatten(found).keys() == own.keys()
    for path, leaf in tree.flatten(found).items():
        np.testing.assert_array_equal(leaf, own[path], err_msg=path)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


LIKE_LORA = {
    "lora_plus": ("lora_plus", {**LOW_RANK, "ratio": 4.0}, 2),
    "pissa": ("pissa", LOW_RANK, 4),
    "adalora": ("adalora", {**LOW_RANK, "target_rank": 1}, 2),
}


@pytest.mark.parametrize("case", LIKE_LORA)
def test_methods_that_amount_to_a_lora_are_written_as_one(case: str, tmp_path: Path) -> None:
    method, settings, rank = LIKE_LORA[case]
    adapted = adapted_by(method, **settings)
    leaves = leaves_of(adapted)
    config, _ = saved(tmp_path / "out", adapted, leaves)
    assert (config["peft_type"], config["r"], config["lora_alpha"] / rank) == ("LORA", rank, 3)
    again, found, _ = load_adapter(tmp_path / "out", hf_bert.BERT, BERT)
    want, got = updates(adapted, leaves), updates(again, onto(random_leaves(BERT), found))
    assert want.keys() == got.keys() and len(want) == 2 * DEPTH
    for path, update in want.items():
        np.testing.assert_allclose(got[path], update, rtol=0, atol=1e-4)


def test_prefixes_are_written_without_the_network_that_makes_them(tmp_path: Path) -> None:
    adapted = adapted_by("prefix", length=3, reparam=4)
    config, tensors = saved(tmp_path / "out", adapted, leaves_of(adapted))
    assert config["prefix_projection"] is False
    assert tensors["prompt_embeddings"].shape == (3, DEPTH * 2 * WIDTH)


def test_the_config_says_all_that_peft_asks_for(tmp_path: Path) -> None:
    adapted = adapted_by("lora", **LOW_RANK)
    config, tensors = saved(tmp_path / "out", adapted, leaves_of(adapted), base="google/bert")
    modules = [f"bert.encoder.layer.{i}.attention.self.{name}" for i in range(DEPTH) for name in ("query", "value")]
    want = {
        **{"peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": "google/bert", "revision": None},
        **{"auto_mapping": None, "inference_mode": True, "modules_to_save": ["classifier", "score"], "r": 2},
        **{"lora_alpha": 6, "lora_dropout": 0.0, "use_rslora": False, "use_dora": False, "init_lora_weights": True},
        **{"rank_pattern": {}, "alpha_pattern": {}, "target_modules": sorted(modules), "exclude_modules": None},
        **{"bias": "none", "fan_in_fan_out": False, "layers_to_transform": None, "layers_pattern": None},
    }
    assert config == want
    names = {f"base_model.model.{module}.lora_{name}.weight" for module in modules for name in "AB"}
    assert tensors.keys() == names | {f"base_model.model.classifier.{name}" for name in ("weight", "bias")}
    with safe_open(tmp_path / "out" / "adapter_model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_what_moved_besides_is_saved_whole(tmp_path: Path) -> None:
    adapted = adapted_by("lora", also=(("norm", ()),), **LOW_RANK)
    config, tensors = saved(tmp_path / "out", adapted, leaves_of(adapted))
    assert "bert.embeddings.LayerNorm" in config["modules_to_save"]
    assert len(config["modules_to_save"]) == 2 + 1 + 2 * DEPTH
    assert "base_model.model.bert.encoder.layer.1.output.LayerNorm.weight" in tensors
    _, found, _ = load_adapter(tmp_path / "out", hf_bert.BERT, BERT)
    norms = [path for path in tree.flatten(random_leaves(BERT)) if "norm" in path]
    assert {path for path in tree.flatten(found) if "norm" in path} == set(norms)


@pytest.mark.parametrize("newest", [True, False])
def test_vit_modules_are_called_as_one_release_or_the_other_does(newest: bool, tmp_path: Path) -> None:
    adapted = adapted_by("lora", VIT, **LOW_RANK, target=".*/(query|down)")
    config, tensors = saved(tmp_path / "out", adapted, leaves_of(adapted), newest=newest)
    down = ("vit.layers.1.mlp.fc2", "vit.encoder.layer.1.output.dense")
    query = ("vit.layers.1.attention.q_proj", "vit.encoder.layer.1.attention.attention.query")
    assert {down[not newest], query[not newest]} <= set(config["target_modules"])
    assert f"base_model.model.{query[not newest]}.lora_A.weight" in tensors
    assert (config["task_type"], config["modules_to_save"]) == (None, ["classifier"])
    _, found, _ = load_adapter(tmp_path / "out", hf_vit.VIT, VIT)
    assert len(tree.flatten(found)) == 2 * 2 * DEPTH + 2


def fused(tmp_path: Path, **settings: Any) -> tuple[dict[str, Any], Leaves, Leaves, Leaves]:
    """Config, tensors, and the updates of the adapted GPT-2 before and after."""
    adapted = adapted_by("lora", GPT2, **LOW_RANK, **settings)
    leaves = leaves_of(adapted)
    config, tensors = saved(tmp_path / "out", adapted, leaves)
    again, found, _ = load_adapter(tmp_path / "out", hf_gpt2.GPT2, GPT2)
    after = updates(again, onto(random_leaves(GPT2), found))
    return config, tensors, updates(adapted, leaves), after


def test_layers_that_are_one_there_share_the_ranks_of_all(tmp_path: Path) -> None:
    config, tensors, before, after = fused(tmp_path, target=".*/(query|value|up)")
    name = "transformer.h.{}.attn.c_attn"
    # As many layers have one rank as have the other.
    assert {config["r"], *config["rank_pattern"].values()} == {2, 4}
    assert {config["lora_alpha"], *config["alpha_pattern"].values()} == {6, 12}
    b = tensors[f"base_model.model.{name.format(0)}.lora_B.weight"]
    # Queries, keys and values, 8 of each; the ranks of queries, then those of values.
    assert not b[:8, 2:].any() and not b[8:16].any() and not b[16:, :2].any()
    assert b[:8, :2].all() and b[16:, 2:].all()
    assert config["fan_in_fan_out"] is True
    for path, update in before.items():
        np.testing.assert_allclose(after[path], update, rtol=0, atol=1e-4)
    assert all(np.abs(update).max() < 1e-6 for path, update in after.items() if path not in before)


def test_what_was_one_adapter_is_written_as_one_again(tmp_path: Path) -> None:
    rng, tensors = np.random.default_rng(0), {}
    for i in range(DEPTH):
        module = f"base_model.model.transformer.h.{i}.attn.c_attn"
        shapes = {"lora_A.weight": (2, 8), "lora_B.weight": (24, 2), "lora_magnitude_vector": (24,)}
        tensors |= {f"{module}.{name}": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 3, "use_dora": True}
    put(tmp_path / "in", {**config, "target_modules": ["c_attn"]}, tensors)
    adapted, found, _ = load_adapter(tmp_path / "in", hf_gpt2.GPT2, GPT2)
    config, again = saved(tmp_path / "out", adapted, onto(random_leaves(GPT2), found))
    assert (config["r"], config["lora_alpha"], config["rank_pattern"]) == (2, 3, {})
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(again[name], tensor)


def test_fused_layers_without_an_adapter_get_one_that_changes_nothing(tmp_path: Path) -> None:
    adapted = adapted_by("ia3", GPT2)
    leaves = leaves_of(adapted)
    _, tensors = saved(tmp_path / "ia3", adapted, leaves)
    factors = tensors["base_model.model.transformer.h.1.attn.c_attn.ia3_l"]
    assert factors.shape == (24, 1)
    np.testing.assert_array_equal(factors[:8], 1.0)
    np.testing.assert_array_equal(factors[8:16, 0], leaves["adapters"]["block_1"]["attention"]["key"]["ia3_out"])
    adapted = adapted_by("dora", GPT2, **LOW_RANK)
    leaves = leaves_of(adapted)
    _, tensors = saved(tmp_path / "dora", adapted, leaves)
    magnitudes = tensors["base_model.model.transformer.h.0.attn.c_attn.lora_magnitude_vector"]
    kernel = leaves["params"]["block_0"]["attention"]["key"]["kernel"]
    np.testing.assert_allclose(magnitudes[8:16], np.linalg.norm(kernel, axis=0), rtol=1e-6)


def test_an_adapter_with_ranks_of_its_own_keeps_its_function(tmp_path: Path) -> None:
    changes = {"rank_pattern": {"value": 2}, "alpha_pattern": {"value": 1}, "use_rslora": True}
    folder = put(tmp_path / "in", {**LORA, **changes}, bert_lora())
    adapted, found, _ = load_adapter(folder, hf_bert.BERT, BERT)
    leaves = onto(random_leaves(BERT), found)
    saved(tmp_path / "out", adapted, leaves)
    again, once_more, _ = load_adapter(tmp_path / "out", hf_bert.BERT, BERT)
    before, after = updates(adapted, leaves), updates(again, onto(random_leaves(BERT), once_more))
    for path, update in before.items():
        np.testing.assert_allclose(after[path], update, rtol=0, atol=1e-5)


SCANNED = tiny_model("bert", scan=True)
OF_SCANNED: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {**LOW_RANK, "target": "blocks/attention/query"}),
    "vera": ("vera", {"rank": 3, "target": ".*/up"}),
    "ia3": ("ia3", {}),
    "ptuning_v2": ("ptuning_v2", {"length": 3}),
}


@pytest.mark.parametrize("case", OF_SCANNED)
def test_scanned_blocks_are_written_one_by_one_and_read_back_as_one(case: str, tmp_path: Path) -> None:
    method, settings = OF_SCANNED[case]
    adapted = adapted_by(method, SCANNED, **settings)
    leaves = leaves_of(adapted)
    saved(tmp_path / "out", adapted, leaves)
    again, found, _ = load_adapter(tmp_path / "out", hf_bert.BERT, SCANNED)
    assert again.model == SCANNED
    own = {path: leaf for path, leaf in tree.flatten(leaves).items() if path.startswith(("adapters/", "params/head/"))}
    assert tree.flatten(found).keys() == own.keys()
    for path, leaf in tree.flatten(found).items():
        np.testing.assert_array_equal(leaf, own[path], err_msg=path)
    # The same file, with its blocks apart.
    _, blocks, _ = load_adapter(tmp_path / "out", hf_bert.BERT, BERT)
    assert any("/block_1/" in path for path in tree.flatten(blocks))


def test_a_norm_that_moved_in_scanned_blocks_is_saved_in_each(tmp_path: Path) -> None:
    adapted = adapted_by("lora", SCANNED, also=(("norm", ()),), **LOW_RANK)
    config, _ = saved(tmp_path / "out", adapted, leaves_of(adapted))
    assert len(config["modules_to_save"]) == 2 + 1 + 2 * DEPTH


def test_blocks_that_differ_cannot_be_scanned(tmp_path: Path) -> None:
    one = adapted_by("lora", target="block_0/attention/(query|value)|block_1/attention/query", **LOW_RANK)
    saved(tmp_path / "out", one, leaves_of(one))
    with pytest.raises(FileError, match="adapts its blocks in different ways; load it with scan = false"):
        load_adapter(tmp_path / "out", hf_bert.BERT, SCANNED)
    one = adapted_by("lora", target="block_1/attention/query", **LOW_RANK)
    saved(tmp_path / "half", one, leaves_of(one))
    with pytest.raises(FileError, match="does not fit the model: 'adapters/blocks/attention/query/lora_a'"):
        load_adapter(tmp_path / "half", hf_bert.BERT, SCANNED)


REFUSED: dict[str, tuple[Adapted, str]] = {
    "another method": (adapted_by("ssf"), "name: 'ssf' has no form in PEFT's files .*; merge it first"),
    "all leaves": (adapted_by("full"), "name: 'full' has no form in PEFT's files .*; merge it first"),
    "two adapters": (
        adapted_by("lora", also=(("ia3", tuple(sorted({"outputs": "", "inputs": ""}.items()))),), **LOW_RANK),
        "also: 'ia3' computes something that no file of PEFT has a place for",
    ),
    "the class token pooled": (adapted_by("prompt", length=3), "pool: expected 'prompt'"),
    "positions not moved": (adapted_by("ptuning_v2", length=3, offset_positions=False), "offset_positions: expected"),
    "some layers": (adapted_by("ptuning_v2", length=3, target="block_0/.*"), "target: expected prefixes of one width"),
    "prompts for images": (adapted_by("prompt", VIT, length=3, pool="prompt"), "name: PEFT has no 'prompt'"),
    "both sides": (adapted_by("ia3", outputs=".*/down", inputs=".*/down"), "inputs: both sides of"),
    "a layer that is trained": (
        adapted_by("lora", also=(("bitfit", (("biases", "all"),)),), **LOW_RANK),
        "target: 'bert.encoder.layer.0.attention.self.query' has an adapter and is trained itself",
    ),
    "one vector for three layers": (
        adapted_by("vera", GPT2, rank=3),
        "target: 'transformer.h.0.attn.c_attn' is one module of several layers, for which VeRA has one vector",
    ),
    "one input for three layers": (
        adapted_by("ia3", GPT2, inputs=".*/query", outputs=".*/up"),
        "inputs: 'transformer.h.0.attn.c_attn' has no inputs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_form_there_is_refused(case: str, tmp_path: Path) -> None:
    adapted, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message):
        save_adapter(tmp_path / "out", adapted, leaves_of(adapted), FORMATS[adapted.model.name])
    assert list(tmp_path.iterdir()) == []


def test_a_layer_that_is_no_module_there_is_refused(tmp_path: Path) -> None:
    adapted = adapted_by("lora", **LOW_RANK)
    layout = hf_bert.BERT.layout(dict(BERT.settings), BERT.num_classes)
    less = dataclasses.replace(hf_bert.BERT, name="less", layout=lambda *_: type(layout)(layout.tensors[:10]))
    with pytest.raises(ConfigError, match="target: 'block_1/attention/query' is no module of its own in 'less'"):
        save_adapter(tmp_path / "out", adapted, leaves_of(adapted), less)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = put(tmp_path / "out", CLASSIFY, {"mine": np.zeros(HIDDEN, np.float32)})
    adapted = adapted_by("lora", **LOW_RANK)
    with pytest.raises(FileError, match="out: "):
        save_adapter(folder, adapted, leaves_of(adapted), hf_bert.BERT)
    assert [*load_file(folder / "adapter_model.safetensors")] == ["mine"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]

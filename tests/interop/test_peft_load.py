"""Adapter files read: which leaf each tensor becomes, what is folded into what, and what is refused."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from adapter_files import (
    BERT,
    CLASSIFY,
    DEPTH,
    GPT2,
    HIDDEN,
    LORA,
    VIT,
    VOCAB,
    WIDTH,
    Tensors,
    bert_lora,
    head,
    in_bert,
    low_rank,
    numbers,
    put,
    random_leaves,
)
from tiny import batch

from tlx import tree
from tlx.errors import FileError
from tlx.interop import hf_bert, hf_gpt2, hf_vit, timm_vit
from tlx.interop.peft_load import load_adapter, onto
from tlx.models.registry import Model

Q0 = in_bert(0, "attention.self.query")


def loaded(folder: Path, config: dict[str, Any], tensors: Tensors, **changes: Any) -> tuple[Any, Tensors, Any]:
    """The adapted model, its leaves by path, and the report."""
    adapted, leaves, report = load_adapter(put(folder, {**config, **changes}, tensors), hf_bert.BERT, BERT)
    return adapted, tree.flatten(leaves), report


def test_lora_is_transposed_and_its_head_comes_along(tmp_path: Path) -> None:
    tensors = bert_lora()
    adapted, leaves, report = loaded(tmp_path, LORA, tensors, lora_dropout=0.1)
    target = "(block_0|block_1)/(attention/query|attention/value)"
    settings = {"rank": 2, "alpha": 6.0, "dropout": 0.1, "target": target}
    assert (adapted.method, dict(adapted.settings), adapted.also) == ("lora", settings, ())
    assert len(leaves) == 4 * DEPTH + 2
    for i in range(DEPTH):
        for name in ("query", "value"):
            module = in_bert(i, f"attention.self.{name}")
            for leaf, theirs in (("lora_a", "lora_A"), ("lora_b", "lora_B")):
                got = leaves[f"adapters/block_{i}/attention/{name}/{leaf}"]
                np.testing.assert_array_equal(got, tensors[f"{module}.{theirs}.weight"].T)
    np.testing.assert_array_equal(leaves["params/head/kernel"], tensors["base_model.model.classifier.weight"].T)
    assert report.line() == "read 10 leaves, reset none, left out none"


def test_a_loaded_lora_computes_what_changed_weights_do(tmp_path: Path) -> None:
    tensors, base = bert_lora(), random_leaves(BERT)
    adapted, leaves, _ = loaded(tmp_path, LORA, tensors, use_rslora=True)
    changed = {**tree.flatten(base), **{path: leaf for path, leaf in leaves.items() if path.startswith("params/")}}
    for i in range(DEPTH):
        for name in ("query", "value"):
            module = in_bert(i, f"attention.self.{name}")
            delta = tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"] * 6 / np.sqrt(2)
            changed[f"params/block_{i}/attention/{name}/kernel"] = (
                changed[f"params/block_{i}/attention/{name}/kernel"] + delta.T
            )
    x = batch(BERT)["input"]
    whole = jax.tree.map(jnp.asarray, onto(base, tree.unflatten(leaves)))
    got = jax.jit(lambda variables, x: adapted.apply(variables, x)[0])(whole, x)
    want = jax.jit(BERT.module.apply)(jax.tree.map(jnp.asarray, tree.unflatten(changed)), x)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    assert np.ptp(want) > 1


def test_ranks_are_filled_up_and_scales_folded_into_b(tmp_path: Path) -> None:
    tensors = {**bert_lora(), **low_rank(Q0, rank=4), **low_rank(in_bert(0, "intermediate.dense"), outputs=HIDDEN)}
    patterns = {"rank_pattern": {"layer.0.attention.self.query": 4}, "alpha_pattern": {r"intermediate\.dense": 1}}
    target = r".*\.(query|value)|.*\.0\.intermediate\.dense"
    adapted, leaves, report = loaded(tmp_path, LORA, tensors, target_modules=target, **patterns)
    settings = dict(adapted.settings)
    assert settings["rank"] == 4
    scales = {"block_0/attention/query": 6 / 4, "block_0/mlp/up": 1 / 2, "block_1/attention/value": 6 / 2}
    names = {"attention/query": "attention.self.query", "mlp/up": "intermediate.dense"}
    names["attention/value"] = "attention.self.value"
    for path, scale in scales.items():
        module = in_bert(int(path[6]), names[path[8:]])
        want = scale * (tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"]).T
        a, b = (leaves[f"adapters/{path}/lora_{name}"] for name in "ab")
        assert a.shape[1] == 4
        np.testing.assert_allclose(settings["alpha"] / settings["rank"] * a @ b, want, rtol=1e-5, atol=1e-6)
    said = {row.ours: row.what for row in report.rows}
    assert said["adapters/block_0/mlp/up/lora_b"] == "rank 2 filled up to 4, multiplied by 0.166667"
    assert said["adapters/block_0/attention/query/lora_a"] == "copied"


def test_dora_has_magnitudes_and_may_be_scaled_by_the_root(tmp_path: Path) -> None:
    magnitudes = {f"{in_bert(i, 'attention.self.query')}.lora_magnitude_vector": numbers(WIDTH) for i in range(DEPTH)}
    tensors = {name: tensor for name, tensor in bert_lora().items() if "value" not in name} | magnitudes
    adapted, leaves, _ = loaded(tmp_path, LORA, tensors, use_dora=True, use_rslora=True, target_modules=["query"])
    assert adapted.method == "dora"
    # Ours divides by the rank.
    assert dict(adapted.settings)["alpha"] / 2 == pytest.approx(6 / np.sqrt(2))
    np.testing.assert_array_equal(leaves["adapters/block_1/attention/query/lora_magnitude"], numbers(WIDTH))


def test_half_precision_is_widened(tmp_path: Path) -> None:
    tensors = {name: tensor.astype(np.float16) for name, tensor in bert_lora().items()}
    _, leaves, report = loaded(tmp_path, LORA, tensors)
    assert {leaf.dtype for leaf in leaves.values()} == {np.dtype(np.float32)}
    assert {row.what for row in report.rows} == {"float16 to float32"}


def test_an_embedding_has_other_names_and_no_transposition_of_its_own(tmp_path: Path) -> None:
    words = "base_model.model.bert.embeddings.word_embeddings"
    own = {f"{words}.lora_embedding_A": numbers(2, VOCAB), f"{words}.lora_embedding_B": numbers(WIDTH, 2)}
    _, leaves, _ = loaded(tmp_path, LORA, {**head(), **own}, target_modules=["word_embeddings"])
    np.testing.assert_array_equal(leaves["adapters/embed/word/lora_a"], numbers(2, VOCAB).T)
    np.testing.assert_array_equal(leaves["adapters/embed/word/lora_b"], numbers(WIDTH, 2).T)


def test_adalora_becomes_a_lora_whose_values_are_in_a(tmp_path: Path) -> None:
    config = {**LORA, "peft_type": "ADALORA", "init_r": 3, "target_r": 2, "target_modules": ["query"], "r": 8}
    tensors = head()
    for i, rank in ((0, 3), (1, 1)):
        shapes = {"lora_A": (rank, WIDTH), "lora_B": (WIDTH, rank), "lora_E": (rank, 1)}
        module = in_bert(i, "attention.self.query")
        tensors |= {f"{module}.{name}": numbers(*shape, seed=i) for name, shape in shapes.items()}
    adapted, leaves, _ = loaded(tmp_path, config, tensors)
    settings = dict(adapted.settings)
    assert (adapted.method, settings["rank"]) == ("lora", 3)
    for i in range(DEPTH):
        a, b, e = (tensors[f"{in_bert(i, 'attention.self.query')}.lora_{name}"] for name in "ABE")
        ours = (leaves[f"adapters/block_{i}/attention/query/lora_{name}"] for name in "ab")
        want = (b @ (a * e) * 6 / (3 + 1e-5)).T
        np.testing.assert_allclose(settings["alpha"] / 3 * np.matmul(*ours), want, rtol=1e-5, atol=1e-6)


def test_ia3_scales_what_the_config_says_and_the_rest_by_one(tmp_path: Path) -> None:
    tensors = head()
    for i in range(DEPTH):
        tensors |= {f"{in_bert(i, 'attention.self.key')}.ia3_l": numbers(WIDTH, 1)}
        tensors |= {f"{in_bert(i, 'output.dense')}.ia3_l": numbers(1, HIDDEN)}
    config = {**CLASSIFY, "peft_type": "IA3", "target_modules": ["key", r"output.dense"]}
    config |= {"exclude_modules": ["attention.output.dense"], "feedforward_modules": ["output.dense"]}
    adapted, leaves, _ = loaded(tmp_path, config, tensors)
    both = {"outputs": "(block_0|block_1)/attention/key", "inputs": "(block_0|block_1)/mlp/down"}
    assert dict(adapted.settings) == both
    np.testing.assert_array_equal(leaves["adapters/block_1/attention/key/ia3_out"], numbers(WIDTH, 1)[:, 0])
    np.testing.assert_array_equal(leaves["adapters/block_1/mlp/down/ia3_in"], numbers(1, HIDDEN)[0])
    keys = {name: tensor for name, tensor in tensors.items() if "dense" not in name}
    _, leaves, report = loaded(tmp_path, config, keys, target_modules=["key"])
    np.testing.assert_array_equal(leaves["adapters/block_0/mlp/down/ia3_in"], np.ones(HIDDEN))
    assert {row.ours for row in report.of("reset")} == {f"adapters/block_{i}/mlp/down/ia3_in" for i in range(DEPTH)}


def test_vera_reads_the_matrices_it_cannot_draw(tmp_path: Path) -> None:
    config = {**CLASSIFY, "peft_type": "VERA", "r": 3, "target_modules": ["query"], "save_projection": True}
    tensors = {**head(), "base_model.vera_A": numbers(3, WIDTH), "base_model.vera_B": numbers(WIDTH, 3)}
    for i in range(DEPTH):
        module = in_bert(i, "attention.self.query")
        tensors |= {f"{module}.vera_lambda_b": numbers(WIDTH), f"{module}.vera_lambda_d": numbers(3)}
    adapted, leaves, _ = loaded(tmp_path, config, tensors)
    assert adapted.method == "vera"
    np.testing.assert_array_equal(leaves["adapters/vera/a"], numbers(3, WIDTH).T)
    np.testing.assert_array_equal(leaves["adapters/block_0/attention/query/vera_d"], numbers(3))
    with pytest.raises(FileError, match="save_projection: expected true"):
        loaded(tmp_path, config, tensors, save_projection=False)


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "P_TUNING"])
def test_prompts_are_pooled_as_in_peft_and_leave_room_for_themselves(kind: str, tmp_path: Path) -> None:
    config = {**CLASSIFY, "peft_type": kind, "num_virtual_tokens": 12, "encoder_hidden_size": 8}
    tensors = {**head("base_model."), "prompt_embeddings": numbers(12, WIDTH)}
    adapted, leaves, _ = loaded(tmp_path, config, tensors)
    assert dict(adapted.settings)["pool"] == "prompt"
    # 16 positions, of which 12 are the prompts'.
    assert adapted.model.input_shape == (4,)
    assert leaves.keys() == {"adapters/embed/word/prompt", "params/head/kernel", "params/head/bias"}
    np.testing.assert_array_equal(leaves["adapters/embed/word/prompt"], numbers(12, WIDTH))


def test_prefixes_lie_layer_by_layer_and_keys_before_values(tmp_path: Path) -> None:
    config = {**CLASSIFY, "peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "prefix_projection": True}
    rows = numbers(3, DEPTH * 2 * WIDTH)
    adapted, leaves, _ = loaded(tmp_path, config, {**head("base_model."), "prompt_embeddings": rows})
    assert (adapted.method, dict(adapted.settings)["offset_positions"]) == ("ptuning_v2", True)
    for i in range(DEPTH):
        for s, path in enumerate(("key/prefix_key", "value/prefix_value")):
            start = (2 * i + s) * WIDTH
            np.testing.assert_array_equal(
                leaves[f"adapters/block_{i}/attention/{path}"], rows[:, start : start + WIDTH]
            )


def test_further_modules_that_were_trained_take_the_place_of_the_bases_own(tmp_path: Path) -> None:
    pooler = "base_model.model.bert.pooler.dense"
    own = {f"{pooler}.weight": numbers(WIDTH, WIDTH), f"{pooler}.bias": numbers(WIDTH)}
    adapted, leaves, _ = loaded(tmp_path, LORA, {**bert_lora(), **own}, modules_to_save=["pooler", "classifier"])
    np.testing.assert_array_equal(leaves["params/pool/dense/kernel"], numbers(WIDTH, WIDTH).T)
    moving = {path for path, label in adapted.labels().items() if label == "train"}
    assert moving == {"params/pool/dense/kernel", "params/pool/dense/bias"}


def test_biases_may_come_along(tmp_path: Path) -> None:
    own = {f"{in_bert(i, 'attention.self.query')}.base_layer.bias": numbers(WIDTH, seed=i) for i in range(DEPTH)}
    tensors = {name: tensor for name, tensor in bert_lora().items() if "value" not in name}
    copy = {"base_model.model.classifier.original_module.bias": numbers(3)}
    config = {**LORA, "target_modules": ["query"], "bias": "lora_only"}
    _, leaves, report = loaded(tmp_path, config, {**tensors, **own, **copy})
    np.testing.assert_array_equal(leaves["params/block_1/attention/query/bias"], numbers(WIDTH, seed=1))
    assert [row.theirs for row in report.of("left out")] == [*copy]


def test_fused_layers_have_one_a_and_a_b_each(tmp_path: Path) -> None:
    width, config = 8, {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "use_dora": True}
    tensors: Tensors = {}
    for i in range(2):
        module = f"base_model.model.transformer.h.{i}.attn.c_attn"
        tensors |= low_rank(module, inputs=width, outputs=3 * width, seed=i)
        tensors[f"{module}.lora_magnitude_vector"] = numbers(3 * width, seed=i)
    folder = put(tmp_path, {**config, "target_modules": ["c_attn"], "fan_in_fan_out": True}, tensors)
    adapted, nested, report = load_adapter(folder, hf_gpt2.GPT2, GPT2)
    leaves, names = tree.flatten(nested), ("query", "key", "value")
    assert (
        dict(adapted.settings)["target"] == f"(block_0|block_1)/({'|'.join(f'attention/{n}' for n in sorted(names))})"
    )
    assert len(report.rows) == len(leaves) == 18
    for k, name in enumerate(names):
        own = slice(k * width, (k + 1) * width)
        theirs = tensors["base_model.model.transformer.h.1.attn.c_attn.lora_B.weight"]
        a = tensors["base_model.model.transformer.h.1.attn.c_attn.lora_A.weight"]
        np.testing.assert_array_equal(leaves[f"adapters/block_1/attention/{name}/lora_a"], a.T)
        np.testing.assert_array_equal(leaves[f"adapters/block_1/attention/{name}/lora_b"], theirs[own].T)
        magnitude = numbers(3 * width, seed=1)[own]
        np.testing.assert_array_equal(leaves[f"adapters/block_1/attention/{name}/lora_magnitude"], magnitude)


NAMINGS = {
    "newest": ("vit.layers.{}.attention.q_proj", ["q_proj"]),
    "on disk": ("vit.encoder.layer.{}.attention.attention.query", ["query"]),
    "bare": ("layers.{}.attention.q_proj", r"layers\.\d+\.attention\.q_proj"),
    "bare on disk": ("encoder.layer.{}.attention.attention.query", ["attention.query"]),
}


@pytest.mark.parametrize("naming", NAMINGS)
def test_vit_adapters_of_either_naming_are_the_same(naming: str, tmp_path: Path) -> None:
    module, target = NAMINGS[naming]
    tensors: Tensors = {}
    for i in range(DEPTH):
        tensors |= low_rank(f"base_model.model.{module.format(i)}", seed=i)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": target}
    _, nested, _ = load_adapter(put(tmp_path, config, tensors), hf_vit.VIT, VIT)
    leaves = tree.flatten(nested)
    assert leaves.keys() == {f"adapters/block_{i}/attention/query/lora_{n}" for i in range(DEPTH) for n in "ab"}
    np.testing.assert_array_equal(leaves["adapters/block_1/attention/query/lora_a"], numbers(2, WIDTH, seed=1).T)
    lacking = {name: tensor for name, tensor in tensors.items() if f".{DEPTH - 1}." not in name}
    with pytest.raises(FileError, match="has no adapter of .*which target_modules names"):
        load_adapter(put(tmp_path, config, lacking), hf_vit.VIT, VIT)


def test_a_convolution_over_patches_is_a_dense_layer_here(tmp_path: Path) -> None:
    module = "base_model.model.patch_embed.proj"
    tensors = {f"{module}.lora_A.weight": numbers(2, 1, 4, 4), f"{module}.lora_B.weight": numbers(WIDTH, 2, 1, 1)}
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["proj"]}
    config["exclude_modules"] = r".*attn\.proj"
    _, nested, _ = load_adapter(put(tmp_path, config, tensors), timm_vit.TIMM, VIT)
    leaves = tree.flatten(nested)
    want = numbers(2, 1, 4, 4).transpose(2, 3, 1, 0).reshape(16, 2)
    np.testing.assert_array_equal(leaves["adapters/embed/patches/lora_a"], want)
    np.testing.assert_array_equal(leaves["adapters/embed/patches/lora_b"], numbers(WIDTH, 2, 1, 1)[:, :, 0, 0].T)


CONFIG_ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "another type": ({"peft_type": "LOHA"}, "peft_type: 'LOHA' is not supported"),
    "no type": ({"peft_type": None}, "peft_type: None is not supported"),
    "an unknown field": ({"use_kasa": True}, "use_kasa: True is not supported"),
    "a bias of B": ({"lora_bias": True}, "lora_bias: True is not supported"),
    "single tokens": ({"trainable_token_indices": [1]}, "trainable_token_indices"),
    "layers used twice": ({"layer_replication": [[0, 2]]}, "layer_replication"),
    "a changed base": ({"init_lora_weights": "pissa"}, "init_lora_weights: 'pissa' changes the weights of the base"),
    "no number": ({"lora_alpha": "6"}, "lora_alpha: expected a number, got '6'"),
    "no rank": ({"r": 0}, "r: expected integers ≥ 1, got 0"),
    "a rank that is no integer": ({"rank_pattern": {"query": 1.5}}, "rank_pattern: expected integers ≥ 1, got 1.5"),
    "an alpha that is no number": ({"alpha_pattern": {"query": None}}, "alpha_pattern: expected numbers, got None"),
    "a pattern that is none": ({"rank_pattern": {"(": 1}}, "rank_pattern: is no regular expression"),
    "patterns in a list": ({"rank_pattern": ["query"]}, "rank_pattern: expected an object"),
    "a target that is no pattern": ({"target_modules": "("}, "target_modules: is no regular expression"),
    "targets of another type": ({"target_modules": [3]}, "target_modules: expected a list of names"),
    "biases of another kind": ({"bias": "some"}, "bias: 'some' is not supported"),
    "a scale beyond ours": ({"lora_alpha": -6}, "asks for what 'lora' here is not"),
    "a module that is not there": ({"modules_to_save": ["decoder"]}, "modules_to_save: the model has no module"),
    "a rate above ours": ({"lora_dropout": 0.95}, "dropout: expected"),
}


@pytest.mark.parametrize("case", CONFIG_ERRORS)
def test_a_field_that_cannot_be_followed_is_named(case: str, tmp_path: Path) -> None:
    changes, message = CONFIG_ERRORS[case]
    with pytest.raises(FileError, match=r"adapter_config\.json: ") as error:
        loaded(tmp_path, LORA, bert_lora(), **changes)
    assert message in str(error.value) and "\n" not in str(error.value)


def without(tensors: Tensors, ending: str) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(ending)}


TENSOR_ERRORS: dict[str, tuple[Tensors, str]] = {
    "bare keys": (
        {name.removeprefix("base_model.model."): tensor for name, tensor in bert_lora().items()},
        "does not begin with 'base_model.model.'",
    ),
    "another model": (
        {**bert_lora(), **low_rank("base_model.model.model.layers.0.self_attn.q_proj")},
        "adapts 'model.layers.0.self_attn.q_proj', which hf-bert does not have",
    ),
    "a lacking layer": (
        without(without(bert_lora(), f"{Q0[17:]}.lora_A.weight"), f"{Q0[17:]}.lora_B.weight"),
        "has no adapter of 'bert.encoder.layer.0.attention.self.query', which target_modules names",
    ),
    "a layer too many": (
        {**bert_lora(), **low_rank(in_bert(1, "attention.self.key"))},
        "holds an adapter of 'bert.encoder.layer.1.attention.self.key', which target_modules does not name",
    ),
    "a lacking half": (without(bert_lora(), f"{Q0[17:]}.lora_B.weight"), f"has no tensor '{Q0}.lora_B.weight'"),
    "a lacking head": (without(bert_lora(), "classifier.weight"), "has no tensor 'base_model.model.classifier.weight'"),
    "a tensor too many": ({**bert_lora(), "base_model.model.extra": numbers(2)}, "'base_model.model.extra'"),
    "a magnitude too many": (
        {**bert_lora(), f"{Q0}.lora_magnitude_vector": numbers(WIDTH)},
        f"has a tensor '{Q0}.lora_magnitude_vector' that the model has no place for",
    ),
    "an undeclared tensor of the base": (
        {**bert_lora(), "base_model.model.bert.pooler.dense.bias": numbers(WIDTH)},
        "which modules_to_save does not name",
    ),
    "another number of classes": ({**bert_lora(), **head(classes=4)}, "which does not make 'params/head/kernel'"),
    "another rank": ({**bert_lora(), **low_rank(Q0, rank=3)}, f"tensor '{Q0}.lora_A.weight' has shape (3, 16)"),
    "another width": ({**bert_lora(), **low_rank(Q0, inputs=8)}, "has shape (2, 8)"),
    "integers": ({**bert_lora(), f"{Q0}.lora_A.weight": np.ones((2, WIDTH), np.int32)}, "expected floating-point"),
    "nothing": (head(), "holds no tensor of an adapter of type LORA"),
}


@pytest.mark.parametrize("case", TENSOR_ERRORS)
def test_a_tensor_that_does_not_fit_is_named(case: str, tmp_path: Path) -> None:
    tensors, message = TENSOR_ERRORS[case]
    with pytest.raises(FileError, match=r"adapter_model\.safetensors: ") as error:
        loaded(tmp_path, LORA, tensors)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"adapter_config\.json: there is no such file"):
        load_adapter(tmp_path, hf_bert.BERT, BERT)
    put(tmp_path, LORA, bert_lora())
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(FileError, match=r"adapter_model\.safetensors: there is no such file"):
        load_adapter(tmp_path, hf_bert.BERT, BERT)
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(FileError, match="expected a JSON object"):
        load_adapter(tmp_path, hf_bert.BERT, BERT)


def test_a_rank_beyond_the_layers_width_is_refused(tmp_path: Path) -> None:
    rank = WIDTH + 1
    tensors = {
        **head(),
        **{k: v for i in range(DEPTH) for k, v in low_rank(in_bert(i, "attention.self.query"), rank).items()},
    }
    with pytest.raises(FileError, match="rank: expected at most 16"):
        loaded(tmp_path, LORA, tensors, r=rank, target_modules=["query"])


def refused(folder: Path, model: Model, format: Any, config: dict[str, Any], tensors: Tensors, message: str) -> None:
    with pytest.raises(FileError, match=message):
        load_adapter(put(folder, config, tensors), format, model)


def test_prompts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    config = {"peft_type": "PROMPT_TUNING", "task_type": "SEQ_CLS", "num_virtual_tokens": 4}
    tensors = {**head("base_model."), "prompt_embeddings": numbers(5, WIDTH)}
    refused(tmp_path, BERT, hf_bert.BERT, config, tensors, r"has shape \(5, 16\)")
    twice = {**config, "num_transformer_submodules": 2}
    refused(tmp_path, BERT, hf_bert.BERT, twice, tensors, "num_transformer_submodules: 2 is not supported")
    none = {**config, "num_virtual_tokens": None}
    refused(tmp_path, BERT, hf_bert.BERT, none, tensors, "num_virtual_tokens: expected an integer ≥ 1, got None")
    many = {**config, "num_virtual_tokens": 16}
    refused(tmp_path, BERT, hf_bert.BERT, many, tensors, "asks for what 'prompt' here is not")


def test_a_bin_file_is_read_by_the_reader_that_runs_nothing(tmp_path: Path) -> None:
    put(tmp_path, LORA, bert_lora())
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(FileError, match=r"adapter_model\.bin: is not a PyTorch state dict"):
        load_adapter(tmp_path, hf_bert.BERT, BERT)

"""Hugging Face's BERT and RoBERTa folders without Hugging Face: names old and new, every head, every misfit.

What transformers makes of them is tested in `tests/parity/test_bert_family.py`.
"""

import functools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny import CLASSES, differing, tiny_model

from tlx import tree
from tlx.errors import ConfigError, FileError
from tlx.interop import layout as layouts
from tlx.interop.format import Format
from tlx.interop.hf_bert import BERT
from tlx.interop.hf_roberta import ROBERTA
from tlx.interop.released import recognise, resized
from tlx.models.registry import Model

VOCAB, PAD = 50, 1
AFTER_PAD = {"pad": PAD, "after_pad": True, "epsilon": 1e-5}
Arrays = dict[str, np.ndarray]


def model_of(name: str, **changes: Any) -> Model:
    """A tiny model of a family, with a head."""
    settings = {**(AFTER_PAD if name == "roberta" else {}), **changes}
    model = tiny_model("bert", **settings)
    return (
        replace(model, num_classes=VOCAB, input_shape=(16,))
        if settings.get("head") == "mlm"
        else replace(model, input_shape=(16,))
    )


# The class that transformers has for each, and the model.
CASES: dict[str, tuple[Format, Model]] = {
    "BertForSequenceClassification": (BERT, model_of("bert", gelu="tanh", attention_dropout=0.2, head_dropout=0.3)),
    "BertForTokenClassification": (BERT, model_of("bert", head="tokens")),
    "BertForMaskedLM": (BERT, model_of("bert", head="mlm")),
    "BertModel": (BERT, model_of("bert", pool="mean", normalise=True)),
    "RobertaForSequenceClassification": (ROBERTA, model_of("roberta", pool="first_token", head="classify_deep")),
    "RobertaForTokenClassification": (ROBERTA, model_of("roberta", pool="first_token", head="tokens")),
    "RobertaForMaskedLM": (ROBERTA, model_of("roberta", pool="first_token", head="mlm")),
    "RobertaModel": (ROBERTA, model_of("roberta", pool="first_token")),
}


@functools.cache
def leaves(model: Model) -> dict[str, Any]:
    """Random leaves, so that no two tensors are alike."""
    rng = np.random.default_rng(0)
    shapes = tree.flatten(jax.eval_shape(model.init, 0))
    return tree.unflatten({path: rng.normal(size=leaf.shape).astype(np.float32) for path, leaf in shapes.items()})


def tensors_of(format: Format, model: Model) -> Arrays:
    return layouts.save(format.layout(dict(model.settings), model.num_classes), leaves(model))


def folder_with(folder: Path, config: dict[str, Any], tensors: Arrays, beside: dict[str, Any] | None = None) -> Path:
    for name, content in {"config.json": config, **(beside or {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def case(name: str, folder: Path) -> tuple[Path, Model]:
    """A folder as written for a case, and the model."""
    format, model = CASES[name]
    assert format.config is not None
    return folder_with(folder, format.config(model), tensors_of(format, model), format.beside(model)), model


def plain(folder: Path, change: Callable[[dict[str, Any], Arrays], None] = lambda config, tensors: None) -> Path:
    """A sequence classifier's folder after a change of its config or its tensors."""
    model = model_of("bert")
    assert BERT.config is not None
    config, tensors = BERT.config(model), tensors_of(BERT, model)
    change(config, tensors)
    return folder_with(folder, config, tensors)


def renamed(tensors: Arrays, pattern: str, template: str) -> None:
    for name in list(tensors):
        tensors[re.sub(pattern, template, name)] = tensors.pop(name)


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_read_back(name: str, tmp_path: Path) -> None:
    folder, model = case(name, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [name]
    found = recognise(folder)
    assert (found.model, found.has_head) == (model, True)
    read, report = found.load()
    assert differing(leaves(model), read) == set()
    assert {row.what for row in report.rows} == {"copied"}


def test_the_table_of_positions_and_the_head_of_a_roberta(tmp_path: Path) -> None:
    folder, _ = case("RobertaForSequenceClassification", tmp_path)
    assert json.loads((folder / "config.json").read_text())["max_position_embeddings"] == 16 + PAD + 1
    shapes = recognise(folder).checkpoint.tensors.shapes
    assert shapes["roberta.embeddings.position_embeddings.weight"] == (18, 16)
    assert shapes["classifier.dense.weight"] == (16, 16) and shapes["classifier.out_proj.weight"] == (CLASSES, 16)
    assert not any("pooler" in tensor for tensor in shapes)


def test_old_names_buffers_and_a_missing_prefix(tmp_path: Path) -> None:
    def old(config: dict[str, Any], tensors: Arrays) -> None:
        renamed(tensors, r"LayerNorm\.weight", "LayerNorm.gamma")
        renamed(tensors, r"LayerNorm\.bias", "LayerNorm.beta")
        tensors["bert.embeddings.position_ids"] = np.arange(16, dtype=np.int64)[None]

    def bare(config: dict[str, Any], tensors: Arrays) -> None:
        old(config, tensors)
        renamed(tensors, r"^bert\.", "")
        config["architectures"] = ["BertModel"]

    for i, change in enumerate((old, bare)):
        read, report = recognise(plain(tmp_path / str(i), change)).load()
        assert differing(leaves(model_of("bert")), read) == set()
        assert not report.of("left out")


def test_a_config_that_does_not_name_its_model_type(tmp_path: Path) -> None:
    def unnamed(config: dict[str, Any], tensors: Arrays) -> None:
        del config["model_type"], config["architectures"]

    def bare(config: dict[str, Any], tensors: Arrays) -> None:
        unnamed(config, tensors)
        renamed(tensors, r"^bert\.", "")

    def of_one_segment(config: dict[str, Any], tensors: Arrays) -> None:
        bare(config, tensors)
        tensors["embeddings.token_type_embeddings.weight"] = np.ones((1, 16), np.float32)

    for i, change in enumerate((unnamed, bare)):
        assert recognise(plain(tmp_path / str(i), change)).model == model_of("bert")
    with pytest.raises(FileError, match="these tensors is of no known architecture"):
        recognise(plain(tmp_path / "2", of_one_segment))


def test_a_bare_encoder_has_no_head_and_may_have_no_pooler(tmp_path: Path) -> None:
    def bare(config: dict[str, Any], tensors: Arrays) -> None:
        for name in ("classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"):
            del tensors[name]

    found = recognise(plain(tmp_path, bare))
    assert not found.has_head
    read, report = found.load()
    assert [row.ours for row in report.of("reset")] == [
        f"params/{stage}/{name}" for stage in ("pool/dense", "head") for name in ("kernel", "bias")
    ]
    assert np.std(read["params"]["pool"]["dense"]["kernel"]) > 0.01
    assert np.all(np.isfinite(read["params"]["head"]["kernel"]))


def test_another_head_than_the_file_has(tmp_path: Path) -> None:
    """A masked language model becomes a classifier whose head is fresh, and scanned at that."""
    folder, model = case("BertForMaskedLM", tmp_path)
    found = recognise(folder)
    changed = replace(resized(found.model, head="classify", pool="mean", scan=True), num_classes=4)
    read, report = found.load(changed, reset=("params/head/.*",))
    assert {row.theirs.split(".")[0] for row in report.of("left out")} == {"cls"}
    assert read["params"]["head"]["kernel"].shape == (16, 4)
    own = tree.flatten(leaves(model))
    for path, leaf in tree.flatten(read["params"]["blocks"]).items():
        np.testing.assert_array_equal(leaf, [own[f"params/block_{i}/{path}"] for i in range(2)])
    with pytest.raises(FileError, match=r"has no tensor 'classifier\.weight'"):
        found.load(changed)


def test_heads_beside_the_one_that_is_read(tmp_path: Path) -> None:
    """As `BertForPreTraining` has them, with the tied tensors that old files hold."""
    format, model = CASES["BertForMaskedLM"]
    assert format.config is not None
    tensors, config = tensors_of(format, model), {**format.config(model), "architectures": ["BertForPreTraining"]}
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].copy()
    tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].copy()
    for name in ("cls.seq_relationship", "bert.pooler.dense"):
        tensors |= {f"{name}.weight": np.ones((2, 16), np.float32), f"{name}.bias": np.ones(2, np.float32)}
    read, report = recognise(folder_with(tmp_path / "fine", config, tensors)).load()
    assert differing(leaves(model), read) == set()
    assert len(report.of("left out")) == 4
    tensors["cls.predictions.decoder.weight"][3, 3] += 1
    with pytest.raises(FileError, match=r"'cls\.predictions\.decoder\.weight' should equal 'bert\.embeddings\.word_"):
        recognise(folder_with(tmp_path / "bad", config, tensors)).load()


# Strictness


def dropped(tensors: Arrays, name: str) -> None:
    del tensors[name]


def misspelt(tensors: Arrays, name: str) -> None:
    tensors[f"{name}s"] = tensors.pop(name)


def flattened(tensors: Arrays, name: str) -> None:
    tensors[name] = tensors[name].reshape(-1)[:-1]


def counted(tensors: Arrays, name: str) -> None:
    tensors[name] = tensors[name].astype(np.int32)


@pytest.mark.parametrize("change", [dropped, misspelt, flattened, counted])
@pytest.mark.parametrize(
    "name", ["BertForSequenceClassification", "BertForMaskedLM", "RobertaForSequenceClassification"]
)
def test_each_tensor_that_does_not_fit_is_named(name: str, change: Callable[[Arrays, str], None]) -> None:
    format, model = CASES[name]
    layout = format.layout(dict(model.settings), model.num_classes)
    fresh = jax.eval_shape(model.init, 0)
    for tensor in tensors_of(format, model):
        tensors = tensors_of(format, model)
        change(tensors, tensor)
        with pytest.raises(FileError) as caught:
            layouts.load(layout, "FILE", tensors, fresh)
        assert str(caught.value).startswith("FILE: ") and f"'{tensor}" in str(caught.value)


def test_a_head_that_is_half_there_is_no_missing_head(tmp_path: Path) -> None:
    for name in ("classifier.weight", "classifier.bias", "bert.pooler.dense.weight"):
        folder = plain(tmp_path / name, lambda config, tensors, name=name: dropped(tensors, name))
        with pytest.raises(FileError, match=f"^{re.escape(str(folder))}: has no tensor '{re.escape(name)}'"):
            recognise(folder).load()
    extra = plain(tmp_path / "extra", lambda config, tensors: tensors.update(extra=np.ones(2, np.float32)))
    with pytest.raises(FileError, match="has a tensor 'extra' that the model has no place for$"):
        recognise(extra).load()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_act", "relu", r"hidden_act: 'relu' is not supported \(one of gelu, gelu_new, gelu_pytorch_tanh\)"),
        ("position_embedding_type", "relative_key", r"position_embedding_type: 'relative_key' is not supported.*"),
        ("is_decoder", True, r"is_decoder: True is not supported \(one of False\)"),
        ("hidden_size", "16", "hidden_size: expected an integer, got '16'"),
        ("hidden_size", None, "hidden_size: expected an integer, got None"),
        ("layer_norm_eps", "tiny", "layer_norm_eps: expected a number, got 'tiny'"),
        ("classifier_dropout", "no", "classifier_dropout: expected a number, got 'no'"),
    ],
)
def test_config_values_that_the_model_cannot_have(key: str, value: Any, message: str, tmp_path: Path) -> None:
    folder = plain(tmp_path, lambda config, tensors: config.update({key: value}))
    with pytest.raises(FileError, match=rf"^{re.escape(str(folder / 'config.json'))}: {message}$"):
        recognise(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_attention_heads", 3, "heads: 3 heads do not divide the width 16"),
        ("hidden_dropout_prob", 1.5, "settings.dropout: expected a number from 0 to 0.9, got 1.5"),
        ("pad_token_id", 77, "pad: expected a token id below 50, got 77"),
    ],
)
def test_configs_that_contradict_themselves(key: str, value: Any, message: str, tmp_path: Path) -> None:
    folder = plain(tmp_path, lambda config, tensors: config.update({key: value}))
    with pytest.raises(FileError, match=f"^{re.escape(f'{folder}: describes a bert that cannot be: {message}')}$"):
        recognise(folder)


def test_a_config_that_promises_more_than_the_file_holds(tmp_path: Path) -> None:
    deeper = plain(tmp_path / "deeper", lambda config, tensors: config.update(num_hidden_layers=3))
    with pytest.raises(FileError, match=r"has no tensor 'bert\.encoder\.layer\.2\.attention\.self\.query\.weight'"):
        recognise(deeper).load()
    shallower = plain(tmp_path / "shallower", lambda config, tensors: config.update(num_hidden_layers=1))
    with pytest.raises(FileError, match=r"has a tensor 'bert\.encoder\.layer\.1\..* that the model has no place for"):
        recognise(shallower).load()
    wider = plain(tmp_path / "wider", lambda config, tensors: config.update(vocab_size=51))
    with pytest.raises(FileError, match=r"'bert\.embeddings\.word_embeddings\.weight' has shape \(50, 16\)"):
        recognise(wider).load()


# Writing


@pytest.mark.parametrize(
    ("format", "changes", "message"),
    [
        (BERT, AFTER_PAD, "after_pad: Bert models of transformers have false"),
        (ROBERTA, {}, "after_pad: Roberta models of transformers have true"),
        (
            BERT,
            {"head": "classify_deep"},
            "head: transformers has no Bert class with 'classify_deep' on 'first' pooling",
        ),
        (
            BERT,
            {"normalise": True},
            "head: transformers has no Bert class with 'classify' on normalised 'first' pooling",
        ),
    ],
)
def test_models_that_transformers_does_not_have(format: Format, changes: dict[str, Any], message: str) -> None:
    assert format.config is not None
    with pytest.raises(ConfigError, match=f"^{message}$"):
        format.config(tiny_model("bert", **changes))


# Sentence encoders


def sentence(folder: Path, pooling: dict[str, Any], modules: Any = (), longest: Any = 12) -> Path:
    types = [{"type": f"sentence_transformers.models.{name}"} for name in modules]
    beside = {"1_Pooling/config.json": pooling, "sentence_bert_config.json": {"max_seq_length": longest}}
    plain(folder)
    for name, content in {**beside, "modules.json": types}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("pooling", "modules", "expected"),
    [
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
            ("Transformer", "Pooling"),
            ("mean", False),
        ),
        ({"pooling_mode_cls_token": True}, ("Transformer", "Pooling", "Normalize"), ("first_token", True)),
        ({"pooling_mode": "mean", "embedding_dimension": 16}, (), ("mean", False)),
    ],
)
def test_how_a_sentence_encoder_pools(
    pooling: dict[str, Any], modules: tuple[str, ...], expected: tuple[str, bool], tmp_path: Path
) -> None:
    found = recognise(sentence(tmp_path, pooling, modules))
    settings = dict(found.model.settings)
    assert (settings["pool"], settings["normalise"]) == expected and found.model.input_shape == (12,)
    assert [row.theirs for row in found.load()[1].of("left out")] == [
        f"bert.pooler.dense.{name}" for name in ("bias", "weight")
    ]


@pytest.mark.parametrize(
    ("pooling", "modules", "longest", "message"),
    [
        ({"pooling_mode_max_tokens": True}, (), 12, "config.json: pooling 'max_tokens' is not supported .*"),
        (
            {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True},
            (),
            12,
            "config.json: pooling 'max_tokens and mean_tokens' is not supported .*",
        ),
        ({"word_embedding_dimension": 16}, (), 12, "config.json: pooling 'None' is not supported .*"),
        ({"pooling_mode": "mean"}, ("Transformer", "Dense"), 12, "modules.json: module 'Dense' is not supported .*"),
        ({"pooling_mode": "mean"}, (), "long", "max_seq_length: expected an integer, got 'long'"),
    ],
)
def test_sentence_encoders_that_the_model_cannot_be(
    pooling: dict[str, Any], modules: tuple[str, ...], longest: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(FileError, match=message):
        recognise(sentence(tmp_path, pooling, modules, longest))

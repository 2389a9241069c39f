"""BERT as Hugging Face writes it: `BertModel` and what is built on it."""

from collections.abc import Mapping
from typing import Any

from tlx.interop.files import Checkpoint
from tlx.interop.format import Description, Format, Settings, only, wanted
from tlx.interop.layout import Layout, Tensor, dense, norm
from tlx.models.registry import Model

# In old files a norm's weight is called gamma and its bias beta, and files of the bare encoder have no prefix.
SPELLINGS = (
    (r"(.*LayerNorm)\.gamma", r"\1.weight"),
    (r"(.*LayerNorm)\.beta", r"\1.bias"),
    (r"((?:embeddings|encoder|pooler)\..*)", r"bert.\1"),
)
BUFFERS = (r"bert\.embeddings\.(position_ids|token_type_ids)",)
# What a silent config means, as in transformers' BertConfig.
EPSILON, DROPOUT, POSITIONS, TYPES, PAD = 1e-12, 0.1, 512, 2, 0


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the config says so."""
    return checkpoint.config.get("model_type") == "bert"


def describe(checkpoint: Checkpoint) -> Description:
    """Settings from `config.json`; the head from the tensors.

    Raises:
      FileError: a value is missing, of another type, or one that the model cannot compute.
    """
    only(checkpoint, "hidden_act", ("gelu",), "gelu")
    only(checkpoint, "position_embedding_type", ("absolute",), "absolute")
    only(checkpoint, "is_decoder", (False,), False)
    settings = {
        "vocab": wanted(checkpoint, "vocab_size", int),
        "positions": wanted(checkpoint, "max_position_embeddings", int, POSITIONS),
        "types": wanted(checkpoint, "type_vocab_size", int, TYPES),
        "width": wanted(checkpoint, "hidden_size", int),
        "depth": wanted(checkpoint, "num_hidden_layers", int),
        "heads": wanted(checkpoint, "num_attention_heads", int),
        "hidden": wanted(checkpoint, "intermediate_size", int),
        "epsilon": wanted(checkpoint, "layer_norm_eps", float, EPSILON),
        "dropout": wanted(checkpoint, "hidden_dropout_prob", float, DROPOUT),
        "pad": wanted(checkpoint, "pad_token_id", int, PAD),
    }
    shape = checkpoint.tensors.shapes.get("classifier.weight", (0,))
    return Description(settings, shape[0], (settings["positions"],))


def layout(settings: Settings, num_classes: int) -> Layout:
    """The tensors of `BertForSequenceClassification`."""
    tensors = [
        *encoder(settings, "bert"),
        *dense("bert.pooler.dense", "params/pool/dense"),
        *dense("classifier", "params/head"),
    ]
    unused = (r"cls\..*",)
    return Layout(tuple(tensors), SPELLINGS, BUFFERS, unused, may_lack=("params/pool/.*",))


def encoder(settings: Settings, prefix: str) -> list[Tensor]:
    """The embedding and the blocks."""
    names = {"word_embeddings": "word", "position_embeddings": "position", "token_type_embeddings": "type"}
    tensors = [
        Tensor(f"{prefix}.embeddings.{theirs}.weight", (f"params/embed/{ours}/embedding",))
        for theirs, ours in names.items()
    ]
    tensors += norm(f"{prefix}.embeddings.LayerNorm", "params/embed/norm")
    for i in range(settings["depth"]):
        tensors += block(f"{prefix}.encoder.layer.{i}", f"params/block_{i}")
    return tensors


def block(theirs: str, ours: str) -> list[Tensor]:
    """One transformer block."""
    tensors: list[Tensor] = []
    for name in ("query", "key", "value"):
        tensors += dense(f"{theirs}.attention.self.{name}", f"{ours}/attention/{name}")
    tensors += dense(f"{theirs}.attention.output.dense", f"{ours}/attention/out")
    tensors += norm(f"{theirs}.attention.output.LayerNorm", f"{ours}/norm1")
    tensors += dense(f"{theirs}.intermediate.dense", f"{ours}/mlp/up")
    tensors += dense(f"{theirs}.output.dense", f"{ours}/mlp/down")
    return [*tensors, *norm(f"{theirs}.output.LayerNorm", f"{ours}/norm2")]


def config(model: Model) -> dict[str, Any]:
    """The `config.json` of `BertForSequenceClassification`."""
    labels = {str(i): f"LABEL_{i}" for i in range(model.num_classes)}
    return {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        **sizes(dict(model.settings)),
        "id2label": labels,
        "label2id": {label: int(i) for i, label in labels.items()},
    }


def sizes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the config says of the encoder."""
    return {
        "vocab_size": settings["vocab"],
        "max_position_embeddings": settings["positions"],
        "type_vocab_size": settings["types"],
        "hidden_size": settings["width"],
        "num_hidden_layers": settings["depth"],
        "num_attention_heads": settings["heads"],
        "intermediate_size": settings["hidden"],
        "hidden_act": "gelu",
        "layer_norm_eps": settings["epsilon"],
        "hidden_dropout_prob": settings["dropout"],
        "attention_probs_dropout_prob": settings["dropout"],
        "pad_token_id": settings["pad"],
    }


BERT = Format("hf-bert", "bert", recognises, describe, layout, config)

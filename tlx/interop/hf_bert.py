"""BERT as Hugging Face writes it: `BertModel` and what is built on it, among that sentence-transformers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlx.errors import ConfigError
from tlx.interop import sentence
from tlx.interop.files import Checkpoint
from tlx.interop.format import Description, Format, Settings, only, wanted
from tlx.interop.layout import Layout, Tensor, dense, norm
from tlx.models.registry import Model

# What transformers calls the activations that the model has.
GELU = {"gelu": "exact", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
ARCHITECTURE = re.compile(r"\w+?(ForSequenceClassification|ForTokenClassification|ForMaskedLM|ForPreTraining)")


@dataclass(frozen=True)
class Family:
    """Where BERT and its descendants differ in their files.

    Args:
      prefix: of the encoder's tensors.
      classes: what the names of transformers' classes begin with.
      model_types: what a config may call itself; the first is written.
      lm: names in the masked language model's head: `dense`, `norm`, `bias`, and `decoder`, which is tied.
      other_heads: patterns of names of heads that the model has no place for.
      deep: whether the classifier of sequences is of two layers, on the first token as it is.
      pad: id of the padding where the config is silent.
    """

    prefix: str
    classes: str
    model_types: tuple[str, ...]
    lm: Mapping[str, str]
    other_heads: tuple[str, ...]
    deep: bool
    pad: int

    @property
    def spellings(self) -> tuple[tuple[str, str], ...]:
        """In old files a norm's weight is called gamma and its bias beta; files of the bare encoder have no prefix."""
        return (
            (r"(.*LayerNorm)\.gamma", r"\1.weight"),
            (r"(.*LayerNorm)\.beta", r"\1.bias"),
            (r"((?:embeddings|encoder|pooler)\..*)", rf"{self.prefix}.\1"),
        )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """By the config, or by the prefix where an old config does not say."""
        if "model_type" in checkpoint.config:
            return checkpoint.config["model_type"] in self.model_types
        table, shapes = "embeddings.token_type_embeddings.weight", checkpoint.tensors.shapes
        # Without a prefix it may be either, but RoBERTa knows one segment type only.
        bare = not self.deep and shapes.get(table, (0,))[0] > 1
        return "hidden_size" in checkpoint.config and (bare or f"{self.prefix}.{table}" in shapes)

    def head_of(self, checkpoint: Checkpoint) -> tuple[str, int]:
        """The field `head` and the number of outputs, 0 where the file has no head."""
        shapes = checkpoint.tensors.shapes
        names = checkpoint.config.get("architectures")
        found = ARCHITECTURE.fullmatch(str(names[0])) if isinstance(names, list) and names else None
        kind = found[1] if found else ""
        of_lm = any(name.startswith(self.lm["bias"].removesuffix("bias")) for name in shapes)
        if kind in ("ForMaskedLM", "ForPreTraining") or (not kind and of_lm):
            return ("mlm", wanted(checkpoint, "vocab_size", int)) if of_lm else (self._classifier, 0)
        head = "tokens" if kind == "ForTokenClassification" else self._classifier
        if not kind and "classifier.weight" in shapes:
            head = "classify"
        last = "classifier.out_proj" if head == "classify_deep" else "classifier"
        # Either will do: which one is missing is for the layout to say.
        shape = shapes.get(f"{last}.bias") or shapes.get(f"{last}.weight")
        return head, shape[0] if shape else 0

    @property
    def _classifier(self) -> str:
        return "classify_deep" if self.deep else "classify"

    def describe(self, checkpoint: Checkpoint) -> Description:
        """Settings from `config.json`, and what lies beside it.

        Raises:
          FileError: a value is missing, of another type, or one that the model cannot compute.
        """
        head, classes = self.head_of(checkpoint)
        settings = {**encoder_settings(checkpoint, self.pad, self.deep), "head": head}
        settings |= {"pool": "first_token" if self.deep else "first"}
        if found := sentence.pooling(checkpoint):
            settings |= {"head": "classify", **found}
            classes = classes if head == "classify" else 0
        length = min(settings["positions"], sentence.length(checkpoint) or settings["positions"])
        return Description(settings, classes, (length,))

    def layout(self, settings: Settings, num_classes: int) -> Layout:
        """The tensors of the class of transformers that has this head."""
        head, pooler = settings["head"], f"{self.prefix}.pooler.dense"
        tensors, unused = encoder(settings, self.prefix), [*self.other_heads]
        tied: dict[str, str] = {}
        if settings["pool"] == "first" and head in ("classify", "classify_deep"):
            tensors += dense(pooler, "params/pool/dense")
        else:
            unused.append(rf"{re.escape(pooler)}\..*")
        lm = re.escape(self.lm["bias"].removesuffix("bias"))
        if head == "mlm":
            tensors += dense(self.lm["dense"], "params/head/dense") + norm(self.lm["norm"], "params/head/norm")
            tensors.append(Tensor(self.lm["bias"], ("params/head/bias",)))
            words = f"{self.prefix}.embeddings.word_embeddings.weight"
            tied = {f"{self.lm['decoder']}.weight": words, f"{self.lm['decoder']}.bias": self.lm["bias"]}
            unused.append(r"classifier\..*")
        elif head == "classify_deep":
            tensors += dense("classifier.dense", "params/head/dense") + dense("classifier.out_proj", "params/head")
            unused += [rf"{lm}.*", r"classifier\.(weight|bias)"]
        else:
            tensors += dense("classifier", "params/head")
            unused += [rf"{lm}.*", r"classifier\.(dense|out_proj)\..*"]
        buffers = (rf"{self.prefix}\.embeddings\.(position_ids|token_type_ids)",)
        may_lack = ("params/pool/.*",)
        return Layout(tuple(tensors), self.spellings, buffers, tuple(unused), may_lack, tuple(tied.items()))

    def config(self, model: Model) -> dict[str, Any]:
        """The `config.json` of the class of transformers that has this head.

        A model with a pooling that no such class has is written as the bare encoder, with its classifier among the
        tensors and the pooling in files of sentence-transformers.

        Raises:
          ConfigError: transformers has no class that computes this.
        """
        settings = dict(model.settings)
        if settings["after_pad"] != self.deep:
            raise ConfigError("after_pad", f"{self.classes} models of transformers have {str(self.deep).lower()}")
        config: dict[str, Any] = {
            "architectures": [f"{self.classes}{self._kind(settings)}"],
            "model_type": self.model_types[0],
        }
        config |= encoder_config(settings)
        if settings["head"] != "mlm":
            names = {i: f"LABEL_{i}" for i in range(model.num_classes)}
            config |= {"id2label": {str(i): name for i, name in names.items()}}
            config |= {"label2id": {name: i for i, name in names.items()}}
        return config

    def beside(self, model: Model) -> dict[str, Any]:
        """Files of sentence-transformers, where the config alone does not say how the model pools."""
        return sentence.files(model) if self._kind(dict(model.settings)) == "Model" else {}

    def _kind(self, settings: Settings) -> str:
        """What the name of the class ends with."""
        head, pool, normalise = settings["head"], settings["pool"], settings["normalise"]
        if head in ("tokens", "mlm"):
            return {"tokens": "ForTokenClassification", "mlm": "ForMaskedLM"}[head]
        if head == self._classifier and pool == ("first_token" if self.deep else "first") and not normalise:
            return "ForSequenceClassification"
        if head == "classify_deep" or pool == "first":
            what = f"{'normalised ' if normalise else ''}{pool!r} pooling"
            raise ConfigError("head", f"transformers has no {self.classes} class with {head!r} on {what}")
        return "Model"


def encoder_settings(checkpoint: Checkpoint, pad: int, after_pad: bool) -> dict[str, Any]:
    """What `config.json` says of the embedding and the blocks.

    Args:
      checkpoint: whose config.
      pad: what a config that is silent on it means.
      after_pad: whether positions begin after the padding's.

    Raises:
      FileError: a value is missing, of another type, or one that the model cannot compute.
    """
    for name, value in {
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
    }.items():
        only(checkpoint, name, (value,), value)
    dropout = wanted(checkpoint, "hidden_dropout_prob", float, 0.1)
    rates = {"attention_dropout": wanted(checkpoint, "attention_probs_dropout_prob", float, 0.1)}
    if checkpoint.config.get("classifier_dropout") is not None:
        rates["head_dropout"] = wanted(checkpoint, "classifier_dropout", float)
    pad = wanted(checkpoint, "pad_token_id", int, pad)
    rows = wanted(checkpoint, "max_position_embeddings", int, 512)
    return {
        "vocab": wanted(checkpoint, "vocab_size", int),
        "positions": rows - (pad + 1 if after_pad else 0),
        "types": wanted(checkpoint, "type_vocab_size", int, 2),
        "width": wanted(checkpoint, "hidden_size", int),
        "depth": wanted(checkpoint, "num_hidden_layers", int),
        "heads": wanted(checkpoint, "num_attention_heads", int),
        "hidden": wanted(checkpoint, "intermediate_size", int),
        "gelu": GELU[only(checkpoint, "hidden_act", tuple(GELU), "gelu")],
        # The classes' own default, also RoBERTa's; its released checkpoints say 1e-5.
        "epsilon": wanted(checkpoint, "layer_norm_eps", float, 1e-12),
        "dropout": dropout,
        **{name: rate for name, rate in rates.items() if rate != dropout},
        "pad": pad,
        "after_pad": after_pad,
    }


def encoder_config(settings: Settings) -> dict[str, Any]:
    """What `config.json` says of the embedding and the blocks; the inverse of `encoder_settings`."""
    dropout = settings["dropout"]
    rates = {name: settings[name] for name in ("attention_dropout", "head_dropout")}
    rates = {name: dropout if rate < 0 else rate for name, rate in rates.items()}
    return {
        "vocab_size": settings["vocab"],
        "max_position_embeddings": settings["positions"] + (settings["pad"] + 1 if settings["after_pad"] else 0),
        "type_vocab_size": settings["types"],
        "hidden_size": settings["width"],
        "num_hidden_layers": settings["depth"],
        "num_attention_heads": settings["heads"],
        "intermediate_size": settings["hidden"],
        "hidden_act": {"exact": "gelu", "tanh": "gelu_new"}[settings["gelu"]],
        "layer_norm_eps": settings["epsilon"],
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": rates["attention_dropout"],
        "classifier_dropout": rates["head_dropout"],
        "pad_token_id": settings["pad"],
    }


def encoder(settings: Settings, prefix: str) -> list[Tensor]:
    """The tensors of the embedding and the blocks."""
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
    """The tensors of one block."""
    tensors: list[Tensor] = []
    for name in ("query", "key", "value"):
        tensors += dense(f"{theirs}.attention.self.{name}", f"{ours}/attention/{name}")
    tensors += dense(f"{theirs}.attention.output.dense", f"{ours}/attention/out")
    tensors += norm(f"{theirs}.attention.output.LayerNorm", f"{ours}/norm1")
    tensors += dense(f"{theirs}.intermediate.dense", f"{ours}/mlp/up")
    tensors += dense(f"{theirs}.output.dense", f"{ours}/mlp/down")
    return [*tensors, *norm(f"{theirs}.output.LayerNorm", f"{ours}/norm2")]


def as_format(name: str, family: Family) -> Format:
    """The format of a family."""
    return Format(name, "bert", family.recognises, family.describe, family.layout, family.config, family.beside)


BERT = as_format(
    "hf-bert",
    Family(
        prefix="bert",
        classes="Bert",
        model_types=("bert",),
        lm={
            "dense": "cls.predictions.transform.dense",
            "norm": "cls.predictions.transform.LayerNorm",
            "bias": "cls.predictions.bias",
            "decoder": "cls.predictions.decoder",
        },
        other_heads=(r"cls\.seq_relationship\..*", r"qa_outputs\..*"),
        deep=False,
        pad=0,
    ),
)

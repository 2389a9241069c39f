"""GPT-2 as Hugging Face writes it: `GPT2Model` and what is built on it."""

from typing import Any

from tlx.errors import ConfigError
from tlx.interop import causal
from tlx.interop.files import Checkpoint
from tlx.interop.format import Description, Format, Settings, only, wanted
from tlx.interop.layout import Layout, Tensor, norm
from tlx.models.decoder import CLASSIFY
from tlx.models.registry import Model

# The first files, and those of the bare model, have no prefix.
SPELLINGS = ((r"((?:wte|wpe|h\.\d+|ln_f)\..*)", r"transformer.\1"),)
# The causal mask, and the number that stood for "not allowed".
BUFFERS = (r"transformer\.h\.\d+\.attn\.(bias|masked_bias)",)
UNUSED = (r"multiple_choice_head\..*",)
ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
WORDS = "transformer.wte.weight"
# What the model has wherever it is this format's.
FIXED = {"position": "learned", "norm": "layer", "bias": "all", "window": 0, "kv_heads": 0, "head_width": 0}
# What a silent config means, as in transformers' GPT2Config.
POSITIONS, EPSILON, DROPOUT = 1024, 1e-5, 0.1


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the config says so."""
    return checkpoint.config.get("model_type") == "gpt2"


def describe(checkpoint: Checkpoint) -> Description:
    """Settings from `config.json`; the head from the tensors and the name of the class that was saved.

    Of the three dropout rates, that of the sublayers' outputs is taken.

    Raises:
      FileError: a value is missing, of another type, or one that the model cannot compute.
    """
    only(checkpoint, "scale_attn_weights", (True,), True)
    only(checkpoint, "scale_attn_by_inverse_layer_idx", (False,), False)
    only(checkpoint, "add_cross_attention", (False,), False)
    width = wanted(checkpoint, "n_embd", int)
    settings = {
        **FIXED,
        **causal.special_tokens(checkpoint),
        "vocab": wanted(checkpoint, "vocab_size", int),
        "positions": wanted(checkpoint, "n_positions", int, POSITIONS),
        "width": width,
        "depth": wanted(checkpoint, "n_layer", int),
        "heads": wanted(checkpoint, "n_head", int),
        "hidden": 4 * width if checkpoint.config.get("n_inner") is None else wanted(checkpoint, "n_inner", int),
        "mlp": ACTIVATIONS[only(checkpoint, "activation_function", tuple(ACTIVATIONS), "gelu_new")],
        "epsilon": wanted(checkpoint, "layer_norm_epsilon", float, EPSILON),
        "dropout": wanted(checkpoint, "resid_pdrop", float, DROPOUT),
        "tied": wanted(checkpoint, "tie_word_embeddings", bool, True),
    }
    return causal.described(checkpoint, settings)


def layout(settings: Settings, num_classes: int) -> Layout:
    """The tensors of `GPT2LMHeadModel` or `GPT2ForSequenceClassification`."""
    tensors = [
        Tensor(WORDS, ("params/embed/word/embedding",)),
        Tensor("transformer.wpe.weight", ("params/embed/position/embedding",)),
    ]
    for i in range(settings["depth"]):
        tensors += block(f"transformer.h.{i}", f"params/block_{i}")
    tensors += norm("transformer.ln_f", "params/pool/norm")
    return causal.layout(settings, tensors, WORDS, SPELLINGS, BUFFERS, UNUSED)


def block(theirs: str, ours: str) -> list[Tensor]:
    """One transformer block; its kernels lie as ours do, [in, out], queries, keys and values side by side."""
    parts = [f"{ours}/attention/{name}" for name in ("query", "key", "value")]
    tensors = [
        *norm(f"{theirs}.ln_1", f"{ours}/norm1"),
        Tensor(
            f"{theirs}.attn.c_attn.weight",
            tuple(f"{part}/kernel" for part in parts),
            "i (part o) -> part i o",
            sizes=(("part", 3),),
        ),
        Tensor(
            f"{theirs}.attn.c_attn.bias",
            tuple(f"{part}/bias" for part in parts),
            "(part o) -> part o",
            sizes=(("part", 3),),
        ),
        *norm(f"{theirs}.ln_2", f"{ours}/norm2"),
    ]
    for name, part in (("attn.c_proj", "attention/out"), ("mlp.c_fc", "mlp/up"), ("mlp.c_proj", "mlp/down")):
        tensors.append(Tensor(f"{theirs}.{name}.weight", (f"{ours}/{part}/kernel",)))
        tensors.append(Tensor(f"{theirs}.{name}.bias", (f"{ours}/{part}/bias",)))
    return tensors


def config(model: Model) -> dict[str, Any]:
    """The `config.json` of `GPT2LMHeadModel` or `GPT2ForSequenceClassification`.

    Raises:
      ConfigError: the model has a part that GPT-2 lacks.
    """
    settings = dict(model.settings)
    same = {"kv_heads": settings["heads"], "head_width": settings["width"] // settings["heads"]}
    for name, value in FIXED.items():
        if settings[name] not in (value, same.get(name, value)):
            raise ConfigError(name, f"GPT-2 has {value!r} only, not {settings[name]!r}")
    activations = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    if settings["mlp"] not in activations:
        raise ConfigError("mlp", f"GPT-2 has {' or '.join(sorted(activations))} only, not {settings['mlp']!r}")
    return {
        "architectures": ["GPT2ForSequenceClassification" if settings["head"] == CLASSIFY else "GPT2LMHeadModel"],
        "model_type": "gpt2",
        **causal.common(model),
        "n_positions": settings["positions"],
        "n_embd": settings["width"],
        "n_layer": settings["depth"],
        "n_head": settings["heads"],
        "n_inner": settings["hidden"],
        "activation_function": activations[settings["mlp"]],
        "layer_norm_epsilon": settings["epsilon"],
        "resid_pdrop": settings["dropout"],
        "embd_pdrop": settings["dropout"],
        "attn_pdrop": settings["dropout"],
    }


GPT2 = Format("hf-gpt2", "decoder", recognises, describe, layout, config)

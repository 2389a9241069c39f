"""Llama as Hugging Face writes it, and its kin: Qwen2, which has more biases, and Mistral, which has a window."""

from collections.abc import Mapping
from typing import Any

from tlx.errors import ConfigError, FileError
from tlx.interop import causal
from tlx.interop.files import Checkpoint
from tlx.interop.format import Description, Format, Settings, only, wanted
from tlx.interop.layout import Layout, Tensor, dense
from tlx.models.decoder import BIASES, CLASSIFY
from tlx.models.registry import Model

LLAMA_TYPE, QWEN2_TYPE, MISTRAL_TYPE = "llama", "qwen2", "mistral"
CLASSES = {LLAMA_TYPE: "Llama", QWEN2_TYPE: "Qwen2", MISTRAL_TYPE: "Mistral"}
# Files of the bare model have no prefix.
SPELLINGS = ((r"((?:embed_tokens|layers|norm)\..*)", r"model.\1"),)
BUFFERS = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)
WORDS = "model.embed_tokens.weight"
FIXED = {"position": "rotary", "norm": "rms", "mlp": "swiglu"}
# What a silent config means, as in transformers' configs of the three.
POSITIONS = {LLAMA_TYPE: 2048, QWEN2_TYPE: 32768, MISTRAL_TYPE: 131072}
EPSILON, THETA, WINDOW = 1e-6, 10000.0, 4096
# Numbers of `rope_parameters`, and the fields they fill.
SCALING = {
    "none": {},
    "linear": {"factor": "rope_factor"},
    "llama3": {
        "factor": "rope_factor",
        "low_freq_factor": "rope_low",
        "high_freq_factor": "rope_high",
        "original_max_position_embeddings": "rope_original",
    },
}


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the config says so."""
    return checkpoint.config.get("model_type") in CLASSES


def describe(checkpoint: Checkpoint) -> Description:
    """Settings from `config.json`; the head from the tensors and the name of the class that was saved.

    The rate of dropout is 0, as in all of these models' training.

    Raises:
      FileError: a value is missing, of another type, or one that the model cannot compute.
    """
    only(checkpoint, "hidden_act", ("silu",), "silu")
    kind = str(checkpoint.config["model_type"])
    width, heads = wanted(checkpoint, "hidden_size", int), wanted(checkpoint, "num_attention_heads", int)
    head_width = _unless_null(checkpoint, "head_dim", 0)
    settings = {
        **FIXED,
        **causal.special_tokens(checkpoint),
        **_rope(checkpoint),
        "vocab": wanted(checkpoint, "vocab_size", int),
        "positions": wanted(checkpoint, "max_position_embeddings", int, POSITIONS[kind]),
        "width": width,
        "depth": wanted(checkpoint, "num_hidden_layers", int),
        "heads": heads,
        "kv_heads": _unless_null(checkpoint, "num_key_value_heads", heads),
        "head_width": 0 if head_width * heads == width else head_width,
        "hidden": wanted(checkpoint, "intermediate_size", int),
        "epsilon": wanted(checkpoint, "rms_norm_eps", float, EPSILON),
        "bias": _biases(checkpoint, kind),
        "window": _window(checkpoint, kind),
        "tied": wanted(checkpoint, "tie_word_embeddings", bool, False),
        "dropout": 0.0,
    }
    return causal.described(checkpoint, settings)


def _unless_null(checkpoint: Checkpoint, name: str, default: int) -> int:
    """An integer of the config, or what its absence means."""
    value: int = default if checkpoint.config.get(name) is None else wanted(checkpoint, name, int)
    return value


def _biases(checkpoint: Checkpoint, kind: str) -> str:
    if kind != LLAMA_TYPE:
        return "qkv" if kind == QWEN2_TYPE else "none"
    in_attention, in_mlp = (wanted(checkpoint, name, bool, False) for name in ("attention_bias", "mlp_bias"))
    if in_mlp and not in_attention:
        raise FileError(checkpoint.path / "config.json", "mlp_bias: true is not supported without attention_bias")
    return "all" if in_mlp else "attention" if in_attention else "none"


def _window(checkpoint: Checkpoint, kind: str) -> int:
    """How far each layer sees; all see equally far."""
    width = checkpoint.config.get("sliding_window", WINDOW)
    if kind == LLAMA_TYPE or width is None:
        return 0
    if kind == QWEN2_TYPE:
        if not wanted(checkpoint, "use_sliding_window", bool, False):
            return 0
        layers, full = wanted(checkpoint, "num_hidden_layers", int), wanted(checkpoint, "max_window_layers", int, 28)
        sliding = ["full_attention"] * min(full, layers) + ["sliding_attention"] * max(layers - full, 0)
        kinds = set(checkpoint.config.get("layer_types") or sliding)
        if kinds == {"full_attention"}:
            return 0
        if kinds != {"sliding_attention"}:
            where = checkpoint.path / "config.json"
            raise FileError(where, "use_sliding_window: true is not supported where some layers have no window")
    value: int = wanted(checkpoint, "sliding_window", int, WINDOW)
    return value


def _rope(checkpoint: Checkpoint) -> dict[str, Any]:
    """The settings of rotary positions, from either of the two ways in which configs have them."""
    where = checkpoint.path / "config.json"
    old = {"rope_theta": checkpoint.config.get("rope_theta", THETA), **(checkpoint.config.get("rope_scaling") or {})}
    found = checkpoint.config.get("rope_parameters") or old
    if not isinstance(found, Mapping):
        raise FileError(where, f"rope_parameters: expected an object, got {found!r}")
    kind = found.get("rope_type", found.get("type", "default"))
    scaling = {"default": "none"}.get(kind, kind)
    if scaling not in SCALING:
        raise FileError(where, f"rope_type: {kind!r} is not supported (one of default, linear, llama3)")
    if found.get("partial_rotary_factor", 1) != 1:
        raise FileError(where, f"partial_rotary_factor: {found['partial_rotary_factor']!r} is not supported (only 1)")
    settings: dict[str, Any] = {"rope_scaling": scaling}
    for name, field in {"rope_theta": "rope_theta", **SCALING[scaling]}.items():
        value = found.get(name, THETA if name == "rope_theta" else None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FileError(where, f"{name}: expected a number, got {value!r}")
        settings[field] = value if field == "rope_original" else float(value)
    return settings


def layout(settings: Settings, num_classes: int) -> Layout:
    """The tensors of `LlamaForCausalLM` or `LlamaForSequenceClassification`."""
    tensors = [Tensor(WORDS, ("params/embed/word/embedding",))]
    for i in range(settings["depth"]):
        tensors += block(settings, f"model.layers.{i}", f"params/block_{i}")
    tensors.append(Tensor("model.norm.weight", ("params/pool/norm/scale",)))
    return causal.layout(settings, tensors, WORDS, SPELLINGS, BUFFERS)


def block(settings: Settings, theirs: str, ours: str) -> list[Tensor]:
    """One transformer block."""
    biased = BIASES[settings["bias"]]
    names = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}
    tensors = [
        Tensor(f"{theirs}.input_layernorm.weight", (f"{ours}/norm1/scale",)),
        Tensor(f"{theirs}.post_attention_layernorm.weight", (f"{ours}/norm2/scale",)),
        *dense(f"{theirs}.self_attn.o_proj", f"{ours}/attention/out", bias="out" in biased),
    ]
    for name, part in names.items():
        tensors += dense(f"{theirs}.self_attn.{name}", f"{ours}/attention/{part}", bias=bool(biased))
    for name in ("gate", "up", "down"):
        tensors += dense(f"{theirs}.mlp.{name}_proj", f"{ours}/mlp/{name}", bias="mlp" in biased)
    return tensors


def config(model: Model) -> dict[str, Any]:
    """The `config.json` of a Llama, a Qwen2 or a Mistral, whichever has the model's biases and window.

    Raises:
      ConfigError: none of them has.
    """
    settings = dict(model.settings)
    for name, value in FIXED.items():
        if settings[name] != value:
            raise ConfigError(name, f"Llama and its kin have {value!r} only, not {settings[name]!r}")
    kind = QWEN2_TYPE if settings["bias"] == "qkv" else MISTRAL_TYPE if settings["window"] else LLAMA_TYPE
    if kind == MISTRAL_TYPE and settings["bias"] != "none":
        raise ConfigError("bias", f"expected 'none' or 'qkv' with a window, got {settings['bias']!r}")
    head = "SequenceClassification" if settings["head"] == CLASSIFY else "CausalLM"
    numbers = {theirs: settings[ours] for theirs, ours in SCALING[settings["rope_scaling"]].items()}
    rope_type = {"none": "default"}.get(settings["rope_scaling"], settings["rope_scaling"])
    return {
        "architectures": [f"{CLASSES[kind]}For{head}"],
        "model_type": kind,
        **causal.common(model),
        "max_position_embeddings": settings["positions"],
        "hidden_size": settings["width"],
        "num_hidden_layers": settings["depth"],
        "num_attention_heads": settings["heads"],
        "num_key_value_heads": settings["kv_heads"] or settings["heads"],
        "head_dim": settings["head_width"] or settings["width"] // settings["heads"],
        "intermediate_size": settings["hidden"],
        "hidden_act": "silu",
        "rms_norm_eps": settings["epsilon"],
        "rope_parameters": {"rope_type": rope_type, "rope_theta": settings["rope_theta"], **numbers},
        # Where older versions look for them.
        "rope_theta": settings["rope_theta"],
        "rope_scaling": {"rope_type": rope_type, **numbers} if numbers else None,
        **_of_kind(settings, kind),
    }


def _of_kind(settings: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """What only one of the three has in its config."""
    if kind == LLAMA_TYPE:
        biased = BIASES[settings["bias"]]
        return {"attention_bias": "out" in biased, "mlp_bias": "mlp" in biased}
    if kind == MISTRAL_TYPE:
        return {"sliding_window": settings["window"]}
    # In Qwen2 a window holds from some layer on; here it holds from the first.
    window = settings["window"]
    return {"use_sliding_window": bool(window), "sliding_window": window or None, "max_window_layers": 0}


LLAMA = Format("hf-llama", "decoder", recognises, describe, layout, config)

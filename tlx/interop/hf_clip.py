"""CLIP as Hugging Face writes it: `CLIPModel`, either of its towers, and `CLIP…ModelWithProjection`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tlx.errors import FileError
from tlx.interop import images, positions
from tlx.interop.files import Checkpoint
from tlx.interop.format import Description, Format, Settings, only, wanted
from tlx.interop.layout import Layout, Tensor, dense, norm, patches
from tlx.models.inputs import check_images
from tlx.models.registry import Model
from tlx.models.transformer import ACTIVATIONS

# Files of a bare tower have no prefix.
VISION_SPELLINGS = ((r"((?:embeddings|encoder|pre_layrnorm|post_layernorm)\..*)", r"vision_model.\1"),)
TEXT_SPELLINGS = ((r"((?:embeddings|encoder|final_layer_norm)\..*)", r"text_model.\1"),)
BUFFERS = (r"(text|vision)_model\.embeddings\.position_ids",)
# The names of a head of ours; Hugging Face has none on these features, and its own classifier reads others.
HEAD = "head"
VISION_UNUSED = (r"text_model\..*", r"text_projection\..*", "logit_scale", r"classifier\..*")
TEXT_UNUSED = (r"vision_model\..*", r"visual_projection\..*", "logit_scale")
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# What a silent config means, as in transformers' CLIPVisionConfig and CLIPTextConfig.
VISION = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
TEXT = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
IMAGE, PATCH, CHANNELS, VOCABULARY, LENGTH, EPSILON, EOS = 224, 32, 3, 49408, 77, 1e-5, 49407


def recognises_vision(checkpoint: Checkpoint) -> bool:
    """Whether the config says that there is an image tower."""
    return checkpoint.config.get("model_type") in ("clip", "clip_vision_model")


def recognises_text(checkpoint: Checkpoint) -> bool:
    """Whether the config says that there is a text tower."""
    return checkpoint.config.get("model_type") in ("clip", "clip_text_model")


def describe_vision(checkpoint: Checkpoint) -> Description:
    """Settings of the image tower.

    Raises:
      FileError: a value is missing, of another type, or one that the model cannot compute.
    """
    own, where = _section(checkpoint, "vision"), checkpoint.path / "config.json"
    rows, columns = images.side_and_side(where, "image_size", own.config.get("image_size", IMAGE))
    settings = {
        "patch": images.side(where, "patch_size", own.config.get("patch_size", PATCH)),
        **_tower(own, VISION, "visual_projection.weight"),
        **images.preprocessor(checkpoint, MEAN, STD),
    }
    return Description(settings, _classes(own), (rows, columns, wanted(own, "num_channels", int, CHANNELS)))


def describe_text(checkpoint: Checkpoint) -> Description:
    """Settings of the text tower.

    Raises:
      FileError: a value is missing, of another type, or one that the model cannot compute.
    """
    own = _section(checkpoint, "text")
    length, eos = wanted(own, "max_position_embeddings", int, LENGTH), wanted(own, "eos_token_id", int, EOS)
    settings = {
        "vocab": wanted(own, "vocab_size", int, VOCABULARY),
        "positions": length,
        "eos": eos,
        "pad": _pad(own, eos),
        **_tower(own, TEXT, "text_projection.weight"),
    }
    return Description(settings, _classes(own), (length,))


def _section(checkpoint: Checkpoint, tower: str) -> Checkpoint:
    """The checkpoint with the config of one tower."""
    if checkpoint.config.get("model_type") != "clip":
        return checkpoint
    # Old configs have a second object, which, where there is one, is the one that counts.
    found = checkpoint.config.get(f"{tower}_config_dict")
    found = checkpoint.config.get(f"{tower}_config") if found is None else found
    if not isinstance(found, dict | None):
        raise FileError(checkpoint.path / "config.json", f"{tower}_config: expected an object, got {found!r}")
    return replace(checkpoint, config=found or {})


def _tower(own: Checkpoint, defaults: Mapping[str, int], projection: str) -> dict[str, Any]:
    return {
        "width": wanted(own, "hidden_size", int, defaults["hidden_size"]),
        "depth": wanted(own, "num_hidden_layers", int, defaults["num_hidden_layers"]),
        "heads": wanted(own, "num_attention_heads", int, defaults["num_attention_heads"]),
        "hidden": wanted(own, "intermediate_size", int, defaults["intermediate_size"]),
        "activation": only(own, "hidden_act", tuple(ACTIVATIONS), "quick_gelu"),
        "epsilon": wanted(own, "layer_norm_eps", float, EPSILON),
        "dropout": wanted(own, "attention_dropout", float, 0.0),
        # The config's own value may be another in each of its objects; it is the tensor that is used.
        "projection": own.tensors.shapes.get(projection, (0,))[0],
    }


def _classes(own: Checkpoint) -> int:
    return own.tensors.shapes.get(f"{HEAD}.weight", (0,))[0]


def _pad(own: Checkpoint, eos: int) -> int:
    """What fills up texts; which id it is changes nothing, and old configs name one that was never used."""
    pad = own.config.get("pad_token_id")
    return pad if type(pad) is int else eos


def vision_layout(settings: Settings, num_classes: int) -> Layout:
    """The tensors of `CLIPVisionModelWithProjection`, and a head of ours."""
    tensors = [*vision_tensors(settings, "params"), *dense(HEAD, "params/head")]
    return Layout(tuple(tensors), VISION_SPELLINGS, BUFFERS, VISION_UNUSED)


def text_layout(settings: Settings, num_classes: int) -> Layout:
    """The tensors of `CLIPTextModelWithProjection`, and a head of ours."""
    tensors = [*text_tensors(settings, "params"), *dense(HEAD, "params/head")]
    return Layout(tuple(tensors), TEXT_SPELLINGS, BUFFERS, TEXT_UNUSED)


def vision_tensors(settings: Settings, ours: str) -> list[Tensor]:
    """The image tower.

    Args:
      settings: of a `clip_vision`.
      ours: path above its stages.
    """
    theirs, resize = "vision_model.embeddings", positions.resize(positions.cubic, leading=1)
    tensors = [
        Tensor(f"{theirs}.class_embedding", (f"{ours}/embed/cls",), "d -> 1 1 d"),
        Tensor(f"{theirs}.position_embedding.weight", (f"{ours}/embed/position",), "t d -> 1 t d", resize=resize),
        *patches(f"{theirs}.patch_embedding", f"{ours}/embed/patches", settings["patch"], bias=False),
        # The missing letter is theirs.
        *norm("vision_model.pre_layrnorm", f"{ours}/embed/norm"),
    ]
    tensors += _blocks("vision_model", ours, settings["depth"])
    tensors += norm("vision_model.post_layernorm", f"{ours}/pool/norm")
    projection = dense("visual_projection", f"{ours}/pool/projection", bias=False)
    return [*tensors, *(projection if settings["projection"] else [])]


def text_tensors(settings: Settings, ours: str) -> list[Tensor]:
    """The text tower.

    Args:
      settings: of a `clip_text`.
      ours: path above its stages.
    """
    theirs = "text_model.embeddings"
    tensors = [
        Tensor(f"{theirs}.token_embedding.weight", (f"{ours}/embed/word/embedding",)),
        Tensor(f"{theirs}.position_embedding.weight", (f"{ours}/embed/position/embedding",)),
        *_blocks("text_model", ours, settings["depth"]),
        *norm("text_model.final_layer_norm", f"{ours}/pool/norm"),
    ]
    projection = dense("text_projection", f"{ours}/pool/projection", bias=False)
    return [*tensors, *(projection if settings["projection"] else [])]


def _blocks(theirs: str, ours: str, depth: int) -> list[Tensor]:
    tensors: list[Tensor] = []
    for i in range(depth):
        layer, block = f"{theirs}.encoder.layers.{i}", f"{ours}/block_{i}"
        for letter, name in {"q": "query", "k": "key", "v": "value", "out": "out"}.items():
            tensors += dense(f"{layer}.self_attn.{letter}_proj", f"{block}/attention/{name}")
        tensors += norm(f"{layer}.layer_norm1", f"{block}/norm1")
        tensors += norm(f"{layer}.layer_norm2", f"{block}/norm2")
        tensors += dense(f"{layer}.mlp.fc1", f"{block}/mlp/up")
        tensors += dense(f"{layer}.mlp.fc2", f"{block}/mlp/down")
    return tensors


def vision_config(model: Model) -> dict[str, Any]:
    """The `config.json` of `CLIPVisionModelWithProjection`, or of `CLIPVisionModel` where there is no projection."""
    settings = dict(model.settings)
    rows, columns, channels = check_images(settings, model.input_shape)
    return {
        "architectures": ["CLIPVisionModelWithProjection" if settings["projection"] else "CLIPVisionModel"],
        "model_type": "clip_vision_model",
        "image_size": rows if rows == columns else [rows, columns],
        "patch_size": settings["patch"],
        "num_channels": channels,
        **_sizes(settings),
    }


def text_config(model: Model) -> dict[str, Any]:
    """The `config.json` of `CLIPTextModelWithProjection`, or of `CLIPTextModel` where there is no projection."""
    settings = dict(model.settings)
    return {
        "architectures": ["CLIPTextModelWithProjection" if settings["projection"] else "CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": settings["vocab"],
        "max_position_embeddings": settings["positions"],
        "eos_token_id": settings["eos"],
        "pad_token_id": settings["pad"],
        **_sizes(settings),
    }


def _sizes(settings: Settings) -> dict[str, Any]:
    return {
        "hidden_size": settings["width"],
        "num_hidden_layers": settings["depth"],
        "num_attention_heads": settings["heads"],
        "intermediate_size": settings["hidden"],
        "hidden_act": settings["activation"],
        "layer_norm_eps": settings["epsilon"],
        "attention_dropout": settings["dropout"],
        **({"projection_dim": settings["projection"]} if settings["projection"] else {}),
    }


CLIP_VISION = Format("hf-clip", "clip_vision", recognises_vision, describe_vision, vision_layout, vision_config)
CLIP_TEXT = Format("hf-clip-text", "clip_text", recognises_text, describe_text, text_layout, text_config)

"""Vision transformers as Hugging Face writes them: `ViTModel` and `ViTForImageClassification`."""

from typing import Any

from tlx.errors import ConfigError
from tlx.interop import images, positions
from tlx.interop.files import Checkpoint
from tlx.interop.format import Description, Format, Settings, only, wanted
from tlx.interop.layout import Layout, Tensor, dense, norm, patches
from tlx.models.inputs import check_images
from tlx.models.registry import Model

# The names on disk. Files of the bare encoder have no prefix, and those of a state dict of transformers 5 call the
# parts of a layer by other names.
SPELLINGS = (
    (r"((?:embeddings|encoder|layers|layernorm|pooler)\..*)", r"vit.\1"),
    (r"vit\.layers\.(\d+)\.(.*)", r"vit.encoder.layer.\1.\2"),
    (r"(.*)\.attention\.q_proj\.(.*)", r"\1.attention.attention.query.\2"),
    (r"(.*)\.attention\.k_proj\.(.*)", r"\1.attention.attention.key.\2"),
    (r"(.*)\.attention\.v_proj\.(.*)", r"\1.attention.attention.value.\2"),
    (r"(.*)\.attention\.o_proj\.(.*)", r"\1.attention.output.dense.\2"),
    (r"(.*)\.mlp\.fc1\.(.*)", r"\1.intermediate.dense.\2"),
    (r"(.*)\.mlp\.fc2\.(.*)", r"\1.output.dense.\2"),
)
# From there to what transformers 5 calls them, which adapter files go by.
IN_MEMORY = (
    (r"vit\.encoder\.layer\.(\d+)\.(.*)", r"vit.layers.\1.\2"),
    (r"(.*)\.attention\.attention\.query\.(.*)", r"\1.attention.q_proj.\2"),
    (r"(.*)\.attention\.attention\.key\.(.*)", r"\1.attention.k_proj.\2"),
    (r"(.*)\.attention\.attention\.value\.(.*)", r"\1.attention.v_proj.\2"),
    (r"(.*)\.attention\.output\.dense\.(.*)", r"\1.attention.o_proj.\2"),
    (r"(.*)\.intermediate\.dense\.(.*)", r"\1.mlp.fc1.\2"),
    (r"(.*)\.output\.dense\.(.*)", r"\1.mlp.fc2.\2"),
)
# The pooler stands before no classifier: Hugging Face's own classifier does not read it either.
UNUSED = (r"vit\.pooler\..*", r"vit\.embeddings\.mask_token", r"decoder\..*")
# What a silent config means, as in transformers' ViTConfig.
WIDTH, DEPTH, HEADS, HIDDEN, EPSILON, IMAGE, PATCH, CHANNELS = 768, 12, 12, 3072, 1e-12, 224, 16, 3
ACTIVATIONS = {"gelu": True, "gelu_pytorch_tanh": False, "gelu_new": False}


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the config says so."""
    return checkpoint.config.get("model_type") == "vit"


def describe(checkpoint: Checkpoint) -> Description:
    """Settings from `config.json`, the images' statistics from the preprocessor's, the head from the tensors.

    Raises:
      FileError: a value is missing, of another type, or one that the model cannot compute.
    """
    only(checkpoint, "qkv_bias", (True,), True)
    where = checkpoint.path / "config.json"
    rows, columns = images.side_and_side(where, "image_size", checkpoint.config.get("image_size", IMAGE))
    channels = wanted(checkpoint, "num_channels", int, CHANNELS)
    half = images.HALF if channels == CHANNELS else (0.5,)
    settings = {
        "patch": images.side(where, "patch_size", checkpoint.config.get("patch_size", PATCH)),
        "width": wanted(checkpoint, "hidden_size", int, WIDTH),
        "depth": wanted(checkpoint, "num_hidden_layers", int, DEPTH),
        "heads": wanted(checkpoint, "num_attention_heads", int, HEADS),
        "hidden": wanted(checkpoint, "intermediate_size", int, HIDDEN),
        "gelu_exact": ACTIVATIONS[only(checkpoint, "hidden_act", tuple(ACTIVATIONS), "gelu")],
        "epsilon": wanted(checkpoint, "layer_norm_eps", float, EPSILON),
        "dropout": wanted(checkpoint, "hidden_dropout_prob", float, 0.0),
        "pool": "class",
        **images.preprocessor(checkpoint, half, half),
    }
    classes = checkpoint.tensors.shapes.get("classifier.weight", (0,))[0]
    return Description(settings, classes, (rows, columns, channels))


def layout(settings: Settings, num_classes: int) -> Layout:
    """The tensors of `ViTForImageClassification`."""
    embeddings, resize = "vit.embeddings", positions.resize(positions.cubic, leading=1)
    tensors = [
        Tensor(f"{embeddings}.cls_token", ("params/embed/cls",)),
        Tensor(f"{embeddings}.position_embeddings", ("params/embed/position",), resize=resize),
        *patches(f"{embeddings}.patch_embeddings.projection", "params/embed/patches", settings["patch"]),
    ]
    for i in range(settings["depth"]):
        tensors += _block(f"vit.encoder.layer.{i}", f"params/block_{i}")
    tensors += [*norm("vit.layernorm", "params/pool/norm"), *dense("classifier", "params/head")]
    return Layout(tuple(tensors), SPELLINGS, unused=UNUSED)


def _block(theirs: str, ours: str) -> list[Tensor]:
    tensors = norm(f"{theirs}.layernorm_before", f"{ours}/norm1")
    for name in ("query", "key", "value"):
        tensors += dense(f"{theirs}.attention.attention.{name}", f"{ours}/attention/{name}")
    tensors += dense(f"{theirs}.attention.output.dense", f"{ours}/attention/out")
    tensors += norm(f"{theirs}.layernorm_after", f"{ours}/norm2")
    tensors += dense(f"{theirs}.intermediate.dense", f"{ours}/mlp/up")
    return [*tensors, *dense(f"{theirs}.output.dense", f"{ours}/mlp/down")]


def config(model: Model) -> dict[str, Any]:
    """The `config.json` of `ViTForImageClassification`.

    Raises:
      ConfigError: the model pools otherwise than Hugging Face's.
    """
    settings = dict(model.settings)
    if settings["pool"] != "class":
        raise ConfigError(
            "pool", f"Hugging Face's ViT reads its class token, so no {settings['pool']!r} can be written"
        )
    rows, columns, channels = check_images(settings, model.input_shape)
    labels = {str(i): f"LABEL_{i}" for i in range(model.num_classes)}
    return {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "image_size": rows if rows == columns else [rows, columns],
        "patch_size": settings["patch"],
        "num_channels": channels,
        "hidden_size": settings["width"],
        "num_hidden_layers": settings["depth"],
        "num_attention_heads": settings["heads"],
        "intermediate_size": settings["hidden"] or settings["mlp_ratio"] * settings["width"],
        "hidden_act": "gelu" if settings["gelu_exact"] else "gelu_pytorch_tanh",
        "layer_norm_eps": settings["epsilon"],
        "hidden_dropout_prob": settings["dropout"],
        "attention_probs_dropout_prob": settings["dropout"],
        "id2label": labels,
        "label2id": {label: int(i) for i, label in labels.items()},
    }


VIT = Format("hf-vit", "vit", recognises, describe, layout, config, in_memory=IN_MEMORY)

"""Vision transformers as timm writes them: its `VisionTransformer`, also as DeiT without distillation."""

import math
import re
from typing import Any

from tlx.errors import ConfigError, FileError
from tlx.interop import images, positions
from tlx.interop.files import Checkpoint
from tlx.interop.format import Description, Format, Settings
from tlx.interop.layout import Layout, Tensor, dense, norm, patches
from tlx.models.inputs import check_images
from tlx.models.registry import Model

PATCHES, POSITIONS, FUSED = "patch_embed.proj.weight", "pos_embed", "blocks.0.attn.qkv.weight"
# Attention heads by width, in every VisionTransformer that timm has named: a head is 64 wide in all but the two widest.
HEADS = {192: 3, 384: 6, 512: 8, 768: 12, 1024: 16, 1280: 16, 1408: 16}
SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large"}
# Arguments of timm's constructor that are read off the tensors, or that change nothing that is computed.
IGNORED = {
    *("img_size", "patch_size", "in_chans", "num_classes", "embed_dim", "depth", "mlp_ratio", "class_token", "fc_norm"),
    *("drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate"),
    *("weight_init", "fix_init", "dynamic_img_size", "strict_img_size", "features_only"),
}
# Arguments that the model can compute with these values alone.
FIXED = {
    **{"qkv_bias": True, "proj_bias": True, "pos_embed": "learn", "final_norm": True, "reg_tokens": 0},
    **{"qk_norm": False, "scale_attn_norm": False, "scale_mlp_norm": False, "init_values": None, "pre_norm": False},
    **{"no_embed_class": False, "pool_include_prefix": False, "dynamic_img_pad": False},
}
# The last norm goes by two names, for its two places.
NORMS = {"before": "norm", "after": "fc_norm"}


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether it holds the tensors of a `VisionTransformer`, whether or not a config lies beside them."""
    return {PATCHES, POSITIONS, FUSED} <= checkpoint.tensors.keys()


def describe(checkpoint: Checkpoint) -> Description:
    """Settings from the tensors' shapes; the number of heads, the pooling and the images' statistics from the config.

    The number of heads is `model_args`' or, where that is silent, the one that timm's models of this width have. The
    pooling is the config's `global_pool` or, where that is silent, the mean where there is no class token or an
    `fc_norm`, and the class token otherwise.

    Raises:
      FileError: a value is missing, of another type, or one that the model cannot compute.
    """
    shapes = checkpoint.tensors.shapes
    if len(shapes[PATCHES]) != 4 or len(shapes[POSITIONS]) != 3:
        raise FileError(checkpoint.path, f"{PATCHES!r} or {POSITIONS!r} is no tensor of a vision transformer")
    width, channels, patch, _ = shapes[PATCHES]
    has_class = "cls_token" in shapes
    arguments = _arguments(checkpoint)
    settings = {
        "patch": patch,
        "width": width,
        "depth": sum(re.fullmatch(r"blocks\.\d+\.attn\.qkv\.weight", name) is not None for name in shapes),
        "heads": _heads(checkpoint, arguments, width),
        "hidden": shapes.get("blocks.0.mlp.fc1.weight", (0,))[0],
        "gelu_exact": True,
        "epsilon": 1e-6,
        "pool": _pool(checkpoint, arguments, has_class),
        "final_norm": "after" if "fc_norm.weight" in shapes else "before",
        **_statistics(checkpoint),
    }
    size = _size(checkpoint, arguments, patch, shapes[POSITIONS][1] - int(has_class))
    return Description(settings, shapes.get("head.weight", (0,))[0], (*size, channels))


def _arguments(checkpoint: Checkpoint) -> dict[str, Any]:
    where, arguments = checkpoint.path / "config.json", checkpoint.config.get("model_args", {})
    if not isinstance(arguments, dict):
        raise FileError(where, f"model_args: expected an object, got {arguments!r}")
    for name, value in arguments.items():
        if name in FIXED and value != FIXED[name]:
            raise FileError(where, f"model_args.{name}: {value!r} is not supported (one of {FIXED[name]})")
        if name not in (*FIXED, *IGNORED, "num_heads", "global_pool"):
            raise FileError(where, f"model_args.{name}: is not supported")
    return arguments


def _heads(checkpoint: Checkpoint, arguments: dict[str, Any], width: int) -> int:
    heads = arguments.get("num_heads", HEADS.get(width))
    if heads is None:
        raise FileError(
            checkpoint.path, f"no model of width {width} is known: config.json must say model_args.num_heads"
        )
    if type(heads) is not int:
        raise FileError(checkpoint.path / "config.json", f"model_args.num_heads: expected an integer, got {heads!r}")
    return heads


def _pool(checkpoint: Checkpoint, arguments: dict[str, Any], has_class: bool) -> str:
    is_mean = not has_class or "fc_norm.weight" in checkpoint.tensors
    said = arguments.get("global_pool", checkpoint.config.get("global_pool", "avg" if is_mean else "token"))
    if said not in ("avg", "token") or (said == "token" and not has_class):
        raise FileError(checkpoint.path / "config.json", f"global_pool: {said!r} is not supported here (avg or token)")
    return "class" if said == "token" else "patches" if has_class else "mean"


def _statistics(checkpoint: Checkpoint) -> dict[str, Any]:
    # Configs of old had what is now in an object of its own at their top.
    config = checkpoint.config.get("pretrained_cfg", checkpoint.config)
    where = checkpoint.path / "config.json"
    if not isinstance(config, dict):
        raise FileError(where, f"pretrained_cfg: expected an object, got {config!r}")
    return images.statistics(where, config, ("mean", images.HALF), ("std", images.HALF))


def _size(checkpoint: Checkpoint, arguments: dict[str, Any], patch: int, count: int) -> tuple[int, int]:
    """Rows and columns of an image of `count` patches: the config's, or those of a square."""
    where, side = checkpoint.path / "config.json", math.isqrt(max(count, 0))
    if "img_size" in arguments:
        size = images.side_and_side(where, "model_args.img_size", arguments["img_size"])
    else:
        size = (patch * side, patch * side)
    if (size[0] // patch) * (size[1] // patch) != count or not count:
        raise FileError(
            checkpoint.path,
            f"{POSITIONS!r} has {count} positions beside the class token's, which are not those of an image's patches",
        )
    return size


def layout(settings: Settings, num_classes: int) -> Layout:
    """The tensors of `VisionTransformer`."""
    has_class = settings["pool"] != "mean"
    resize = positions.resize(positions.cubic_antialiased, leading=int(has_class))
    tensors = [Tensor("cls_token", ("params/embed/cls",))] if has_class else []
    tensors += [Tensor(POSITIONS, ("params/embed/position",), resize=resize)]
    tensors += patches("patch_embed.proj", "params/embed/patches", settings["patch"])
    for i in range(settings["depth"]):
        tensors += _block(f"blocks.{i}", f"params/block_{i}")
    tensors += [*norm(NORMS[settings["final_norm"]], "params/pool/norm"), *dense("head", "params/head")]
    return Layout(tuple(tensors))


def _block(theirs: str, ours: str) -> list[Tensor]:
    fused = [f"{ours}/attention/{name}" for name in ("query", "key", "value")]
    sizes = (("n", len(fused)),)
    return [
        *norm(f"{theirs}.norm1", f"{ours}/norm1"),
        Tensor(f"{theirs}.attn.qkv.weight", tuple(f"{name}/kernel" for name in fused), "(n o) i -> n i o", sizes),
        Tensor(f"{theirs}.attn.qkv.bias", tuple(f"{name}/bias" for name in fused), "(n o) -> n o", sizes),
        *dense(f"{theirs}.attn.proj", f"{ours}/attention/out"),
        *norm(f"{theirs}.norm2", f"{ours}/norm2"),
        *dense(f"{theirs}.mlp.fc1", f"{ours}/mlp/up"),
        *dense(f"{theirs}.mlp.fc2", f"{ours}/mlp/down"),
    ]


def config(model: Model) -> dict[str, Any]:
    """The `config.json` that `timm.create_model("local-dir:FOLDER")` reads.

    Raises:
      ConfigError: the model computes otherwise than timm's.
    """
    settings = dict(model.settings)
    if not settings["gelu_exact"] or settings["epsilon"] != 1e-6:
        raise ConfigError(
            "gelu_exact", "timm's ViT has the exact GELU and an epsilon of 1e-6, so no other can be written"
        )
    rows, columns, channels = check_images(settings, model.input_shape)
    pool = "token" if settings["pool"] == "class" else "avg"
    mean, std = (settings[name] * (channels if len(settings[name]) == 1 else 1) for name in ("mean", "std"))
    return {
        "architecture": f"vit_{SIZES.get(settings['width'], 'base')}_patch16_224",
        "num_classes": model.num_classes,
        "num_features": settings["width"],
        "global_pool": pool,
        "model_args": {
            "img_size": rows if rows == columns else [rows, columns],
            "patch_size": settings["patch"],
            "in_chans": channels,
            "embed_dim": settings["width"],
            "depth": settings["depth"],
            "num_heads": settings["heads"],
            "mlp_ratio": _ratio(settings),
            "class_token": settings["pool"] != "mean",
            "global_pool": pool,
            "fc_norm": settings["final_norm"] == "after",
        },
        "pretrained_cfg": {
            "num_classes": model.num_classes,
            "input_size": [channels, rows, columns],
            "fixed_input_size": True,
            "mean": list(mean),
            "std": list(std),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


def _ratio(settings: Settings) -> float:
    """The ratio of which timm, cutting off decimals, makes the hidden width."""
    hidden = settings["hidden"] or settings["mlp_ratio"] * settings["width"]
    ratio: float = hidden / settings["width"]
    return ratio if int(settings["width"] * ratio) == hidden else math.nextafter(ratio, math.inf)


TIMM = Format("timm-vit", "vit", recognises, describe, layout, config)

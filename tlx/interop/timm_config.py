"""What timm's `config.json` says of any of its models of images, and what it must say."""

from collections.abc import Collection
from typing import Any

from tlx.errors import FileError
from tlx.interop import images
from tlx.interop.files import Checkpoint
from tlx.models.inputs import check_images
from tlx.models.registry import Model

# Arguments of timm's constructors that are read off the tensors, or that change nothing that is computed.
IGNORED = ("num_classes", "in_chans", "drop_rate", "drop_path_rate", "zero_init_last")


def check_arguments(checkpoint: Checkpoint, ignored: Collection[str] = IGNORED) -> None:
    """Whether the model was made by timm's defaults.

    Args:
      checkpoint: whose `config.json` may hold `model_args`.
      ignored: arguments that may have any value, besides `IGNORED`.

    Raises:
      FileError: it was made by an argument of which nothing is known here.
    """
    where, arguments = checkpoint.path / "config.json", checkpoint.config.get("model_args", {})
    if not isinstance(arguments, dict):
        raise FileError(where, f"model_args: expected an object, got {arguments!r}")
    for name, value in {"global_pool": checkpoint.config.get("global_pool", "avg"), **arguments}.items():
        if name == "global_pool" and value != "avg":
            raise FileError(where, f"global_pool: {value!r} is not supported (avg alone is)")
        if name not in (*IGNORED, *ignored, "global_pool"):
            raise FileError(where, f"model_args.{name}: is not supported")


def statistics(checkpoint: Checkpoint, mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, Any]:
    """The model's `mean` and `std`.

    Args:
      checkpoint: whose `config.json` may hold them, in `pretrained_cfg` or, in older ones, beside it.
      mean: what a silent config means, of pixels from 0 to 1.
      std: likewise.

    Raises:
      FileError: they are no lists of numbers.
    """
    return images.statistics(checkpoint.path / "config.json", _pretrained(checkpoint), ("mean", mean), ("std", std))


def side(checkpoint: Checkpoint, default: int) -> int:
    """The side of the square images that the model was trained on, in pixels.

    Raises:
      FileError: `input_size` is no list of channels and two equal sides.
    """
    where, size = checkpoint.path / "config.json", _pretrained(checkpoint).get("input_size", (3, default, default))
    if not isinstance(size, list | tuple) or len(size) != 3:
        raise FileError(where, f"input_size: expected channels, rows and columns, got {size!r}")
    return images.side(where, "input_size", size[1:])


def _pretrained(checkpoint: Checkpoint) -> dict[str, Any]:
    config = checkpoint.config.get("pretrained_cfg", checkpoint.config)
    if not isinstance(config, dict):
        raise FileError(checkpoint.path / "config.json", f"pretrained_cfg: expected an object, got {config!r}")
    return dict(config)


def written(model: Model, architecture: str, first_conv: str, classifier: str) -> dict[str, Any]:
    """The `config.json` that `timm.create_model("local-dir:FOLDER")` reads.

    Args:
      model: what is saved.
      architecture: timm's name for it.
      first_conv: timm's name of the layer that sees the images.
      classifier: timm's name of the head.
    """
    settings = dict(model.settings)
    rows, columns, channels = check_images(settings, model.input_shape)
    mean, std = (settings[name] * (channels if len(settings[name]) == 1 else 1) for name in ("mean", "std"))
    return {
        "architecture": architecture,
        "num_classes": model.num_classes,
        "global_pool": "avg",
        "model_args": {"num_classes": model.num_classes, "in_chans": channels},
        "pretrained_cfg": {
            "num_classes": model.num_classes,
            "input_size": [channels, rows, columns],
            "mean": list(mean),
            "std": list(std),
            "first_conv": first_conv,
            "classifier": classifier,
        },
    }

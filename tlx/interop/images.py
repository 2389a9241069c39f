"""What a checkpoint says of the images it was trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlx.errors import FileError
from tlx.interop.files import Checkpoint

HALF = (0.5, 0.5, 0.5)
PREPROCESSOR = "preprocessor_config.json"


def preprocessor(checkpoint: Checkpoint, mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, Any]:
    """The model's `mean` and `std` from the image processor's config of Hugging Face.

    Args:
      checkpoint: beside whose weights the config may lie.
      mean: what the library takes where there is none, of pixels from 0 to 1.
      std: likewise.

    Raises:
      FileError: they are no lists of numbers, or pixels are not brought to 0 to 1 first.
    """
    config, where = checkpoint.beside(PREPROCESSOR), checkpoint.path / PREPROCESSOR
    if config.get("do_rescale", True) is not True:
        raise FileError(where, "do_rescale: only images with pixels from 0 to 1 are supported")
    if config.get("do_normalize", True) is not True:
        return {"mean": (0.0,) * len(mean), "std": (1.0,) * len(std)}
    return statistics(where, config, ("image_mean", mean), ("image_std", std))


def statistics(
    where: Path, config: Mapping[str, Any], mean: tuple[str, tuple[float, ...]], std: tuple[str, tuple[float, ...]]
) -> dict[str, Any]:
    """The model's `mean` and `std` from a config.

    Args:
      where: the config's file, for messages.
      config: its values.
      mean: its key and what a silent config means.
      std: likewise.

    Raises:
      FileError: they are no lists of numbers.
    """
    found = {}
    for name, (key, default) in {"mean": mean, "std": std}.items():
        values = config.get(key, default)
        if not isinstance(values, list | tuple) or not values or not all(type(v) in (int, float) for v in values):
            raise FileError(where, f"{key}: expected a list of numbers, got {values!r}")
        found[name] = tuple(float(value) for value in values)
    return found


def side_and_side(where: Path, name: str, value: Any) -> tuple[int, int]:
    """Rows and columns of what a config gives as one number or two.

    Args:
      where: the config's file, for messages.
      name: the key.
      value: what it holds.

    Raises:
      FileError: it is neither.
    """
    sides = [value, value] if type(value) is int else value
    if not isinstance(sides, list | tuple) or len(sides) != 2 or not all(type(side) is int for side in sides):
        raise FileError(where, f"{name}: expected an integer or two, got {value!r}")
    return sides[0], sides[1]


def side(where: Path, name: str, value: Any) -> int:
    """The side of a square, given as one number or as two equal ones.

    Raises:
      FileError: it is no square.
    """
    rows, columns = side_and_side(where, name, value)
    if rows != columns:
        raise FileError(where, f"{name}: {rows}×{columns} is not supported, only squares are")
    return rows

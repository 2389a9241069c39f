"""A checkpoint on disk, whatever wrote it: its description and its tensors, read one at a time and never executed."""

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from tlx import atomic
from tlx.errors import FileError
from tlx.interop.pth import read_pth

_PICKLED = (".pth", ".pt", ".bin")
# What numpy and the archive raise when the bytes are not what they say.
_DAMAGED = (ValueError, KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_WEIGHTS = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin")


class Tensors(Mapping[str, np.ndarray]):
    """Arrays by name, each read when asked for.

    Args:
      shapes: name to shape.
      read: name to array.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], np.ndarray]) -> None:
        self.shapes = dict(shapes)
        self._read = read

    def __getitem__(self, name: str) -> np.ndarray:
        """The array, or KeyError."""
        if name not in self.shapes:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        """Names, in the file's order."""
        return iter(self.shapes)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.shapes)


@dataclass(frozen=True)
class Checkpoint:
    """Weights and what lies beside them.

    Args:
      path: a folder, or one file.
      config: the folder's `config.json`, or empty.
      tensors: the weights.
    """

    path: Path
    config: Mapping[str, Any]
    tensors: Tensors

    def beside(self, name: str) -> dict[str, Any]:
        """Another JSON file of the folder, such as `preprocessor_config.json`; empty where there is none.

        Raises:
          FileError: it is there but holds no JSON object.
        """
        return _json_object(self.path / name) if self.path.is_dir() and (self.path / name).is_file() else {}


def open_checkpoint(path: Path | str) -> Checkpoint:
    """Open a folder as Hugging Face or timm write it, or one `.safetensors`, `.npz` or `.pth` file.

    Args:
      path: where.

    Returns:
      Its config and tensors; no tensor is read yet, save from a `.pth`.

    Raises:
      FileError: there is nothing there, it is damaged, or it is of another kind.
    """
    path = Path(path)
    if path.is_dir():
        config = _json_object(path / "config.json") if (path / "config.json").is_file() else {}
        return Checkpoint(path, config, _open_file(_weights_in(path)))
    if not path.exists():
        raise FileError(path, "there is no such file or folder")
    return Checkpoint(path, {}, _open_file(path))


def _weights_in(folder: Path) -> Path:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return found[0]
    reason = "several" if found else "none"
    raise FileError(folder, f"expected one of {', '.join(_WEIGHTS)} or a single .safetensors file, found {reason}")


def _open_file(path: Path) -> Tensors:
    if path.name.endswith(".safetensors.index.json"):
        return _open_shards(path)
    if path.suffix == ".safetensors":
        return open_safetensors(path)
    if path.suffix == ".npz":
        return _open_npz(path)
    if path.suffix in _PICKLED:
        arrays = read_pth(path)
        return Tensors({name: array.shape for name, array in arrays.items()}, arrays.__getitem__)
    raise FileError(path, "expected a folder, or a .safetensors, .npz or .pth file")


def open_safetensors(path: Path) -> Tensors:
    """The tensors of one safetensors file.

    Raises:
      FileError: it is missing or damaged.
    """
    try:
        file = safe_open(path, framework="numpy")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 it is no dict
    except FileNotFoundError:
        raise FileError(path, "there is no such file") from None
    except (SafetensorError, OSError) as error:
        raise FileError(path, f"is not a safetensors file, or is damaged ({_first_line(error)})") from None

    def read(name: str) -> np.ndarray:
        try:
            array: np.ndarray = file.get_tensor(name)
        except Exception as error:  # an element type that numpy lacks
            raise FileError(path, f"tensor {name!r} cannot be read ({_first_line(error)})") from None
        return array

    return Tensors(shapes, read)


def _open_shards(index: Path) -> Tensors:
    names = _json_object(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(shard, str) for shard in names.values()):
        raise FileError(index, "has no weight_map of tensor names to files")
    for shard in names.values():
        # A shard lies beside its index; anything else is an attempt to read what was not offered.
        if Path(shard).name != shard:
            raise FileError(index, f"names a shard outside its folder: {shard!r}")
    shards = {shard: open_safetensors(index.parent / shard) for shard in sorted(set(names.values()))}
    for name, shard in names.items():
        if name not in shards[shard]:
            raise FileError(index, f"says that {name!r} is in {shard}, which does not hold it")
    shapes = {name: shards[shard].shapes[name] for name, shard in names.items()}
    return Tensors(shapes, lambda name: shards[names[name]][name])


def _open_npz(path: Path) -> Tensors:
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shapes = {}
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    version = np.lib.format.read_magic(member)
                    shapes[name.removesuffix(".npy")] = header[version](member)[0]
    except _DAMAGED as error:
        raise FileError(path, f"is not an npz file, or is damaged ({_first_line(error)})") from None

    def read(name: str) -> np.ndarray:
        # Opened for each array, so that nobody has to close it.
        try:
            with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
                array: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
        except _DAMAGED as error:
            raise FileError(path, f"array {name!r} cannot be read ({_first_line(error)})") from None
        return array

    return Tensors(shapes, read)


def _json_object(path: Path) -> dict[str, Any]:
    value = atomic.read_json(path)
    if not isinstance(value, dict):
        raise FileError(path, "expected a JSON object")
    return value


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

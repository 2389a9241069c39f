"""Arrays in files that are mapped into memory: read from the disk as they are used, and checked before they are.

A folder of `.npy` files and `manifest.json`, which holds their digests and is written last. The folder gets its name by
one rename, after all of it is on the disk.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from tlx import atomic, tree
from tlx.errors import FileError

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Mapped:
    """Arrays that were found intact.

    Args:
      arrays: an array or nested dicts of arrays, read-only.
      meta: what was saved along with them.
    """

    arrays: Any
    meta: dict[str, Any]


class DamagedError(FileError):
    """A folder that is not what was saved.

    Args:
      folder: the folder.
      reason: what is wrong with it.
    """

    def __init__(self, folder: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(folder, f"is damaged: {reason}; delete it to have it made again")


def save(folder: Path, batches: Iterator[Any], size: int, meta: Mapping[str, Any]) -> None:
    """Save arrays that come batch by batch; at no time more than a batch is held.

    Args:
      folder: does not exist.
      batches: consecutive parts along the first axis, arrays or nested dicts of arrays that differ in length alone.
      size: length of all of them together, at least 1.
      meta: what JSON can hold.

    Raises:
      FileError: the name is taken, or the system refuses; nothing is left behind.
    """
    with atomic.new_folder(folder) as temporary:
        files: dict[str, _Npy] = {}
        try:
            for batch in batches:
                for path, part in tree.flatten(batch).items():
                    if path not in files:
                        files[path] = _Npy(temporary / f"{len(files)}.npy", part, size)
                    files[path].append(part)
        finally:
            for file in files.values():
                file.close()
        content = {"format": FORMAT, "meta": dict(meta), "leaves": {path: f.facts() for path, f in files.items()}}
        atomic.write_json(temporary / MANIFEST, {**content, "digest": atomic.digest_json(content)})


def load(folder: Path) -> Mapped:
    """Map a folder that `save` wrote, after every byte of it has been checked.

    Args:
      folder: the folder.

    Raises:
      FileError: there is no such folder, or a newer program wrote it.
      DamagedError: it is not as it was written.
    """
    if not folder.is_dir():
        raise FileError(folder, "there is no such folder")
    try:
        manifest = atomic.read_json(folder / MANIFEST)
    except FileError as error:
        raise DamagedError(folder, str(error).removeprefix(f"{folder}/")) from None
    if not isinstance(manifest, dict) or manifest.pop("digest", None) != atomic.digest_json(manifest):
        raise DamagedError(folder, f"{MANIFEST} is not as it was written")
    if manifest["format"] > FORMAT:
        raise FileError(folder, f"has format {manifest['format']}, this tlx knows format {FORMAT}; update tlx")
    leaves = {path: _mapped(folder, facts) for path, facts in manifest["leaves"].items()}
    return Mapped(leaves[""] if "" in leaves else tree.unflatten(leaves), manifest["meta"])


class _Npy:
    """A `.npy` file that grows. It is not written through a map, as a full disk would then kill the process."""

    def __init__(self, path: Path, like: np.ndarray, size: int) -> None:
        self.name, self.shape, self.dtype = path.name, (size, *like.shape[1:]), like.dtype
        self._file, self._sha256, self._rows = path.open("xb"), hashlib.sha256(), 0
        plain = np.lib.format.dtype_to_descr(_storable(self.dtype))
        np.lib.format.write_array_header_1_0(self, {"descr": plain, "fortran_order": False, "shape": self.shape})

    def write(self, data: bytes) -> None:
        self._sha256.update(data)
        self._file.write(data)

    def append(self, part: np.ndarray) -> None:
        assert part.dtype == self.dtype and part.shape[1:] == self.shape[1:]
        self._rows += len(part)
        self.write(part.tobytes())

    def close(self) -> None:
        self._file.close()

    def facts(self) -> dict[str, Any]:
        assert self._rows == self.shape[0]
        return {
            "file": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "sha256": self._sha256.hexdigest(),
        }


def _mapped(folder: Path, facts: Mapping[str, Any]) -> np.ndarray:
    path = folder / facts["file"]
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DamagedError(folder, f"{path.name} cannot be read: {error.strerror}") from None
    if digest != facts["sha256"]:
        raise DamagedError(folder, f"{path.name} is not as it was written")
    try:
        array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)).view(_dtype(facts["dtype"]))
    except (ValueError, TypeError) as error:
        raise DamagedError(folder, f"{path.name} holds no numbers: {error}") from None
    if list(array.shape) != facts["shape"]:
        raise DamagedError(folder, f"{path.name} has shape {list(array.shape)}, not {facts['shape']}")
    return array


def _storable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What a `.npy` file can name: bfloat16 goes as the integers of its bits."""
    return np.dtype(np.uint16) if dtype == ml_dtypes.bfloat16 else dtype


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)

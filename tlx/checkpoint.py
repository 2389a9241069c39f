"""Checkpoints that are whole or not there: Orbax writes the arrays, a manifest of digests comes last.

A checkpoint is a folder with `tree/` (Orbax) and `manifest.json`. It gets its name by one rename, after all
of it is on the disk, and is used only if every file and every leaf has the digest that the manifest gives.
"""

import hashlib
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from tlx import atomic
from tlx.errors import CheckpointError, FileError
from tlx.tree import digest_inventory, flatten, inventory, nbytes, unflatten

FORMAT = 1
MANIFEST = "manifest.json"
# Bytes that a checkpoint's folders, indices and manifest take besides its leaves.
_SLACK = 2**18
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restored:
    """A checkpoint that was read and found intact.

    Args:
      step: how many steps had been taken.
      tree: NumPy arrays in nested dicts, or the structure and placement that was asked for.
      meta: what was saved along with the tree.
      digest: `tlx.tree.digest` of the tree.
    """

    step: int
    tree: Any
    meta: dict[str, Any]
    digest: str


class Checkpoints:
    """The checkpoints of one run, of which this process is the only writer.

    Args:
      folder: holds one folder per step.
      keep: how many of the newest steps stay.
      warn: is given one line when a damaged step is passed over.
    """

    def __init__(self, folder: Path, keep: int = 2, warn: Callable[[str], None] = _log.warning) -> None:
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}")
        self.folder, self.keep, self.warn = Path(folder).absolute(), keep, warn

    def save(self, step: int, tree: Any, meta: Mapping[str, Any]) -> None:
        """Save a tree, then remove the steps beyond `keep`; when this returns, it is on the disk.

        Args:
          step: greater than every step saved before; saving the newest one again must give the same tree.
          tree: any pytree of arrays.
          meta: what JSON can hold.

        Raises:
          CheckpointError: if steps that are there already would be contradicted.
          FileError: if the system refuses; the earlier steps are then untouched.
        """
        newest = max(self.steps(), default=-1)
        if step < newest:
            message = f"holds step {newest}, so step {step} cannot be saved; restore it or delete it"
            raise CheckpointError(self.folder, message)
        atomic.clean_temporaries(self.folder, age=0)
        save_artifact(self._path(step), tree, meta, step)
        for old in self.steps()[: -self.keep]:
            atomic.remove_folder(self._path(old))

    def steps(self) -> list[int]:
        """The steps that were completed, in order, seen from what is there."""
        return [int(path.name) for path in self._folders() if (path / MANIFEST).exists()]

    def restore(self, like: Any = None) -> Restored | None:
        """The newest intact checkpoint; damaged newer ones are put aside with one line of warning.

        Args:
          like: the tree to expect (arrays or `jax.ShapeDtypeStruct`), and where to place its leaves.

        Returns:
          None only if nothing was ever saved.

        Raises:
          CheckpointError: if there are checkpoints and none is intact, or the tree is not like `like`.
        """
        damaged: dict[Path, str] = {}
        for path in reversed(self._folders()):
            try:
                restored = load_artifact(path, like)
                if restored.step != int(path.name):
                    raise _DamagedError(path, f"it is step {restored.step} under another name")
            except _DamagedError as error:
                damaged[path] = error.reason
                continue
            if damaged:
                self._put_aside(damaged, restored.step)
            return restored
        if damaged:
            message = f"{self._reasons(damaged)}; no step is intact, delete the folder to start over"
            raise CheckpointError(self.folder, message)
        return None

    def _put_aside(self, damaged: Mapping[Path, str], used: int) -> None:
        for path in damaged:
            earlier = len(list(self.folder.glob(f"{path.name}.damaged*")))
            suffix = f".damaged-{earlier + 1}" if earlier else ".damaged"
            atomic.commit_folder(path, path.with_name(path.name + suffix))
        self.warn(f"{self.folder}: {self._reasons(damaged)}; put aside, going on from step {used}")

    def _reasons(self, damaged: Mapping[Path, str]) -> str:
        return "; ".join(f"step {int(path.name)} is damaged: {reason}" for path, reason in damaged.items())

    def _path(self, step: int) -> Path:
        return self.folder / f"{step:08d}"

    def _folders(self) -> list[Path]:
        with suppress(FileNotFoundError):
            steps = [path for path in self.folder.iterdir() if path.name.isdecimal() and path.is_dir()]
            return sorted(steps, key=lambda path: int(path.name))
        return []


def save_artifact(folder: Path, tree: Any, meta: Mapping[str, Any], step: int = 0) -> None:
    """Save one tree as a folder of its own; a name once taken is never overwritten.

    Args:
      folder: does not exist, or holds the same tree already.
      tree: any pytree of arrays.
      meta: what JSON can hold.
      step: how many steps it took.

    Raises:
      CheckpointError: if another tree is there.
      FileError: if the system refuses.
    """
    folder = Path(folder).absolute()  # Orbax takes no other
    leaves = {path: np.asarray(leaf) for path, leaf in flatten(jax.device_get(tree)).items()}
    _check_leaves(folder, leaves)
    content = {"format": FORMAT, "step": step, "meta": dict(meta), "leaves": inventory(unflatten(leaves))}
    atomic.canonical_json(content)  # before anything is written
    if folder.exists():
        if _read_manifest(folder)["leaves"] == content["leaves"]:
            return
        raise CheckpointError(folder, "holds another tree; delete it or choose another folder")
    _check_room(folder, nbytes(leaves))
    temporary = atomic.temporary_beside(folder)
    try:
        if filled := {path: leaf for path, leaf in leaves.items() if leaf.size}:
            with _orbax() as orbax:
                orbax.save(temporary / "tree", args=ocp.args.StandardSave(unflatten(filled)))
        content["files"] = _file_digests(temporary)
        atomic.write_json(temporary / MANIFEST, {**content, "digest": atomic.digest_json(content)})
        atomic.commit_folder(temporary, folder)
    except FileError:
        raise
    except Exception as error:  # Orbax and TensorStore have no common error type
        message = f"could not be written ({nbytes(leaves)} bytes): {_short(error)}"
        raise FileError(folder, message) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_room(folder: Path, size: int) -> None:
    """Orbax, once it has met a full disk, goes on complaining from its threads: better not to begin."""
    place = next(parent for parent in folder.parents if parent.exists())
    if shutil.disk_usage(place).free < size + _SLACK:
        raise FileError(folder, f"could not be written ({size} bytes): the disk is full")


def is_artifact(folder: Path) -> bool:
    """Whether a folder claims to be one that `save_artifact` wrote; nothing is checked yet."""
    return (Path(folder) / MANIFEST).is_file() and (Path(folder) / "tree").is_dir()


def load_artifact(folder: Path, like: Any = None) -> Restored:
    """Read a folder that `save_artifact` wrote, and check every leaf.

    Args:
      folder: the folder.
      like: the tree to expect (arrays or `jax.ShapeDtypeStruct`), and where to place its leaves.

    Raises:
      CheckpointError: if it is missing, damaged, newer than this program, or not like `like`.
    """
    folder = Path(folder).absolute()  # Orbax takes no other
    manifest = _read_manifest(folder)
    saved = manifest["leaves"]
    if like is not None:
        wanted = {p: {"shape": list(x.shape), "dtype": x.dtype.name} for p, x in flatten(like).items()}
        if difference := _difference(saved, wanted):
            raise CheckpointError(folder, f"{difference}; it was saved from another model or method")
    _check_files(folder, manifest["files"])
    leaves = _read_leaves(folder, saved)
    if difference := _difference(inventory(unflatten(leaves)), saved):
        raise _DamagedError(folder, difference)
    if like is None:
        tree: Any = unflatten(leaves)
    else:
        placed = [_place(leaves[path], leaf) for path, leaf in flatten(like).items()]
        tree = jax.tree.unflatten(jax.tree.structure(like), placed)
    return Restored(manifest["step"], tree, manifest["meta"], digest_inventory(saved))


class _DamagedError(CheckpointError):
    """A checkpoint that is not what was saved, so that an older one should be used."""

    def __init__(self, folder: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(folder, f"is damaged: {reason}; delete it to have it made again")


def _check_leaves(folder: Path, leaves: Mapping[str, np.ndarray]) -> None:
    for path, leaf in leaves.items():
        if leaf.dtype.kind in "OSUMm":
            raise CheckpointError(folder, f"leaf {path!r} is not an array of numbers")
    if len({path.replace("/", ".") for path in leaves}) < len(leaves):  # Orbax would store one for both
        raise CheckpointError(folder, "cannot hold two leaves whose names differ only in '/' and '.'")


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise CheckpointError(folder, "there is no checkpoint here")
    try:
        manifest = atomic.read_json(folder / MANIFEST)
    except FileError as error:
        raise _DamagedError(folder, str(error).removeprefix(f"{folder}/")) from None
    if not isinstance(manifest, dict) or manifest.pop("digest", None) != atomic.digest_json(manifest):
        raise _DamagedError(folder, "manifest.json is not as it was written")
    if manifest["format"] > FORMAT:
        known = f"format {manifest['format']}, this one knows {FORMAT}"
        raise CheckpointError(folder, f"was written by a newer tlx ({known}); update tlx")
    return manifest


def _file_digests(folder: Path) -> dict[str, str]:
    digests = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != MANIFEST:
            with path.open("rb") as file:
                digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _check_files(folder: Path, saved: Mapping[str, str]) -> None:
    """Find damage before Orbax meets it, whose native code may then complain on the console, or worse."""
    try:
        found = _file_digests(folder)
    except OSError as error:
        raise _DamagedError(folder, f"cannot be read: {error.strerror}") from None
    for name, digest in saved.items():
        if name not in found:
            raise _DamagedError(folder, f"{name} is missing")
        if found[name] != digest:
            raise _DamagedError(folder, f"{name} is not as it was written")


def _read_leaves(folder: Path, saved: Mapping[str, Any]) -> dict[str, np.ndarray]:
    empty = {path: leaf for path, leaf in saved.items() if 0 in leaf["shape"]}
    leaves = {path: np.zeros(leaf["shape"], leaf["dtype"]) for path, leaf in empty.items()}
    if len(empty) < len(saved):  # what has no numbers was not given to Orbax, which refuses it
        try:
            with _orbax() as orbax:
                leaves |= flatten(orbax.restore(folder / "tree"))
        except Exception as error:  # nothing is wrong with the files, so no reason to use older ones
            message = f"is as it was written, but Orbax cannot read it: {_short(error)}"
            raise CheckpointError(folder, message) from error
    return leaves


def _difference(here: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """The first leaf in which an inventory is not what was wanted."""
    for path in sorted(here.keys() | wanted.keys()):
        if path not in here:
            return f"has no leaf {path!r}"
        if path not in wanted:
            return f"has a leaf {path!r} too many"
        for field, value in wanted[path].items():
            if here[path][field] != value:
                return f"leaf {path!r} has {field} {here[path][field]!s:.24}, not {value!s:.24}"
    return None


def _place(leaf: np.ndarray, like: Any) -> Any:
    sharding = getattr(like, "sharding", None)
    return leaf if sharding is None else jax.device_put(leaf, sharding)


@contextmanager
def _orbax() -> Iterator[ocp.Checkpointer]:
    """Orbax, without its log and its warnings."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as orbax:
                yield orbax
    finally:
        log.setLevel(level)


def _short(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "RESOURCE_EXHAUSTED" in str(error):  # TensorStore tells at length where, and last what
        return "the disk is full, or the quota"
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]

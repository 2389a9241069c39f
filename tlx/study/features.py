"""Activations at the cut, computed once and shared by every cell above it, and by later runs in the same folder."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

from tlx import atomic, cut, mapped, tree
from tlx.adapt.adapted import Adapted
from tlx.errors import FileError
from tlx.mapped import DamagedError, Mapped
from tlx.study.cells import TargetData
from tlx.study.plan import Unit
from tlx.study.spec import TRANSFER

ID_DIGITS = 16
Batches = Iterator[tuple[Any, float]]


class Features:
    """The activations of a study. Any thread may ask; what is being computed is waited for.

    Args:
      folder: holds one folder for each set of activations, named by what they were made of; None to keep them in
        memory, each for as long as whoever asked keeps it.
      say: is given a line where something on the disk is not as it should be.
    """

    def __init__(self, folder: Path | None, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._open: dict[str, Mapped] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        if folder:
            with suppress(FileError):  # whoever may not clean up may still read
                atomic.clean_temporaries(folder)

    def get(self, identity: Mapping[str, Any], size: int, compute: Callable[[], Batches]) -> tuple[Any, float]:
        """Activations, from where they were computed before if they were.

        Args:
          identity: everything that their bits depend on, in plain values.
          size: examples.
          compute: the activations of consecutive batches, and the FLOPs one example cost.

        Returns:
          Activations [examples, ...], an array or nested dicts of arrays, and the FLOPs one example cost.
        """
        if self._folder is None:
            return cut.joined(compute())
        name = atomic.digest_json(dict(identity))[:ID_DIGITS]
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            if name not in self._open:
                found = self._read(self._folder / name) or self._write(self._folder / name, identity, size, compute)
                if found is None:
                    return cut.joined(compute())
                self._open[name] = found
            kept = self._open[name]
        return kept.arrays, kept.meta["flops"]

    def _read(self, folder: Path) -> Mapped | None:
        """What is there, if it is intact; what is not is taken away."""
        if not folder.exists():
            return None
        try:
            return mapped.load(folder)
        except DamagedError as error:
            self._say(f"{folder}: is damaged: {error.reason}; computed again")
            with suppress(FileError):  # another process was faster
                atomic.remove_folder(folder)
            return None

    def _write(
        self, folder: Path, identity: Mapping[str, Any], size: int, compute: Callable[[], Batches]
    ) -> Mapped | None:
        """Compute and keep; None where the disk does not take it."""
        meta: dict[str, Any] = {"of": dict(identity)}

        def arrays() -> Iterator[Any]:
            for batch, flops in compute():
                meta["flops"] = flops
                yield batch

        try:
            mapped.save(folder, arrays(), size, meta)
        except FileError as error:
            # Another process may have been faster: its activations are the same.
            if found := self._read(folder):
                return found
            self._say(f"{error}; these activations are kept in memory")
            return None
        return mapped.load(folder)


def written_bytes(units: Iterable[Unit], targets: Mapping[str, TargetData]) -> int:
    """How much the activations at the cuts of a study take, each kept once.

    Args:
      units: from `plan.make_units`.
      targets: examples by target name.

    Returns:
      Bytes of all training, validation and test examples' activations.
    """
    sets = {}
    for unit in units:
        first, depth = unit.first, unit.task.first
        if depth:
            adapted = cut.below(unit.task.adapted, depth)
            # From a source all seeds have the same frozen stages, elsewhere each has its own.
            backbones = [first.source] if first.entry.arm == TRANSFER else {cell.seed for cell in unit.cells}
            for backbone in backbones:
                sets[(first.target.name, adapted, depth, backbone)] = _example_bytes(adapted, depth)
    sizes = {name: sum(facts["examples"] for facts in data.facts().values()) for name, data in targets.items()}
    return sum(each * sizes[target] for (target, *_), each in sets.items())


def _example_bytes(adapted: Adapted, depth: int) -> int:
    """What one example's activations take."""

    def run() -> Any:
        variables = adapted.init_adapters(adapted.model.init(0), 0)
        return adapted.apply(variables, adapted.model.example(), last=depth)[0]

    return tree.nbytes(jax.eval_shape(run))

"""The test split behind a door that opens once for each cell, after its selection."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from tlx.data.pipeline import Arrays
from tlx.errors import TlxError


def split_facts(arrays: Arrays) -> dict[str, Any]:
    """What a record says about a split, in plain values; nothing of it is an example.

    Args:
      arrays: the split.

    Returns:
      `split`, `examples`, `digest` and, where the labels are classes, `per_class`.
    """
    facts: dict[str, Any] = {"split": arrays.split, "examples": len(arrays.label_N), "digest": arrays.digest}
    if arrays.num_classes:
        counts = np.bincount(arrays.label_N, minlength=arrays.num_classes)
        facts["per_class"] = [int(count) for count in counts]
    return facts


class Firewall:
    """Holds a test split and gives it out once to each cell whose selection is done.

    Cells are the study's units of selection: what is chosen for one of them must not have seen the test split.
    Any thread may ask.

    Args:
      load: reads the split; called once, when its facts or its examples are first asked for.
    """

    def __init__(self, load: Callable[[], Arrays]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._loaded: Arrays | None = None
        self._selected: set[str] = set()
        self._released: set[str] = set()

    def facts(self) -> dict[str, Any]:
        """Size, counts of each class and digest of the split, which may be known at any time."""
        with self._lock:
            return split_facts(self._arrays())

    def selection_done(self, cell: str) -> None:
        """Say that nothing about a cell will be chosen any more.

        Args:
          cell: its content id.

        Raises:
          TlxError: its test split was given out already, so that a second choice would have seen it.
        """
        with self._lock:
            if cell in self._released:
                raise TlxError(f"cell {cell}: nothing can be selected after its test split was given out")
            self._selected.add(cell)

    def release(self, cell: str) -> Arrays:
        """The test split, to score one cell.

        Args:
          cell: its content id.

        Raises:
          TlxError: its selection is not done, or it was given the split before.
        """
        with self._lock:
            if cell in self._released:
                raise TlxError(f"cell {cell}: the test split was given out already; a cell is scored once")
            if cell not in self._selected:
                raise TlxError(f"cell {cell}: the test split is given out after selection, which is not done")
            arrays = self._arrays()  # a split that cannot be read has not been given out
            self._released.add(cell)
            return arrays

    def as_record(self, cell: str) -> dict[str, Any]:
        """What a cell's record says about its test split, in plain values.

        Args:
          cell: its content id.

        Returns:
          The facts of the split and `releases`, how often this cell was given it: 0 or 1.
        """
        with self._lock:
            return split_facts(self._arrays()) | {"releases": int(cell in self._released)}

    def releases(self) -> int:
        """How many cells were given the split."""
        with self._lock:
            return len(self._released)

    def _arrays(self) -> Arrays:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

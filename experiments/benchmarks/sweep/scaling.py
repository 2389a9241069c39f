"""Total time against the number of cells: whether the thousandth costs what the tenth did."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

Train = Callable[[], object]


@dataclass(frozen=True)
class Curve:
    """Times of one kind of cell.

    Args:
      name: of the kind.
      cells: how many, growing.
      seconds: of each number of cells, the median of the rounds.
    """

    name: str
    cells: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def slope(self) -> float:
        """What one more cell costs at the end, over what a cell costs on average with the fewest: 1 if linear."""
        last = (self.seconds[-1] - self.seconds[-2]) / (self.cells[-1] - self.cells[-2])
        return last / (self.seconds[0] / self.cells[0])


def measure(name: str, make: Callable[[int], Train], cells: Sequence[int], rounds: int) -> Curve:
    """Time growing numbers of cells in turns; each number once before, which compiles it.

    Args:
      name: of the kind.
      make: a number of cells to what trains them.
      cells: growing.
      rounds: timed runs of each number.
    """
    trains = [make(count) for count in cells]
    for train in trains:
        train()
    found = np.zeros((rounds, len(cells)))
    for r in range(rounds):
        for i, train in enumerate(trains):
            began = time.perf_counter()
            train()
            found[r, i] = time.perf_counter() - began
    return Curve(name, tuple(cells), tuple(float(value) for value in np.median(found, axis=0)))


def draw(curves: Sequence[Curve], file: Path) -> None:
    """Time over that of the fewest cells against the number of cells, both on log axes, with a line for 1:1."""
    figure, axes = plt.subplots(figsize=(5.4, 3.6), layout="constrained")
    ends = (min(curve.cells[0] for curve in curves), max(curve.cells[-1] for curve in curves))
    axes.plot(ends, [1, ends[1] / ends[0]], color="0.6", linewidth=0.8, label="linear")
    for curve in curves:
        times = np.asarray(curve.seconds) / curve.seconds[0] * curve.cells[0] / ends[0]
        axes.plot(curve.cells, times, marker="o", markersize=4, label=curve.name)
    axes.set(xscale="log", yscale="log", xlabel="cells", ylabel=f"time, over that of {ends[0]} cells")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    plt.close(figure)

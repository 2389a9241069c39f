"""How long a run waits for its data: the loop's calls for data are timed from outside, the loop itself is as it is."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.rows import Bench, ignore
from tlx import loop
from tlx.sharding import Jit


class Clock:
    """Adds up the seconds spent in blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the block runs."""
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began


class WatchedFeed:
    """A feed whose calls are timed.

    Args:
      feed: which answers them.
      clock: of them.
    """

    def __init__(self, feed: loop.Feed, clock: Clock) -> None:
        self._feed, self._clock = feed, clock

    @property
    def data(self) -> dict[str, Any]:
        """The feed's."""
        with self._clock.running():
            return self._feed.data

    def items(self, start: int, stop: int) -> Any:
        """The feed's."""
        with self._clock.running():
            return self._feed.items(start, stop)


class WatchedPlacement(Jit):
    """A placement on one device whose transfers of data are timed.

    Args:
      clock: of them.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def shared(self, tree: Any) -> Any:
        """As placed; of examples and of frozen leaves, of which the former are nearly all."""
        with self._clock.running():
            return jax.block_until_ready(super().shared(tree))

    def items(self, items: Any, members: bool = False) -> Any:
        """As placed."""
        with self._clock.running():
            return jax.block_until_ready(super().items(items, members))


def waiting(bench: Bench) -> Callable[[], float]:
    """A run of the quickstart's ViT on resident 28 x 28 images.

    Args:
      bench: names the model, the data and their order.

    Returns:
      What makes one run and gives the share of its time that went into getting data, 0 to 1.
    """
    task = bench.task("full")
    state, frozen = bench.begin(task)
    clock = Clock()
    feed = WatchedFeed(loop.Resident(bench.data, bench.order()), clock)
    settings: dict[str, Any] = {"placement": WatchedPlacement(clock), "programs": bench.programs}
    nothing = np.zeros(0, np.float32)

    def run() -> float:
        clock.seconds, began = 0.0, time.perf_counter()
        end, _ = loop.run(
            task, state, frozen, feed, **settings, chunk=bench.scale.chunk, losses=nothing, boundary=ignore
        )
        jax.block_until_ready(end.trainable)
        return clock.seconds / (time.perf_counter() - began)

    return run

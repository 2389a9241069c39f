"""What is timed on both sides: one pass over the examples in shuffled batches, each made ready for a model and summed.

Shape suffixes: N examples, B batch, S steps (or side), H rows, W columns, C channels.
"""

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.adapt.peer import Peer
from experiments.benchmarks.data.pictures import prepared, small, write_jpegs
from experiments.benchmarks.rows import Row, Work
from tlx.data.ops.pipeline import make_pipeline
from tlx.data.order import batch_indices, index_table
from tlx.data.pipeline import stream
from tlx.data.preprocess import normalise
from tlx.loop import fetch

PAD, CROP = 2, 224  # pixels around a small image before it is cut; side of what is cut out of a large one
SEED = 0


@dataclass(frozen=True)
class Scale:
    """How much work there is.

    Args:
      examples: of 28 x 28 pixels, a multiple of `batch`.
      batch: of them.
      pictures: JPEGs, a multiple of `picture_batch`.
      picture_batch: of them.
    """

    examples: int = 12_800
    batch: int = 64
    pictures: int = 256
    picture_batch: int = 32


@dataclass(frozen=True)
class Bench:
    """The examples, and tlx's ways of going through them.

    Args:
      scale: of the work.
      folder: an empty one, for the files that the other side reads, too.
    """

    scale: Scale
    folder: Path

    @functools.cached_property
    def small(self) -> dict[str, np.ndarray]:
        """The small images and their labels."""
        image_NHWC, label_N = small(self.scale.examples)
        return {"input": image_NHWC, "label": label_N}

    @functools.cached_property
    def source(self) -> Any:
        """The large images, prepared."""
        return prepared(self.folder / "jpegs", self.folder / "prepared")

    def write(self) -> dict[str, Any]:
        """Write what the other side reads.

        Returns:
          What it is told first.
        """
        np.save(self.folder / "image.npy", self.small["input"])
        np.save(self.folder / "label.npy", self.small["label"])
        write_jpegs(self.folder / "jpegs", self.scale.pictures)
        sizes = {"batch": self.scale.batch, "pictures": self.scale.pictures, "picture_batch": self.scale.picture_batch}
        return {"folder": str(self.folder), "pad": PAD, "crop": CROP, "cores": os.cpu_count() or 1, **sizes}

    def numpy(self) -> np.ndarray:
        """Batches indexed by NumPy, in memory."""
        n, total = self.scale.examples, 0.0
        for step in range(n // self.scale.batch):
            index_B = batch_indices(n, self.scale.batch, SEED, step)
            image_BHWC = (self.small["input"][index_B].astype(np.float32) - 127.5) / 127.5
            total += float(image_BHWC.sum()) + int(self.small["label"][index_B].sum())
        return np.array([total])

    @functools.cached_property
    def resident(self) -> Work:
        """Batches indexed in a program that has the examples on the device."""
        return self._in_program(lambda step, batch: batch)

    @functools.cached_property
    def augmented(self) -> Work:
        """The same, each image moved and perhaps mirrored."""

        moved = make_pipeline([("pad_crop", {"padding": PAD, "mode": "black"}), ("flip", {})])
        return self._in_program(lambda step, batch: moved(batch, SEED, step))

    def streamed(self) -> np.ndarray:
        """Large images read from disk and decoded a few batches ahead, cut, mirrored and normalised in a program."""
        size = self.scale.picture_batch
        steps = self.scale.pictures // size
        indices = functools.partial(batch_indices, self.scale.pictures, size, SEED)
        total = 0.0
        for step, batch in enumerate(stream(self.source, indices, 0, steps, num_threads=os.cpu_count() or 1)):
            total += float(self._cut(step, batch["input"])) + int(batch["label"].sum())
        return np.array([total])

    @functools.cached_property
    def _cut(self) -> Callable[[int, np.ndarray], jax.Array]:
        cut = make_pipeline([("pad_crop", {"padding": 0, "side": CROP}), ("flip", {})])
        made = jax.jit(lambda step, image_BHWC: normalise(cut({"input": image_BHWC}, SEED, step)["input"]))
        # Two programs, so that the batch is made whole, as a model would want it, and not summed on the way.
        total = jax.jit(jnp.sum)
        return lambda step, image_BHWC: total(made(step, image_BHWC))

    def _in_program(self, change: Callable[[jax.Array, dict[str, jax.Array]], dict[str, jax.Array]]) -> Work:
        data, n, batch = jax.device_put(self.small), self.scale.examples, self.scale.batch
        steps = n // batch
        first = jnp.zeros((batch, *self.small["input"].shape[1:]), jnp.float32)

        @jax.jit
        def run(data: dict[str, jax.Array], index_SB: jax.Array) -> jax.Array:
            def one(before: jax.Array, item: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
                made = change(item[0], fetch(data, item[1]))
                # Summed in the next step, for the same reason.
                return normalise(made["input"]), before.sum() + made["label"].sum().astype(jnp.float32)

            last_BHWC, total_S = jax.lax.scan(one, first, (jnp.arange(steps), index_SB))
            return jnp.append(total_S, last_BHWC.sum())

        return lambda: np.asarray(run(data, index_table(n, batch, SEED, 0, steps))).sum(keepdims=True, dtype=float)


# Name to the other side's work, what it is, and ours. `EXACT`: both sides sum the very same numbers.
WORK: dict[str, tuple[str, str, Callable[[Bench], Work]]] = {
    "numpy": ("memory", "28x28 in memory, indexed by NumPy", lambda bench: bench.numpy),
    "resident": ("memory", "28x28 in memory, indexed in the program", lambda bench: bench.resident),
    "augmented": ("augmented", "28x28 in memory, moved and mirrored", lambda bench: bench.augmented),
    "streamed": ("streamed", "JPEGs read, decoded, cut to 224x224, mirrored", lambda bench: bench.streamed),
}
EXACT = ("numpy", "resident")


@dataclass
class Asked:
    """The other side's way of a row.

    Args:
      peer: the other side.
      work: what it is asked to do.
      style: how it is to go about it.
      workers: processes that it last did it with, None before and where it does not say.
    """

    peer: Peer
    work: str
    style: str
    workers: int | None = None

    def __call__(self) -> np.ndarray:
        """The sum of one pass."""
        answer = self.peer.ask({"work": self.work, "style": self.style})
        self.workers = answer.get("workers")
        return np.asarray(answer["values"], float)


def against(
    bench: Bench, peer: Peer, loader: str, pairs: list[tuple[str, str, str]]
) -> Iterator[tuple[str, Row, Asked]]:
    """Another library's time over tlx's.

    Args:
      bench: tlx's side.
      peer: the other side, told of the same.
      loader: what it is called.
      pairs: a key of `WORK`, how the other side is to go about it, and words for that.

    Yields:
      Name, `ROW-STYLE`, row, and its first way once more.
    """
    for name, style, words in pairs:
        work, says, ours = WORK[name]
        theirs = Asked(peer, work, style)
        yield f"{name}-{style}", Row(f"{says}: {loader}{words} / tlx", theirs, ours(bench)), theirs

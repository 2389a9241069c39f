"""The work that is timed: a few cells as a study runs them, and the same cells otherwise.

Shape suffixes: K runs, S steps, N examples, D features.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.adapt.peer import Peer
from experiments.benchmarks.rows import RATE, Bench, Row, Scale, ignore
from tlx import fused
from tlx.runners.local import default_workers, run_jobs

ROOT = Path(__file__).parents[3]
PEERS = ("heads", "vit")


def together(bench: Bench, cells: int) -> np.ndarray:
    """Full fine-tuning of the ViT, as a study runs it on this machine: one program, a worker a core.

    Returns:
      Losses [K, S].
    """
    task = bench.task("full")
    state, frozen = bench.begin(task)
    loss_KS = np.zeros((cells, bench.scale.steps), np.float32)

    def job(k: int) -> None:
        loss_KS[k] = bench.run(task, state, frozen, bench.data, seed=k)

    run_jobs([functools.partial(job, k) for k in range(cells)], default_workers(1), Event())
    return loss_KS


def one_by_one(scale: Scale, cells: int) -> np.ndarray:
    """The same cells one after another in one process, each as a run of its own that compiles its step.

    Returns:
      Losses [K, S].
    """
    losses = []
    for k in range(cells):
        jax.clear_caches()
        bench = Bench(scale)
        task = bench.task("full")
        losses.append(bench.run(task, *bench.begin(task), bench.data, seed=k))
    return np.stack(losses)


def processes(scale: Scale, cells: int) -> np.ndarray:
    """The same cells one after another, each in a process of its own.

    Returns:
      The last losses of each, [K, 5].
    """
    command = [sys.executable, "-m", "experiments.benchmarks.sweep.one_cell", json.dumps(asdict(scale))]
    made = [
        subprocess.run([*command, str(k)], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
        for k in range(cells)
    ]
    return np.asarray([json.loads(one.stdout) for one in made], np.float32)


def rows(scale: Scale, cells: int) -> Iterator[tuple[str, Row]]:
    """Cells otherwise over cells together.

    Args:
      scale: of the ViT and its data.
      cells: how many.

    Yields:
      Name and row.
    """
    bench = Bench(scale)
    study = functools.partial(together, bench, cells)
    yield "one-by-one", Row(f"{cells} cells one by one / as a study", lambda: one_by_one(scale, cells), study)
    yield "processes", Row(f"{cells} cells in a process each / as a study", lambda: processes(scale, cells), study)


def heads(scale: Scale, count: int) -> Callable[[], np.ndarray]:
    """Linear heads on ready features, all in one program, at three learning rates.

    Args:
      scale: of the features.
      count: of the heads.

    Returns:
      Trains them; gives losses [K, S].
    """
    bench = Bench(scale)
    task = bench.task("head", first=len(bench.model.stages) - 1)
    feature_ND = np.random.default_rng(1).normal(size=(scale.examples, scale.width)).astype(np.float32)
    data = {"input": jnp.asarray(feature_ND), "label": bench.data["label"]}
    state = fused.stack([bench.begin(task, RATE * (1 + k % 3))[0] for k in range(count)])
    orders = [bench.order(seed=k // 3) for k in range(count)]

    def table(start: int, stop: int) -> np.ndarray:
        return np.stack([order(start, stop) for order in orders])

    settings: dict[str, Any] = {"placement": bench.placement, "programs": bench.programs, "chunk": scale.chunk}

    def train() -> np.ndarray:
        nothing = np.zeros((count, 0), np.float32)
        end, loss_KS = fused.run(
            task, jax.tree.map(jnp.copy, state), {}, data, table, **settings, losses=nothing, boundary=ignore
        )
        jax.block_until_ready(end.trainable)
        return loss_KS

    return train


def asked_of(scale: Scale) -> dict[str, Any]:
    """What a peer in PyTorch is told."""
    return asdict(scale) | {"classes": 10, "side": 28, "patch": 7}


def against(scale: Scale, runs: int, peer: Peer) -> Iterator[tuple[str, Row]]:
    """A loop of PyTorch over tlx, for heads and for the ViT.

    Args:
      scale: of both.
      runs: how many.
      peer: told of the same scale.

    Yields:
      Name and row.
    """
    ours = {"heads": heads(scale, runs), "vit": functools.partial(together, Bench(scale), runs)}
    for name in PEERS:
        theirs = functools.partial(peer.ask, {"work": name, "runs": runs})
        yield f"torch-{name}", Row(f"{runs} runs, {name}: PyTorch / tlx", theirs, ours[name])

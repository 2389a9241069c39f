"""How much is left to compute, and for about how long."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx.adapt.adapted import Adapted
from tlx.records import Records
from tlx.runners.local import default_workers
from tlx.step import Task
from tlx.study.cells import SourceData
from tlx.study.cost import step_flops
from tlx.study.objective import trained_model, trained_ops
from tlx.study.run import Grid

# What training reaches of the speed of a large matrix product, where nothing was measured yet: small models reach less.
_SHARE = 0.3
_SIDE, _TIMES = 512, 20


@dataclass(frozen=True)
class Prediction:
    """What is left of a study.

    Args:
      flops: floating-point operations of all train steps still to be made, pre-training included.
      seconds: they will take at `rate`.
      rate: operations per second of the whole process.
      basis: where the rate is from.
    """

    flops: float
    seconds: float
    rate: float
    basis: str


def predict(grid: Grid, work: Path) -> Prediction:
    """How much is left, at the rate of the cells that are done, or else of a matrix product.

    Args:
      grid: from `study.run.lay_out`.
      work: its work folder; only looked at.

    Returns:
      The prediction; scoring, loading and compiling are left out.
    """
    records = Records(work)
    recipe, flops = grid.study.recipe, 0.0
    sources = set()
    for unit in grid.units:
        if all(records.has(cell.id) for cell in unit.cells):
            continue
        if unit.strategy != "solved":  # next to nothing
            flops += unit.steps * step_flops(unit.task, recipe.batch_size)
        sources |= {unit.first.source.name} if unit.first.source else set()
    kept = work / "sources"
    if not kept.exists():  # what is pre-trained in part is counted as if it were done
        flops += sum(_pretraining(grid, name) for name in sorted(sources))
    rate, basis = _measured(grid, records) or (_SHARE * _product_rate(), "a guess from the speed of a matrix product")
    return Prediction(flops, flops / rate, rate, basis)


def _pretraining(grid: Grid, name: str) -> float:
    (source,) = (source for source in grid.study.sources if source.name == name)
    data = grid.sources[name]
    if not isinstance(data, SourceData):
        return 0.0
    model = trained_model(grid.study, source, data)
    adapted = Adapted(model, "full", precision=source.recipe.precision)
    ops = trained_ops(grid.study, data, model)
    task = Task(adapted, source.optimizer, source.recipe.steps, ops=ops)
    return source.recipe.steps * step_flops(task, source.recipe.batch_size)


def _measured(grid: Grid, records: Records) -> tuple[float, str] | None:
    """The rate of the cells that are done, times the cells that run at once."""
    workers = grid.study.execution.workers or default_workers(grid.placement.devices)
    flops = seconds = 0.0
    for cell in grid.cells:
        timing = records.timing(cell.id) if records.has(cell.id) else None
        if timing and timing.get("wall_s"):
            record: Mapping[str, Any] = records.get(cell.id)
            steps = sum(trial.get("step", grid.study.recipe_of(cell.target).steps) for trial in record["trials"])
            flops += record["cost"]["step_flops"] * steps
            seconds += timing["wall_s"]
    return (workers * flops / seconds, "the rate of the cells that are done") if flops and seconds else None


def _product_rate() -> float:
    """Operations per second of a matrix product, the best of a few times."""
    product = jax.jit(lambda x_IJ: x_IJ @ x_IJ)
    x_IJ = jnp.asarray(np.random.default_rng(0).normal(size=(_SIDE, _SIDE)), jnp.float32)
    product(x_IJ).block_until_ready()
    best = float("inf")
    for _ in range(_TIMES):
        began = time.perf_counter()
        product(x_IJ).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return 2 * _SIDE**3 / best

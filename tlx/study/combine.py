"""From a cell's trials to the leaves that are scored: the chosen trial's, or a combination of several."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from tlx import tree
from tlx.adapt.hooks import Candidates
from tlx.losses import score_and_loss
from tlx.partition import combine as union
from tlx.seeds import derive
from tlx.study.cells import Cell
from tlx.study.context import Context
from tlx.study.plan import Unit
from tlx.study.search import Point
from tlx.study.select import Validation, validate
from tlx.study.starts import Start
from tlx.study.trials import Trained, Trial


def predictions(unit: Unit, run: Trained, start: Start, x_N: Any, context: Context) -> np.ndarray:
    """Logits of a finished run, [examples, classes].

    Args:
      unit: names the task.
      run: its leaves.
      start: the leaves beside them.
      x_N: what enters the first stage that runs, [examples, ...], an array or nested dicts of arrays.
      context: of the study.
    """
    return context.logits(unit.task, run.trainable, run.beside(start), run.stats, x_N, run.scale)


def combined(
    unit: Unit,
    cell: Cell,
    start: Start,
    results: list[Validation],
    point: Point,
    done: dict[str, Trained],
    context: Context,
) -> tuple[Trained, Validation]:
    """What a cell is scored with.

    Args:
      unit: names the methods; at most one of them combines.
      cell: the cell.
      start: where its runs began.
      results: its trials on the validation split.
      point: the hyper-parameters that were chosen.
      done: finished runs by trial key.
      context: of the study.

    Returns:
      The leaves and their validation result; the chosen trial's own where no method combines. A combination keeps
      the chosen trial's statistics and counts as its point.
    """
    ended = [result for result in results if result.stopped is None]
    runs = [done[Trial(cell, result.point).key] for result in ended]
    chosen = next(i for i, result in enumerate(ended) if result.point == point)
    hooks = [(method.combine, settings) for method, settings in unit.task.adapted.parts if method.combine]
    if not hooks or ended[chosen].score is None:
        return runs[chosen], ended[chosen]
    label_N = context.targets[cell.target.name].validation.label_N
    good = [i for i, result in enumerate(ended) if result.score is not None]

    def score(leaves: dict[str, Any]) -> float:
        logits_NC = predictions(
            unit, replace(runs[chosen], trainable=leaves), start, start.inputs["validation"], context
        )
        return score_and_loss(logits_NC, label_N)[0] if np.all(np.isfinite(logits_NC)) else 0.0

    candidates = Candidates(
        start=_part(start, runs[chosen]),
        tuned=[runs[i].trainable for i in good],
        accuracy=np.array([ended[i].score for i in good], np.float64),
        chosen=good.index(chosen),
        evaluate=score,
        key=jax.random.key(derive(cell.seed, "combine")),
    )
    ((hook, settings),) = hooks
    run = replace(runs[chosen], trainable=jax.device_get(hook(settings, candidates)))
    logits_NC = predictions(unit, run, start, start.inputs["validation"], context)
    return run, validate(cell.seed, point, False, logits_NC, label_N)


def _part(start: Start, run: Trained) -> dict[str, Any]:
    """The leaves that a run moved, as they were at the start."""
    whole = tree.flatten(union(start.trainable, start.stats, start.frozen))
    return tree.unflatten({path: whole[path] for path in tree.flatten(run.trainable)})

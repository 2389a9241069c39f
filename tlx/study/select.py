"""Choosing hyper-parameters on validation data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlx.losses import score_and_loss
from tlx.study.search import Point

BY = "mean validation score over seeds"


@dataclass(frozen=True)
class Validation:
    """A trial's validation result.

    Args:
      seed: of the cell.
      point: of the trial.
      score: accuracy, or R² of scores, on the validation examples; None if it diverged.
      loss: nats, or a squared error; None if it diverged.
      stopped: the step at which it was stopped for being among the worst, None if it was trained to the end.
    """

    seed: int
    point: Point
    score: float | None
    loss: float | None
    stopped: int | None = None


def validate(seed: int, point: Point, diverged: bool, logits_NC: np.ndarray, label_N: np.ndarray) -> Validation:
    """Score one trial on validation data.

    Args:
      seed: of the cell.
      point: of the trial.
      diverged: a diverged trial has no score; neither has one whose predictions are not finite.
      logits_NC: predictions, [examples, classes].
      label_N: [examples].

    Returns:
      Its result.
    """
    if diverged or not np.all(np.isfinite(logits_NC)):
        return Validation(seed, point, None, None)
    return Validation(seed, point, *score_and_loss(logits_NC, label_N))


def ranked(results: Sequence[Validation]) -> list[Point]:
    """All points, the one with the highest validation score, averaged over seeds, first.

    Args:
      results: one for every seed and point; a diverged trial counts as 0, what chance or the mean would get.

    Returns:
      Points; ties go to the lower mean loss, then to the lower rate, then to the lower decay and so on.
    """

    def demerit(point: Point) -> tuple[float, ...]:
        mine = [result for result in results if result.point == point]
        score = mean_score(mine)
        loss = float(np.mean([np.inf if result.loss is None else result.loss for result in mine]))
        return -score, loss, *point.order

    return sorted({result.point for result in results}, key=demerit)


def mean_score(results: Sequence[Validation]) -> float:
    """Over seeds; a diverged trial counts as 0.

    Args:
      results: of one point.
    """
    return float(np.mean([result.score or 0.0 for result in results]))


def select(results: Sequence[Validation]) -> Point:
    """The best point of those that were trained to the end.

    Args:
      results: as `ranked` takes them.
    """
    return ranked([result for result in results if result.stopped is None])[0]

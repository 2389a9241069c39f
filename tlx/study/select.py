"""Choosing a learning rate on validation data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlx.losses import score_and_loss

BY = "mean validation score over seeds"


@dataclass(frozen=True)
class Validation:
    """A trial's validation result.

    Args:
      seed: of the cell.
      learning_rate: of the trial.
      score: accuracy, or R² of scores, on the validation examples; None if it diverged.
      loss: nats, or a squared error; None if it diverged.
    """

    seed: int
    learning_rate: float
    score: float | None
    loss: float | None


def validate(seed: int, learning_rate: float, diverged: bool, logits_NC: np.ndarray, label_N: np.ndarray) -> Validation:
    """Score one trial on validation data.

    Args:
      seed: of the cell.
      learning_rate: of the trial.
      diverged: a diverged trial has no score; neither has one whose predictions are not finite.
      logits_NC: predictions, [examples, classes].
      label_N: [examples].

    Returns:
      Its result.
    """
    if diverged or not np.all(np.isfinite(logits_NC)):
        return Validation(seed, learning_rate, None, None)
    return Validation(seed, learning_rate, *score_and_loss(logits_NC, label_N))


def select(results: Sequence[Validation]) -> float:
    """The learning rate with the highest validation score, averaged over seeds.

    Args:
      results: one for every seed and learning rate; a diverged trial counts as 0, what chance or the mean would get.

    Returns:
      The best learning rate; ties go to the lower mean loss, then to the lower rate.
    """

    def merit(rate: float) -> tuple[float, float, float]:
        mine = [result for result in results if result.learning_rate == rate]
        score = float(np.mean([result.score or 0.0 for result in mine]))
        loss = float(np.mean([np.inf if result.loss is None else result.loss for result in mine]))
        return score, -loss, -rate

    return max({result.learning_rate for result in results}, key=merit)

"""Choosing a learning rate on validation data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlx.losses import accuracy_and_loss

BY = "mean validation accuracy over seeds"


@dataclass(frozen=True)
class Validation:
    """A trial's validation result.

    Args:
      seed: of the cell.
      learning_rate: of the trial.
      accuracy: share of validation examples, or None if it diverged.
      loss: nats, or None if it diverged.
    """

    seed: int
    learning_rate: float
    accuracy: float | None
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
    return Validation(seed, learning_rate, *accuracy_and_loss(logits_NC, label_N))


def select(results: Sequence[Validation]) -> float:
    """The learning rate with the highest validation accuracy, averaged over seeds.

    Args:
      results: one for every seed and learning rate; a diverged trial counts as accuracy 0.

    Returns:
      The best learning rate; ties go to the lower mean loss, then to the lower rate.
    """

    def merit(rate: float) -> tuple[float, float, float]:
        mine = [result for result in results if result.learning_rate == rate]
        accuracy = float(np.mean([result.accuracy or 0.0 for result in mine]))
        loss = float(np.mean([np.inf if result.loss is None else result.loss for result in mine]))
        return accuracy, -loss, -rate

    return max({result.learning_rate for result in results}, key=merit)

"""What a method's hooks are handed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from tlx.models.registry import Model

# (index of the stage, the stage, what flows in) to what flows out.
Around = Callable[[int, Callable[[Any], Any], Any], Any]


@dataclass(frozen=True)
class Pass:
    """One forward pass.

    Args:
      model: the architecture.
      scale: factor on the adapters' effect; may be traced.
      adapters: the `adapters` collection; empty while the interceptors create theirs.
      train: whether this is a training step; dropout draws from the rng collection `dropout`.
    """

    model: Model
    scale: jax.Array | float
    adapters: dict[str, Any]
    train: bool


@dataclass(frozen=True)
class Moment:
    """One training step, as a penalty sees it.

    Args:
      model: the architecture.
      variables: all leaves, `reference` among them.
      labels: label of each parameter and adapter.
      batch: `input` and `label`.
      first: the stage the input enters at.
      features: what enters the head.
      logits: what comes out of it, [B, C].
    """

    model: Model
    variables: dict[str, Any]
    labels: dict[str, str]
    batch: dict[str, Any]
    first: int
    features: Any
    logits: jax.Array


@dataclass(frozen=True)
class Phase:
    """A stretch of a run.

    Args:
      start: share of the steps at which it begins, 0 for the first.
      opens: patterns over paths: leaves that move from now on, if their label says they move at all. What
        an earlier phase opened stays open.
      lr: factor on the learning rate.
      restart: whether the schedule starts anew here and ends where the next restart begins.
    """

    start: float
    opens: tuple[str, ...]
    lr: float = 1.0
    restart: bool = False


@dataclass(frozen=True)
class Calibration:
    """What leaves that depend on examples are made from.

    Args:
      model: the architecture.
      logits: `(leaves, input)` to logits [B, C] of the adapted model in evaluation mode; `leaves` are nested as in
        `variables`, `{"params": ...}`, and may be some of them: the others keep their start.
      variables: all leaves at the start, grown ones among them.
      batches: inputs, [B, ...] each, and labels [B].
      key: for sampling.
    """

    model: Model
    logits: Callable[[dict[str, Any], jax.Array], jax.Array]
    variables: dict[str, Any]
    batches: Sequence[tuple[jax.Array, jax.Array]]
    key: jax.Array


@dataclass(frozen=True)
class Candidates:
    """The finished trials of one cell.

    Args:
      start: the moving leaves before the first step.
      tuned: the moving leaves of each trial, those that diverged left out.
      accuracy: of each on the validation split.
      chosen: index of the trial that would be scored alone.
      evaluate: moving leaves to validation accuracy.
      key: for sampling.
    """

    start: dict[str, Any]
    tuned: Sequence[dict[str, Any]]
    accuracy: np.ndarray
    chosen: int
    evaluate: Callable[[dict[str, Any]], float]
    key: jax.Array


@dataclass(frozen=True)
class Fixed:
    """Labelled examples whose features stay as they are.

    Args:
      x_ND: features, [examples, width].
      label_N: classes, or scores as floats.
      outputs: of the head: classes, or 1 for scores.
      smoothing: share of the target mass spread over all classes.
      penalties: of the head's kernel, one for each trial.
    """

    x_ND: np.ndarray
    label_N: np.ndarray
    outputs: int
    smoothing: float
    penalties: tuple[float, ...]

"""Runs that are under way together: one stacked state, one step."""

from collections.abc import Container, Sequence
from typing import Any

import jax
import numpy as np

from tlx import fused
from tlx.state import TrainState, from_tree, to_tree
from tlx.step import Task
from tlx.study.trials import Trained, Trial

# Trial keys, and the stacked state in nested dicts, losses and seconds.
Saved = tuple[tuple[str, ...], dict[str, Any]]


class Group:
    """Some runs of a unit.

    Args:
      trials: whose runs they are.
      state: of all of them before the first step, stacked.
    """

    def __init__(self, trials: Sequence[Trial], state: TrainState) -> None:
        self.trials, self.state = list(trials), state
        self.losses = np.zeros((len(self.trials), 0), np.float32)
        # That every one of them has done; kept apart, as a program takes the memory of the state it is given.
        self.step = 0
        self.seconds = 0.0

    def move(self, state: TrainState, losses: np.ndarray, seconds: float) -> None:
        """Take over what became of it.

        Args:
          state: stacked.
          losses: of every step, [members, step].
          seconds: since the first step.
        """
        self.state, self.losses, self.seconds = state, losses, seconds
        self.step = int(state.step[0])

    def so_far(self, trial: Trial, task: Task) -> Trained:
        """What one of them has learned of a task; the seconds are shared evenly."""
        k, seconds = self.trials.index(trial), self.seconds / len(self.trials)
        one = fused.member(self.state, k)
        losses = self.losses[k][: trial.steps(task)]
        return Trained(one.evaluated, one.stats, losses, bool(one.diverged), seconds, scale=trial.point.scale)

    def drop(self, keys: Container[str]) -> None:
        """Go on without some.

        Args:
          keys: of their trials.
        """
        kept = [k for k, trial in enumerate(self.trials) if trial.key not in keys]
        self.seconds *= len(kept) / len(self.trials)
        self.trials = [self.trials[k] for k in kept]
        self.state, self.losses = fused.members(self.state, kept), self.losses[kept]

    def saved(self) -> Saved:
        """For a checkpoint."""
        content = {"state": to_tree(self.state), "losses": self.losses, "seconds": np.float32(self.seconds)}
        return tuple(trial.key for trial in self.trials), content

    def restore(self, content: dict[str, Any]) -> None:
        """Go on from what a checkpoint held.

        Args:
          content: of a group of the same trials.
        """
        state = jax.device_get(from_tree(self.state, content["state"]))
        self.move(state, content["losses"], float(content["seconds"]))


def steps_of(saved: Sequence[Saved]) -> int:
    """Train steps of all runs of some groups.

    Args:
      saved: from `Group.saved`.
    """
    return sum(int(np.sum(content["state"]["step"])) for _, content in saved)

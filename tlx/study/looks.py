"""Validation scores on the way, at the same steps in every arm: what learning curves and speed-ups are made of."""

from typing import Any

import numpy as np

from tlx.study.combine import predictions
from tlx.study.context import Context
from tlx.study.plan import Unit
from tlx.study.select import Validation, validate
from tlx.study.starts import Start
from tlx.study.trials import Trained, Trial

# Of a trial that diverged, in a checkpoint.
_NO_SCORE = np.float64(np.nan)


class Looks:
    """What trials of a unit scored before their last step. No choice depends on it.

    Args:
      unit: says after how many steps there is a look.
      starts: from `starts_of`.
      context: of the study.
      saved: from `as_tree`, `{}` at the start.
    """

    def __init__(self, unit: Unit, starts: dict[int, Start], context: Context, saved: dict[str, Any]) -> None:
        self._unit, self._starts, self._context = unit, starts, context
        self._found = {
            key: dict(zip(map(int, some["step"]), map(float, some["score"]), strict=True))
            for key, some in saved.items()
        }

    def look(self, trial: Trial, run: Trained) -> None:
        """Score a trial, if it has come to a step at which all are looked at and has more of them to make.

        Args:
          trial: under way.
          run: what it has learned so far.
        """
        step, every = len(run.losses), self._unit.every
        if not every or step % every or step >= trial.steps(self._unit.task):
            return
        found = self._found.setdefault(trial.key, {})
        if step not in found:
            start = self._starts[trial.cell.seed]
            label_N = self._context.targets[trial.cell.target.name].validation.label_N
            logits_NC = predictions(self._unit, run, start, start.inputs["validation"], self._context)
            score = validate(trial.cell.seed, trial.point, run.diverged, logits_NC, label_N).score
            found[step] = float(_NO_SCORE if score is None else score)

    def curve(self, trial: Trial, last: Validation, steps: int) -> dict[str, Any]:
        """A trial's scores, as its record holds them.

        Args:
          trial: it has ended.
          last: how it scored in the end.
          steps: it made.
        """
        found = self._found.get(trial.key, {})
        scores = [None if np.isnan(score) else score for _, score in sorted(found.items())]
        return {"step": [*sorted(found), steps], "val_score": [*scores, last.score]}

    def as_tree(self) -> dict[str, Any]:
        """Nested dicts of arrays, for a checkpoint."""
        return {
            key: {"step": np.array(sorted(some), np.int32), "score": np.array([some[s] for s in sorted(some)])}
            for key, some in self._found.items()
        }

"""Estimators on the features that a source gives a target's labelled examples: once for each place, after the units."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import softmax

from tlx import atomic, cut, tree
from tlx.adapt.adapted import Adapted
from tlx.errors import TlxError
from tlx.measure.transferability.registry import (
    ACCURACY,
    ESTIMATORS,
    FEATURES,
    LABELS,
    PARAMETERS,
    PROBABILITIES,
    SOURCE_FISHER,
    TARGET_FISHER,
)
from tlx.models.registry import CLASSIFY
from tlx.step import Task
from tlx.study import fishers
from tlx.study.cells import Cell, source_classes
from tlx.study.context import Context, Stopped, fresh_variables
from tlx.study.estimates import Estimates, identity, place_of
from tlx.study.examples import subset_of
from tlx.study.failing import is_out_of_memory, reason_of
from tlx.study.plan import model_of, resets
from tlx.study.pretrain import source_model
from tlx.study.spec import SCORE
from tlx.surgery import transplant


def estimate(cells: Sequence[Cell], context: Context) -> None:
    """Publish what the study's estimators say of each place that has no file yet.

    Nothing here can fail a study: what an estimator cannot do is written down with its reason; where a source's
    features cannot be had at all, or memory does not suffice, that is said and left for the next run.

    Args:
      cells: from `estimates.places`.
      context: of the study.

    Raises:
      Stopped: the study was asked to stop.
      TlxError: what the user can mend, such as a full disk.
    """
    names = context.study.execution.estimators
    if not names or not cells:
        return
    there = Estimates(context.folders.work)
    atomic.clean_temporaries(there.folder)
    of = {cell.id: identity(context.study, cell, context.sources, context.targets) for cell in cells}
    todo = [cell for cell in cells if not there.path(of[cell.id]).exists()]
    if not todo:
        return
    bar = f"estimates of {context.study.name}"
    context.progress.start(bar, len(cells), len(cells) - len(todo))
    for _, group in itertools.groupby(todo, key=lambda cell: place_of(cell)[:2]):
        mine = list(group)
        try:
            seen = _Seen(mine, context)
            for cell in mine:
                if context.stop.is_set():
                    raise Stopped("stopped; run the same command to go on")
                there.publish(of[cell.id], seen.content(cell))
                context.progress.advance(bar, 1)
        except TlxError:
            raise
        except Exception as error:
            why = "out of memory; lower config.plan.eval_batch" if is_out_of_memory(error) else reason_of(error)
            context.progress.line(f"not estimated: {' → '.join(place_of(mine[0])[:2])}: {why}")


class _Seen:
    """What a source makes of the labelled examples of one target, all budgets and seeds together."""

    def __init__(self, cells: Sequence[Cell], context: Context) -> None:
        first = cells[0]
        assert first.source is not None
        self._context, self._source, self._target = context, first.source, first.target
        self._data = context.targets[first.target.name].train
        self._pretrained = source_model(first.source, context)
        self._model = Adapted(model_of(context.study, self._data), "full", precision=context.study.recipe.precision)
        self._rows = {cell.id: subset_of(cell, context) for cell in cells}
        self._every = np.unique(np.concatenate(list(self._rows.values())))
        self._feature_ND: np.ndarray | None = None
        self._probability_NZ: np.ndarray | None = None
        self._fisher: np.ndarray | None = None
        names = context.study.execution.estimators
        needed = {need for name in names for need in ESTIMATORS[name].needs}
        if needed & {FEATURES, PROBABILITIES, TARGET_FISHER}:
            self._feature_ND = self._features()
        if PROBABILITIES in needed and self._feature_ND is not None:
            self._probability_NZ = self._probabilities(self._feature_ND)
        if SOURCE_FISHER in needed:
            self._fisher = fishers.of_source(first.source, self._pretrained, context)

    def content(self, cell: Cell) -> dict[str, Any]:
        """The estimates of one place, and why there is none where there is none."""
        given = self._given(cell)
        estimates: dict[str, float] = {}
        reasons: dict[str, str] = {}
        for name in self._context.study.execution.estimators:
            try:
                if LABELS in ESTIMATORS[name].needs and self._target.predict == SCORE:
                    raise ValueError("needs classes, and the target has scores")
                estimates[name] = ESTIMATORS[name].score(given)
            except ValueError as error:
                reasons[name] = str(error)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                reasons[name] = reason_of(error)
        source, target, budget, seed = place_of(cell)
        return {
            "study": self._context.study.name,
            "place": {"source": source, "target": target, "budget": budget, "seed": seed},
            "lineage": {"checkpoint": self._pretrained.digest},
            "examples": len(self._rows[cell.id]),
            "features": None if self._feature_ND is None else int(self._feature_ND.shape[1]),
            "estimates": estimates,
            "reasons": reasons,
        }

    def _given(self, cell: Cell) -> Mapping[str, Any]:
        index_N = self._rows[cell.id]
        at_N = np.searchsorted(self._every, index_N)
        label_N = self._data.label_N[index_N]
        feature_ND = None if self._feature_ND is None else self._feature_ND[at_N]
        fisher = None
        if self._fisher is not None and feature_ND is not None and self._target.predict != SCORE:
            below = fishers.Probe(self._model, self._leaves(cell.seed), self._context)
            fisher = fishers.of_target(below, self._data.input_N[index_N], feature_ND, label_N, cell.seed)
        return {
            FEATURES: feature_ND,
            PROBABILITIES: None if self._probability_NZ is None else self._probability_NZ[at_N],
            LABELS: label_N,
            PARAMETERS: tree.count(self._pretrained.variables["params"]),
            ACCURACY: self._pretrained.test_accuracy,
            SOURCE_FISHER: self._fisher,
            TARGET_FISHER: fisher,
        }

    @property
    def _depth(self) -> int:
        return len(self._model.model.stages) - 1

    def _leaves(self, seed: int) -> dict[str, Any]:
        fresh = fresh_variables(self._model.model, seed)
        variables, _ = transplant(self._pretrained.variables, fresh, resets(fresh))
        return variables

    def _features(self) -> np.ndarray | None:
        """What enters the head, [N, D], for every example that any place sees; None where that is no vector."""
        feature_ND, _ = cut.activations(
            self._model,
            self._leaves(0),  # the head, which alone differs between seeds, is not run
            self._data.input_N[self._every],
            self._depth,
            placement=self._context.placement,
            programs=self._context.programs,
            batch=self._context.study.execution.eval_batch,
            ops=self._context.study.pipeline().evaluation,
        )
        is_vector = isinstance(feature_ND, np.ndarray) and feature_ND.ndim == 2
        return np.asarray(feature_ND, np.float64) if is_vector else None

    def _probabilities(self, feature_ND: np.ndarray) -> np.ndarray | None:
        """What the source's own head says of them, [N, Z]; None where it has none for classes."""
        classes = source_classes(self._context.sources[self._source.name])
        if not classes or (self._source.objective != CLASSIFY and not self._source.checkpoint):
            return None
        own = replace(self._model, model=replace(self._model.model, num_classes=classes))
        task = Task(own, self._source.optimizer, 1, first=self._depth)
        leaves = dict(self._pretrained.variables)
        stats = {"batch_stats": leaves.pop("batch_stats")} if "batch_stats" in leaves else {}
        logits_NZ = self._context.logits(task, leaves, {}, stats, feature_ND.astype(np.float32))
        return np.asarray(softmax(logits_NZ.astype(np.float64), axis=1))

"""Where the runs of a unit begin: source or fresh leaves, split, and the frozen stages run once."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from tlx import artifact, cut, tree
from tlx.adapt.adapted import Adapted
from tlx.study.calibrate import calibrated
from tlx.study.cells import NUMERICS
from tlx.study.context import Context, fresh_variables, with_adapters
from tlx.study.copied import above
from tlx.study.plan import Unit, resets
from tlx.study.pretrain import source_model
from tlx.study.spec import TRANSFER
from tlx.surgery import Report, transplant


@dataclass(frozen=True)
class Start:
    """Where the runs of one seed begin.

    Args:
      trainable: leaves that move in the first phase.
      frozen: leaves that do not, as far as they are needed above the cut.
      stats: running statistics that the first phase updates.
      surgery: what was copied from the source, or None.
      inputs: what enters the first stage that runs in training and in validation: images as bytes, token ids, or
        cached activations.
      entering: a role and its examples to the same of others, those of the test split, which nobody has yet.
      cached_flops: what caching one example cost, 0 without a cut.
    """

    trainable: dict[str, Any]
    frozen: dict[str, Any]
    stats: dict[str, Any]
    surgery: Report | None
    inputs: dict[str, Any]
    entering: Callable[[str, np.ndarray], Any]
    cached_flops: float


def starts_of(unit: Unit, context: Context) -> dict[int, Start]:
    """Where each seed's runs begin; the cached activations of a shared backbone are computed once.

    Args:
      unit: what will run.
      context: of the study.

    Returns:
      Seed to start.
    """
    task, data = unit.task, context.targets[unit.first.target.name]
    inputs_of = {"train": data.train.input_N, "validation": data.validation.input_N}
    below = cut.below(task.adapted, task.first)
    cache: dict[str, _Backbone] = {}
    starts = {}
    for seed in sorted({cell.seed for cell in unit.cells}):
        variables, report = initial_variables(unit, seed, context)
        trainable, stats, frozen = task.adapted.split(variables, task.at(0).phase)
        start = Start(trainable, frozen, stats, report, inputs_of, _as_they_are, 0.0)
        if task.first:
            leaves = cut.leaves_below(below, variables, task.first)
            name = tree.digest(leaves)
            if name not in cache:
                cache[name] = _Backbone(unit, below, leaves, name, context)
            backbone = cache[name]
            anatomy = task.adapted.anatomy
            needed = {p: x for p, x in tree.flatten(frozen).items() if not anatomy.idle_above(p, task.first)}
            start = Start(
                trainable, tree.unflatten(needed), stats, report, backbone.inputs, backbone.entering, backbone.flops
            )
        starts[seed] = start
    return starts


def initial_variables(unit: Unit, seed: int, context: Context) -> tuple[dict[str, Any], Report | None]:
    """All leaves before the first step: the source's where the arm says so, fresh ones elsewhere.

    Args:
      unit: names the arm and the method.
      seed: of the cell; decides the fresh leaves.
      context: holds the source model.

    Returns:
      The variables, and the surgery's report for an arm that starts from a source.
    """
    variables: dict[str, Any] = fresh_variables(unit.task.adapted.model, seed)
    report, source = None, None
    if unit.first.entry.arm == TRANSFER:
        assert unit.first.source is not None
        pretrained = source_model(unit.first.source, context)
        source = pretrained.variables
        fresh = above(unit.task.adapted.model, unit.first.entry.copied)
        variables, report = transplant(source, variables, (*resets(variables), *fresh))
        context.say_once(f"{unit.first.source.name} → {unit.first.target.name}: {report.line()}")
    variables = with_adapters(unit.task.adapted, variables, seed, source)
    return calibrated(unit, variables, seed, context), report


def _as_they_are(role: str, input_N: np.ndarray) -> np.ndarray:
    del role
    return input_N


class _Backbone:
    """The frozen stages below the cut, run once for each set of examples."""

    def __init__(self, unit: Unit, adapted: Adapted, leaves: dict[str, Any], digest: str, context: Context) -> None:
        self._unit, self._adapted, self._leaves, self._context = unit, adapted, leaves, context
        self._kept: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._identity = self._all_that_matters(digest)
        self.flops = 0.0
        data = context.targets[unit.first.target.name]
        self.inputs = {
            "train": self._of("train", data.train.digest, data.train.input_N),
            "validation": self._of("validation", data.validation.digest, data.validation.input_N),
        }

    def entering(self, role: str, input_N: np.ndarray) -> Any:
        """What enters the first stage that runs, for examples that were given out after selection."""
        facts = self._context.targets[self._unit.first.target.name].test.facts()
        return self._of(role, facts["digest"], input_N)

    def _of(self, role: str, digest: str, input_N: np.ndarray) -> Any:
        with self._lock:
            if role not in self._kept:
                identity = {**self._identity, "examples": digest}
                self._kept[role], self.flops = self._context.features.get(
                    identity, len(input_N), lambda: self._compute(input_N)
                )
            return self._kept[role]

    def _compute(self, input_N: np.ndarray) -> Any:
        return cut.each_batch(
            self._adapted,
            self._leaves,
            input_N,
            self._unit.task.first,
            placement=self._context.placement,
            programs=self._context.programs,
            batch=self._context.study.execution.eval_batch,
            ops=self._context.study.pipeline().evaluation,
        )

    def _all_that_matters(self, digest: str) -> dict[str, Any]:
        """Everything but the examples that decides activations, to their last bit."""
        device, adapted = jax.devices()[0], self._adapted
        return {
            "numerics": NUMERICS,
            "model": artifact.describe_model(adapted.model),
            "methods": [[method.name, artifact.plain(own)] for method, own in adapted.parts],
            "precision": adapted.precision,
            "depth": self._unit.task.first,
            "leaves": digest,
            "ops": self._context.study.pipeline().evaluation.canonical(),
            "batch": self._context.study.execution.eval_batch,
            "jax": jax.__version__,
            "device": [jax.default_backend(), device.device_kind, self._context.placement.devices],
        }

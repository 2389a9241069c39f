"""What every unit of a study shares: data, programs, devices, pre-trained weights."""

import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx.adapt.adapted import Adapted
from tlx.cut import in_batches
from tlx.errors import TlxError
from tlx.loop import Programs
from tlx.models.registry import Model
from tlx.progress import Progress
from tlx.seeds import derive
from tlx.sharding import Placement
from tlx.step import Task, predict
from tlx.study.cells import Released, SourceData, TargetData
from tlx.study.features import Features
from tlx.study.metrics import Metrics
from tlx.study.spec import DISK, Folders, Study


class Stopped(TlxError):
    """The user or the machine asked for an end; what was done is saved."""


@dataclass(frozen=True)
class Pretrained:
    """A source model, ready to be adapted.

    Args:
      variables: its leaves.
      digest: of the leaves.
      test_accuracy: on the source's own test split, of guessed tokens where it was trained to guess; None where it
        came from a checkpoint.
      tensors: what became of each tensor of a released checkpoint, in plain values.
      test_loss: nats per label on the same split.
      flops: of its training here, all steps together, as the compiler counts them; None where it came from a
        checkpoint, or nobody counted.
    """

    variables: dict[str, Any]
    digest: str
    test_accuracy: float | None
    tensors: tuple[dict[str, Any], ...] = ()
    test_loss: float | None = None
    flops: float | None = None


@dataclass
class Context:
    """Shared by all workers of a process.

    Args:
      study: what is run.
      folders: where.
      placement: the devices.
      sources: examples or checkpoints by source name.
      targets: examples by target name.
      progress: what the user sees.
      programs: compiled so far.
      pretrained: source models by name, once there; `pretrain.source_model` fills it.
      stop: set to end at the next boundary.
    """

    study: Study
    folders: Folders
    placement: Placement
    sources: Mapping[str, SourceData | Released]
    targets: Mapping[str, TargetData]
    progress: Progress
    programs: Programs = field(default_factory=Programs)
    pretrained: dict[str, Pretrained] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    save_lock: threading.Lock = field(default_factory=threading.Lock)
    source_locks: dict[str, threading.Lock] = field(init=False)
    features: Features = field(init=False)
    metrics: Metrics = field(init=False)
    _said: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """One lock a source: it is pre-trained once, by whoever needs it first; one place for activations, metrics."""
        self.source_locks = {source.name: threading.Lock() for source in self.study.sources}
        execution = self.study.execution
        on_disk = execution.features == DISK
        self.features = Features(self.folders.work / "features" if on_disk else None, self.progress.line)
        self.metrics = Metrics(self.folders.work, self.study.name, execution.loggers, self.progress.line)

    def say_once(self, text: str) -> None:
        """A line that many units would repeat."""
        if text not in self._said:
            self._said.add(text)
            self.progress.line(text)

    def logits(self, task: Task, trainable: Any, frozen: Any, stats: Any, x_N: Any, scale: float = 1.0) -> np.ndarray:
        """Predictions for any number of examples, [examples, classes].

        Args:
          task: names the model, the method and the stage the inputs enter at.
          trainable: leaves that moved.
          frozen: leaves that did not.
          stats: running statistics.
          x_N: images as bytes, token ids, or cached activations, [examples, ...].
          scale: factor on the adapters' effect.
        """

        def forward(trainable: Any, frozen: Any, stats: Any, scale: jax.Array, x: Any) -> jax.Array:
            return predict(task, trainable, frozen, stats, task.ops.ready(x), scale)

        place = self.placement.evaluation
        placed = place.shared((trainable, frozen, stats, jnp.asarray(scale, jnp.float32)))

        def call(chunk: Any) -> tuple[Any, float]:
            args = (*placed, place.batch(chunk))
            name = (task.adapted, task.ops.evaluation, task.first, "logits")
            program = self.programs.get(name, lambda *a: jax.jit(forward).lower(*a).compile(), *args)
            return np.asarray(program.call(*args)), 0.0

        logits_NC: np.ndarray = in_batches(call, x_N, self.study.execution.eval_batch)[0]
        return logits_NC


@functools.cache
def fresh_variables(model: Model, seed: int) -> dict[str, Any]:
    """A model's initial leaves for a cell's seed: the same for every arm that shares the seed."""
    variables: dict[str, Any] = _compiled_init(model)(derive(seed, "init"))
    return variables


@functools.cache
def _compiled_init(model: Model) -> Callable[[int], dict[str, Any]]:
    return jax.jit(model.init)


def with_adapters(
    adapted: Adapted, variables: dict[str, Any], seed: int, source: dict[str, Any] | None
) -> dict[str, Any]:
    """The variables, not copied, with the methods' fresh leaves beside them.

    Args:
      adapted: names the methods.
      variables: the model's own.
      seed: of the cell.
      source: the leaves of the source model with its own head, or None where there is none.
    """
    return {**variables, **_compiled_adapters(adapted)(variables, derive(seed, "adapters"), source)}


@functools.cache
def _compiled_adapters(adapted: Adapted) -> Callable[..., dict[str, Any]]:
    def added(variables: dict[str, Any], seed: int, source: dict[str, Any] | None) -> dict[str, Any]:
        extended = adapted.init_adapters(variables, seed, source)
        return {key: extended[key] for key in extended if extended[key] is not variables.get(key)}

    return jax.jit(added)

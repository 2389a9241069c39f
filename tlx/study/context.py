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
from tlx.data.preprocess import normalise
from tlx.errors import TlxError
from tlx.loop import Programs
from tlx.models.registry import Model
from tlx.progress import Progress
from tlx.seeds import derive
from tlx.sharding import Placement
from tlx.step import Task, predict
from tlx.study.cells import SourceData, TargetData
from tlx.study.spec import Folders, Study


class Stopped(TlxError):
    """The user or the machine asked for an end; what was done is saved."""


@dataclass(frozen=True)
class Pretrained:
    """A source model, ready to be adapted.

    Args:
      variables: its leaves.
      digest: of the leaves.
      test_accuracy: on the source's own test split.
    """

    variables: dict[str, Any]
    digest: str
    test_accuracy: float


@dataclass
class Context:
    """Shared by all workers of a process.

    Args:
      study: what is run.
      folders: where.
      placement: the devices.
      sources: examples by source name.
      targets: examples by target name.
      progress: what the user sees.
      programs: compiled so far.
      pretrained: source models by name, once there; `pretrain.source_model` fills it.
      stop: set to end at the next boundary.
    """

    study: Study
    folders: Folders
    placement: Placement
    sources: Mapping[str, SourceData]
    targets: Mapping[str, TargetData]
    progress: Progress
    programs: Programs = field(default_factory=Programs)
    pretrained: dict[str, Pretrained] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    save_lock: threading.Lock = field(default_factory=threading.Lock)
    source_locks: dict[str, threading.Lock] = field(init=False)
    _said: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """One lock a source: it is pre-trained once, by whoever needs it first."""
        self.source_locks = {source.name: threading.Lock() for source in self.study.sources}

    def say_once(self, text: str) -> None:
        """A line that many units would repeat."""
        if text not in self._said:
            self._said.add(text)
            self.progress.line(text)

    def logits(
        self, task: Task, trainable: Any, frozen: Any, stats: Any, x_N: np.ndarray, scale: float = 1.0
    ) -> np.ndarray:
        """Predictions for any number of examples, [examples, classes].

        Args:
          task: names the model, the method and the stage the inputs enter at.
          trainable: leaves that moved.
          frozen: leaves that did not.
          stats: running statistics.
          x_N: images as bytes, or cached activations, [examples, ...].
          scale: factor on the adapters' effect.
        """

        def forward(trainable: Any, frozen: Any, stats: Any, scale: jax.Array, x: jax.Array) -> jax.Array:
            return predict(task, trainable, frozen, stats, normalise(x) if x.dtype == jnp.uint8 else x, scale)

        place = self.placement.evaluation
        placed = place.shared((trainable, frozen, stats, jnp.asarray(scale, jnp.float32)))

        def call(chunk: np.ndarray) -> tuple[np.ndarray, float]:
            args = (*placed, place.batch(chunk))
            name = (task.adapted, task.first, "logits")
            program = self.programs.get(name, lambda *a: jax.jit(forward).lower(*a).compile(), *args)
            return np.asarray(program.call(*args)), 0.0

        return in_batches(call, x_N, self.study.execution.eval_batch)[0]


@functools.cache
def fresh_variables(model: Model, seed: int) -> dict[str, Any]:
    """A model's initial leaves for a cell's seed: the same for every arm that shares the seed."""
    variables: dict[str, Any] = _compiled_init(model)(derive(seed, "init"))
    return variables


@functools.cache
def _compiled_init(model: Model) -> Callable[[int], dict[str, Any]]:
    return jax.jit(model.init)


def with_adapters(adapted: Adapted, variables: dict[str, Any], seed: int) -> dict[str, Any]:
    """The variables, not copied, with the method's fresh adapters beside them."""
    return {**variables, **_compiled_adapters(adapted)(variables, derive(seed, "adapters"))}


@functools.cache
def _compiled_adapters(adapted: Adapted) -> Callable[[dict[str, Any], int], dict[str, Any]]:
    def added(variables: dict[str, Any], seed: int) -> dict[str, Any]:
        extended = adapted.init_adapters(variables, seed)
        return {key: extended[key] for key in extended if key not in variables}

    return jax.jit(added)


def split_stats(variables: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and adapters, which have labels, apart from running statistics, which have none."""
    stats = {key: value for key, value in variables.items() if key == "batch_stats"}
    return {key: value for key, value in variables.items() if key not in stats}, stats

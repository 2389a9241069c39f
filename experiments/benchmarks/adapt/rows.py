"""The train steps that are timed: any method on a model of some size.

Shape suffixes: B batch, S steps.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.anatomy import stage_of
from tlx.adapt.registry import METHODS
from tlx.errors import TlxError
from tlx.fields import check_fields
from tlx.models.inputs import TOKENS
from tlx.models.registry import MODELS, Model
from tlx.optim import Optimizer
from tlx.sharding import flops_of
from tlx.state import make_hyper
from tlx.step import Task, init_state, train_step

# One rule for all, so that methods and not optimizers are compared; as many steps as phases need to begin somewhere.
OPTIMIZER, RUN, RATE = Optimizer(), 1000, 1e-4


@dataclass(frozen=True)
class Scale:
    """How much work there is.

    Args:
      settings: of the model, where they are not its defaults.
      input_shape: of one input.
      classes: outputs of the head.
      batch: examples per step.
      steps: train steps in one timing.
      adapters: K, trained in turn or at once.
    """

    settings: Mapping[str, Any]
    input_shape: tuple[int, ...]
    classes: int = 10
    batch: int = 16
    steps: int = 4
    adapters: int = 4


BERT = {"width": 384, "depth": 6, "heads": 12, "hidden": 1536, "dropout": 0.0}
SCALES = {
    "vit": Scale({"patch": 4, "width": 128, "depth": 4, "heads": 4}, (32, 32, 3)),
    "bert": Scale(BERT, (64,), classes=2, steps=1),
    "resnet": Scale({"depths": (1, 1, 1, 1), "width": 32, "stem": "small"}, (32, 32, 3), steps=1),
}


class Step:
    """A train step, and a state that it moves.

    Args:
      task: what is run; inputs enter at its `first`.
      variables: all leaves.
      batch: `input` [B, ...] of the model and `label` [B].
    """

    def __init__(self, task: Task, variables: dict[str, Any], batch: dict[str, Any]) -> None:
        self.state, self.frozen = begin(task, variables)
        x_B = batch["input"]
        if task.first:
            x_B = jax.jit(lambda v, x: task.adapted.apply(v, x, last=task.first)[0])(variables, x_B)
        self.task, self.batch = task, {**batch, "input": x_B}

    @functools.cached_property
    def compiled(self) -> Any:
        """The program, compiled when it is first asked for."""
        jitted = jax.jit(functools.partial(train_step, self.task), donate_argnums=0)
        return jitted.lower(self.state, self.frozen, self.batch).compile()

    @property
    def flops(self) -> float:
        """Of one step, as the compiler counts them."""
        return flops_of(self.compiled)

    @property
    def memory(self) -> int:
        """Bytes at the peak: what goes in, what comes out, and what lies between; buffers given up count once."""
        said = self.compiled.memory_analysis()
        both: int = said.argument_size_in_bytes + said.output_size_in_bytes - said.alias_size_in_bytes
        return both + int(said.temp_size_in_bytes)

    def run(self, steps: int) -> np.ndarray:
        """The losses of so many steps, [S]."""
        losses = []
        for _ in range(steps):
            self.state, loss = self.compiled(self.state, self.frozen, self.batch)
            losses.append(loss)
        jax.block_until_ready(self.state.trainable)
        return np.asarray(losses)


def begin(task: Task, variables: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A state before its first step, in buffers of its own, and the frozen leaves that the step reads."""
    trainable, stats, frozen = task.adapted.split(variables, task.phase)
    below = task.adapted.model.stages[: task.first]
    above = {path: leaf for path, leaf in tree.flatten(frozen).items() if stage_of(path, below) is None}
    state = init_state(task, trainable, stats, make_hyper(RATE))
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state), tree.unflatten(above)


@dataclass(frozen=True)
class Bench:
    """A model and random examples, which take as long as real ones.

    Args:
      name: key of `MODELS`.
      scale: of the work.
    """

    name: str
    scale: Scale

    @functools.cached_property
    def model(self) -> Model:
        """The architecture."""
        settings = check_fields("model", MODELS[self.name].fields, self.scale.settings)
        return Model(self.name, tuple(sorted(settings.items())), self.scale.classes, self.scale.input_shape)

    @functools.cached_property
    def base(self) -> dict[str, Any]:
        """Fresh leaves of the model."""
        fresh: dict[str, Any] = jax.jit(self.model.init)(0)
        return fresh

    def batch(self, seed: int = 0) -> dict[str, jax.Array]:
        """Random inputs and labels."""
        rng, shape = np.random.default_rng(seed), (self.scale.batch, *self.scale.input_shape)
        if self.model.kind.takes == TOKENS:
            x_B = rng.integers(1, dict(self.model.settings)["vocab"], shape).astype(np.int32)
        else:
            x_B = rng.uniform(-1, 1, shape).astype(np.float32)
        label_B = rng.integers(0, self.scale.classes, self.scale.batch).astype(np.int32)
        return jax.device_put({"input": x_B, "label": label_B})

    def task(self, method: str, **changes: Any) -> Task:
        """A method with its defaults; `changes` replace some.

        Raises:
          TlxError: it does not apply to the model.
        """
        settings = check_fields("method", METHODS[method].fields, changes)
        adapted = Adapted(self.model, method, tuple(sorted(settings.items())))
        adapted.labels()
        return Task(adapted, OPTIMIZER, RUN)

    def variables(self, task: Task, seed: int = 1) -> dict[str, Any]:
        """The base model's leaves with the method's beside them."""
        grown: dict[str, Any] = jax.jit(task.adapted.init_adapters)(self.base, seed)
        return grown

    def phases(self, task: Task) -> Iterator[tuple[float, Task]]:
        """The share of the steps that each phase lasts, and the task in it."""
        edges = [*task.bounds, task.steps]
        for phase, (start, stop) in enumerate(itertools.pairwise(edges)):
            if stop > start:
                yield (stop - start) / task.steps, replace(task, phase=phase)

    def misfit(self, method: str) -> str:
        """Why a method does not apply to the model; empty if it does."""
        try:
            self.task(method)
        except TlxError as error:
            return str(error)
        return ""

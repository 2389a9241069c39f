"""Settings small enough for tests, one entry per registered model and method, and what each method promises."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.registry import METHODS
from tlx.fields import check_fields
from tlx.models.registry import MODELS, Model
from tlx.optim import Optimizer
from tlx.partition import partition
from tlx.state import Hyper, TrainState, make_hyper
from tlx.step import Task, init_state, train_step

CLASSES = 3
# One optimizer for most tests, so that they share their compiled steps.
ADAM = Optimizer(clip_norm=0.5)
STEPS = 20


@dataclass(frozen=True)
class TinyModel:
    """Settings of a model, its input, a pattern for some of its dense layers, and the first stage that holds one."""

    settings: dict[str, Any]
    image_HWC: tuple[int, int, int]
    dense: str
    dense_from: int


@dataclass(frozen=True)
class TinyMethod:
    """Settings of a method, a pattern for the leaves it promises to move, and how many stages it leaves alone.

    All follow from the model and its stages.
    """

    settings: Callable[[TinyModel, tuple[str, ...]], dict[str, Any]]
    moves: Callable[[tuple[str, ...]], str]
    cut: Callable[[TinyModel, tuple[str, ...]], int]


TINY_MODELS = {
    "vit": TinyModel(
        {"patch": 4, "width": 16, "depth": 2, "heads": 2, "mlp_ratio": 4},
        image_HWC=(8, 8, 1),
        dense=r"block_\d/attention/(query|value)",
        dense_from=1,
    ),
}
TINY_METHODS = {
    "full": TinyMethod(lambda model, stages: {}, lambda stages: "params/.*", lambda model, stages: 0),
    "freeze": TinyMethod(
        lambda model, stages: {"frozen": (f"params/({'|'.join(stages[:2])})/.*",)},
        lambda stages: f"params/({'|'.join(stages[2:])})/.*",
        lambda model, stages: 2,
    ),
    "head": TinyMethod(
        lambda model, stages: {}, lambda stages: "params/head/.*", lambda model, stages: len(stages) - 1
    ),
    "lora": TinyMethod(
        lambda model, stages: {"rank": 2, "alpha": 4.0, "target": model.dense},
        lambda stages: "(params/head|adapters)/.*",
        lambda model, stages: model.dense_from,
    ),
}


def tiny_model(name: str = "vit", **changes: Any) -> Model:
    """A small model; `changes` replace settings."""
    if name not in TINY_MODELS:
        pytest.fail(f"model {name!r} is registered but has no entry in TINY_MODELS of {__file__}")
    entry = TINY_MODELS[name]
    settings = check_fields("model", MODELS[name].fields, {**entry.settings, **changes})
    return Model(name, tuple(sorted(settings.items())), CLASSES, entry.image_HWC)


def tiny_method(name: str) -> TinyMethod:
    """What is known of a method."""
    if name not in TINY_METHODS:
        pytest.fail(f"method {name!r} is registered but has no entry in TINY_METHODS of {__file__}")
    return TINY_METHODS[name]


def adapt(method: str, model: Model | None = None, **changes: Any) -> Adapted:
    """A small model seen through a method; `changes` replace the method's settings."""
    model = model or tiny_model()
    settings = {**tiny_method(method).settings(TINY_MODELS[model.name], model.stages), **changes}
    checked = check_fields("method", METHODS[method].fields, settings)
    return Adapted(model, method, tuple(sorted(checked.items())))


@functools.cache
def compiled_init(model: Model) -> Callable[[int], dict[str, Any]]:
    """A model's `init`, compiled once for all tests."""
    return jax.jit(model.init)


@functools.cache
def variables(adapted: Adapted) -> dict[str, Any]:
    """Fresh variables with the method's adapters."""
    return adapted.init_adapters(compiled_init(adapted.model)(0), 1)


def batch(model: Model, size: int = 8, seed: int = 0) -> dict[str, jax.Array]:
    """Images in [-1, 1] and labels."""
    rng = np.random.default_rng(seed)
    image_BHWC = rng.uniform(-1, 1, (size, *model.image_HWC)).astype(np.float32)
    label_B = rng.integers(0, model.num_classes, size).astype(np.int32)
    return {"input": jnp.asarray(image_BHWC), "label": jnp.asarray(label_B)}


def begin(task: Task, hyper: Hyper | None = None) -> tuple[TrainState, dict[str, Any]]:
    """A state before its first step, and the frozen leaves beside it."""
    whole = dict(variables(task.adapted))
    stats = {key: whole.pop(key) for key in ("batch_stats",) if key in whole}
    trainable, frozen = partition(whole, task.adapted.labels())
    return init_state(task, trainable, stats, hyper or make_hyper(1e-2)), frozen


@functools.cache
def compiled_step(task: Task) -> Callable[..., tuple[TrainState, jax.Array]]:
    """The train step of a task, compiled once for all tests."""
    return jax.jit(functools.partial(train_step, task))


def differing(before: Any, after: Any) -> set[str]:
    """Paths of the leaves that are not bit-identical; both trees must have the same leaves."""
    old, new = tree.flatten(before), tree.flatten(after)
    assert old.keys() == new.keys()
    return {path for path in old if np.asarray(old[path]).tobytes() != np.asarray(new[path]).tobytes()}


def matching(pattern: str, nested: Any) -> set[str]:
    """Paths of the leaves that a pattern matches in full."""
    return {path for path in tree.flatten(nested) if re.fullmatch(pattern, path)}

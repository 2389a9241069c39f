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
from einops import rearrange
from tiny_methods import TINY_METHODS, TinyMethod

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.registry import METHODS
from tlx.fields import check_fields
from tlx.models.registry import MODELS, Model
from tlx.optim import Optimizer
from tlx.phases import enter
from tlx.state import Hyper, TrainState, make_hyper
from tlx.step import Task, init_state, train_step

CLASSES = 3
# One optimizer for most tests, so that they share their compiled steps.
ADAM = Optimizer(clip_norm=0.5)
STEPS = 20
BASIC = ("full", "head", "lora")


@dataclass(frozen=True)
class TinyModel:
    """Settings of a model and the shape of one input."""

    settings: dict[str, Any]
    input_shape: tuple[int, ...]


TINY_MODELS = {
    "vit": TinyModel(
        {"patch": 4, "width": 16, "depth": 2, "heads": 2, "mlp_ratio": 4},
        input_shape=(8, 8, 1),
    ),
    "bert": TinyModel(
        {"vocab": 50, "positions": 16, "width": 16, "depth": 2, "heads": 2, "hidden": 32},
        input_shape=(6,),
    ),
    "clip_vision": TinyModel(
        {"patch": 4, "width": 16, "depth": 2, "heads": 2, "hidden": 32, "projection": 12},
        input_shape=(8, 8, 3),
    ),
    "clip_text": TinyModel(
        {
            **{"vocab": 50, "positions": 16, "width": 16, "depth": 2, "heads": 2, "hidden": 32, "projection": 12},
            **{"eos": 2, "pad": 0},
        },
        input_shape=(6,),
    ),
    "decoder": TinyModel(
        {
            **{"vocab": 50, "positions": 16, "width": 16, "depth": 2, "heads": 4, "kv_heads": 2, "hidden": 24},
            **{"position": "rotary", "norm": "rms", "mlp": "swiglu", "bias": "qkv"},
        },
        input_shape=(6,),
    ),
    "resnet": TinyModel(
        {"depths": (1, 1), "width": 8, "stem": "small"},
        input_shape=(8, 8, 3),
    ),
    "bit": TinyModel(
        {"depths": (1, 1), "width": 8, "groups": 4},
        input_shape=(16, 16, 3),
    ),
    "efficientnet": TinyModel(
        {"depths": (1, 1), "widths": (8, 12), "stem": 8, "features": 16},
        input_shape=(8, 8, 3),
    ),
}


def tiny_model(name: str = "vit", **changes: Any) -> Model:
    """A small model; `changes` replace settings."""
    if name not in TINY_MODELS:
        pytest.fail(f"model {name!r} is registered but has no entry in TINY_MODELS of {__file__}")
    entry = TINY_MODELS[name]
    settings = check_fields("model", MODELS[name].fields, {**entry.settings, **changes})
    return Model(name, tuple(sorted(settings.items())), CLASSES, entry.input_shape)


def tiny_method(name: str) -> TinyMethod:
    """What is known of a method."""
    if name not in TINY_METHODS:
        pytest.fail(f"method {name!r} is registered but has no entry in TINY_METHODS of tests/tiny_methods.py")
    return TINY_METHODS[name]


def pairs(sample: bool = False) -> list[Any]:
    """Every registered method with every registered model it applies to.

    Every method on one model, which changes from method to method, is in the default tier, the basic methods on every
    model are `thorough`, the rest is `exhaustive`.

    Args:
      sample: whether to leave out the rest, and to have the basic methods on every model `exhaustive`.
    """
    found = []
    for i, method in enumerate(sorted(METHODS)):
        models = [model for model in sorted(MODELS) if tiny_method(method).applies(model)]
        for model in models:
            marks = () if model == models[i % len(models)] else pytest.mark.exhaustive
            if marks and method in BASIC:
                marks = pytest.mark.exhaustive if sample else pytest.mark.thorough
            if not marks or method in BASIC or not sample:
                found.append(pytest.param((method, model), marks=marks))
    return found


def adapt(method: str, model: Model | None = None, **changes: Any) -> Adapted:
    """A small model seen through a method; `changes` replace the method's settings."""
    model = model or tiny_model()
    settings = {**tiny_method(method).settings(model), **changes}
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
    """Images in [-1, 1], or token ids with up to half of them padding at the end, and labels."""
    rng = np.random.default_rng(seed)
    if model.kind.takes == "tokens":
        (length,) = model.input_shape
        settings = dict(model.settings)
        id_BT = rng.integers(1, settings["vocab"], (size, length)).astype(np.int32)
        shortest = (length + 1) // 2
        length_B1 = rearrange(shortest + np.arange(size) % (length - shortest + 1), "b -> b 1")
        x = np.where(np.arange(length) < length_B1, id_BT, np.int32(settings["pad"]))
    else:
        x = rng.uniform(-1, 1, (size, *model.input_shape)).astype(np.float32)
    label_B = rng.integers(0, model.num_classes, size).astype(np.int32)
    return {"input": jnp.asarray(x), "label": jnp.asarray(label_B)}


def begin(task: Task, hyper: Hyper | None = None) -> tuple[TrainState, dict[str, Any]]:
    """A state before its first step, and the frozen leaves beside it."""
    trainable, stats, frozen = task.adapted.split(variables(task.adapted), task.phase)
    return init_state(task, trainable, stats, hyper or make_hyper(1e-2)), frozen


@functools.cache
def compiled_step(task: Task) -> Callable[..., tuple[TrainState, jax.Array]]:
    """The train step of a task, compiled once for all tests."""
    return jax.jit(functools.partial(train_step, task))


@functools.cache
def compiled_forward(adapted: Adapted, first: int = 0, last: int | None = None) -> Callable[..., Any]:
    """Stages of an adapted model in evaluation mode, compiled once for all tests."""
    return jax.jit(lambda variables, x: adapted.apply(variables, x, first=first, last=last))


def trained(task: Task, rate: float, weight_decay: float = 0.0) -> tuple[dict[str, Any], TrainState, dict[str, Any]]:
    """All leaves before a run through all its phases, the state after it, and the leaves frozen at its end."""
    before, task = variables(task.adapted), task.at(0)
    state, frozen = begin(task, make_hyper(rate, weight_decay=weight_decay))
    for step in range(task.steps):
        if (now := task.at(step)) != task:
            task = now
            state, frozen = enter(task, state, frozen)
        state, loss = compiled_step(task)(state, frozen, batch(task.adapted.model, seed=step))
        assert np.isfinite(loss)
    return before, state, frozen


def differing(before: Any, after: Any) -> set[str]:
    """Paths of the leaves that are not bit-identical; both trees must have the same leaves."""
    old, new = tree.flatten(before), tree.flatten(after)
    assert old.keys() == new.keys()
    return {path for path in old if np.asarray(old[path]).tobytes() != np.asarray(new[path]).tobytes()}


def matching(pattern: str, nested: Any) -> set[str]:
    """Paths of the leaves that a pattern matches in full."""
    return {path for path in tree.flatten(nested) if re.fullmatch(pattern, path)}

"""What `precision` promises: stages compute in bfloat16, all that lasts is float32."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import adapt, batch, begin, compiled_forward, tiny_model, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.models.registry import MODELS
from tlx.optim import Optimizer
from tlx.step import Task, train_step

PLAIN = Optimizer(clip_norm=0.0, warmup=0.0, schedule="constant")
# Besides the basic ones: an adapter with a norm of weights, one with stage wrappers, one with a penalty on features.
METHODS = ("dora", "prefix", "side", "distill", "norm")


def lowered(method: str, model: str) -> Adapted:
    return replace(adapt(method, tiny_model(model)), precision="bfloat16")


def products(jaxpr: Any) -> list[tuple[str, ...]]:
    """Types of the operands of every sum of products, however deep; what sums nothing, such as angles, is no work."""
    found = []
    for equation in jaxpr.eqns:
        sums = equation.primitive.name == "dot_general" and equation.params["dimension_numbers"][0][0]
        if sums or equation.primitive.name == "conv_general_dilated":
            found.append(tuple(str(operand.aval.dtype) for operand in equation.invars[:2]))
        for value in equation.params.values():
            for item in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(item, "jaxpr", item)
                found += products(inner) if hasattr(inner, "eqns") else []
    return found


@pytest.mark.parametrize("model", sorted(MODELS))
def test_stages_compute_in_bfloat16_and_logits_are_float32(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a CPU convolutions are made of float32 products, as it has no others.
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    adapted = lowered("lora", model)
    leaves, x = adapted.abstract(), batch(adapted.model, 4)["input"]
    with jax.numpy_dtype_promotion("standard"):
        jaxpr = jax.make_jaxpr(lambda v, x: adapted.apply(v, x)[0])(leaves, x)
        between = jax.eval_shape(lambda v, x: adapted.apply(v, x, last=1)[0], leaves, x)
    kinds = products(jaxpr.jaxpr)
    assert kinds and set(kinds) == {("bfloat16", "bfloat16")}
    assert [str(out.dtype) for out in jaxpr.out_avals] == ["float32"]
    # Positions of tokens have too many values for bfloat16.
    low = [leaf for path, leaf in tree.flatten({"out": between}).items() if not path.endswith("/position")]
    assert {str(leaf.dtype) for leaf in low} <= {"bfloat16", "int32", "bool"}


@pytest.mark.parametrize("model", ["bert", "resnet"])
def test_logits_are_those_of_float32_but_for_rounding(model: str) -> None:
    adapted = lowered("lora", model)
    leaves, x = variables(adapted), batch(adapted.model, 4)["input"]
    with jax.numpy_dtype_promotion("standard"):
        logits_BC = compiled_forward(adapted)(leaves, x)[0]
    exact_BC = compiled_forward(replace(adapted, precision="float32"))(leaves, x)[0]
    gap = float(np.abs(logits_BC - exact_BC).max() / np.ptp(exact_BC))
    assert 0 < gap < 0.05


@pytest.mark.thorough
@pytest.mark.parametrize("method", METHODS)
def test_a_step_keeps_every_leaf_float32_and_moves_it_as_in_float32(method: str) -> None:
    ends = []
    for precision in ("float32", "bfloat16"):
        adapted = replace(adapt(method, tiny_model("vit")), precision=precision)
        task = Task(adapted, PLAIN, 1)
        state, frozen = begin(task)
        with jax.numpy_dtype_promotion("standard"):
            after, loss = jax.jit(lambda s, f, b, t=task: train_step(t, s, f, b))(
                state, frozen, batch(adapted.model, 8)
            )
        assert {leaf.dtype for leaf in jax.tree.leaves(after.trainable)} == {jnp.dtype("float32")}
        assert loss.dtype == jnp.float32 and not after.diverged
        moved = [after.trainable, state.trainable]
        ends.append((float(loss), [a - b for a, b in zip(*map(jax.tree.leaves, moved), strict=True)]))
    (exact, steps), (loss, others) = ends
    assert abs(loss - exact) < 0.02 * exact
    # Adam's first step is the sign of the gradient: nearly all signs agree.
    same = np.concatenate([np.ravel(np.sign(a) == np.sign(b)) for a, b in zip(steps, others, strict=True)])
    assert same.mean() > 0.9


def test_running_statistics_stay_float32_and_are_updated() -> None:
    adapted = lowered("full", "resnet")
    task = Task(adapted, PLAIN, 1)
    state, frozen = begin(task)
    with jax.numpy_dtype_promotion("standard"):
        after, _ = jax.jit(lambda s, f, b: train_step(task, s, f, b))(state, frozen, batch(adapted.model, 8))
    for path, leaf in tree.flatten(after.stats).items():
        assert leaf.dtype == jnp.float32, path
    changed = [not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (after.stats, state.stats)), strict=True)]
    assert all(changed)

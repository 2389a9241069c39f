"""The forms that a convolution takes on a CPU against XLA's own convolution, and pooling against flax's."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from runs import begin
from tiny import tiny_model

from tlx.adapt.adapted import Adapted
from tlx.loop import advance
from tlx.models.conv import conv, convolve, is_better_unlooped, looped, max_pool
from tlx.models.registry import Model
from tlx.optim import Optimizer
from tlx.step import Task

AXES = ("NHWC", "HWIO", "NHWC")
RNG = np.random.default_rng(0)
EVEN = ((1, 1), (1, 1))
# Images, kernel, stride, padding, groups.
PLAIN: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, int], Any, int]] = {
    "3x3": ((2, 6, 5, 3), (3, 3, 3, 4), (1, 1), EVEN, 1),
    "3x3 by 2": ((2, 7, 6, 3), (3, 3, 3, 4), (2, 2), EVEN, 1),
    "3x3 by 2, SAME": ((2, 7, 6, 3), (3, 3, 3, 4), (2, 2), "SAME", 1),
    "7x7 by 2": ((2, 11, 8, 3), (7, 7, 3, 4), (2, 2), ((3, 3), (3, 3)), 1),
    "1x1": ((2, 4, 5, 3), (1, 1, 3, 6), (1, 1), "VALID", 1),
    "1x1 by 2": ((2, 5, 4, 3), (1, 1, 3, 6), (2, 2), "VALID", 1),
    "3x3 on one pixel": ((2, 1, 1, 3), (3, 3, 3, 4), (1, 1), EVEN, 1),
    "3x3 on 2x2": ((2, 2, 2, 3), (3, 3, 3, 4), (2, 2), EVEN, 1),
    "taps apart": ((2, 1, 1, 3), (3, 3, 3, 4), (2, 2), ((2, 2), (2, 2)), 1),
    "sides that differ": ((2, 6, 9, 3), (2, 5, 3, 4), (1, 3), ((0, 1), (2, 1)), 1),
    "one channel": ((2, 6, 6, 1), (3, 3, 1, 4), (1, 1), EVEN, 1),
    "depthwise": ((2, 6, 5, 4), (3, 3, 1, 4), (1, 1), "SAME", 4),
    "depthwise 5x5 by 2": ((2, 7, 6, 4), (5, 5, 1, 4), (2, 2), "SAME", 4),
    "depthwise on 2x2": ((2, 2, 2, 4), (5, 5, 1, 4), (1, 1), "SAME", 4),
}
OTHER: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "two groups": ((2, 6, 5, 4), (3, 3, 2, 6), {"feature_group_count": 2}),
    "depthwise with two outputs": ((2, 6, 5, 4), (3, 3, 1, 8), {"feature_group_count": 4}),
    "dilated kernel": ((2, 7, 7, 3), (3, 3, 3, 4), {"rhs_dilation": (2, 2)}),
    "dilated image": ((2, 4, 4, 3), (3, 3, 3, 4), {"lhs_dilation": (2, 2)}),
    "channels first": ((2, 3, 6, 5), (3, 3, 3, 4), {"dimension_numbers": ("NCHW", "HWIO", "NCHW")}),
}


def drawn(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def close(one: Any, other: Any, limit: float = 1e-5) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=limit * max(1.0, float(np.abs(b).max(initial=0.0))))


@pytest.mark.parametrize("name", PLAIN)
def test_numbers_and_gradients_are_those_of_xla(name: str) -> None:
    shape, kernel_shape, strides, padding, groups = PLAIN[name]
    x, kernel = drawn(*shape), drawn(*kernel_shape)

    def outcome(form: Any) -> Any:
        def loss(x: jax.Array, kernel: jax.Array) -> Any:
            y = form(x, kernel, strides, padding, dimension_numbers=AXES, feature_group_count=groups)
            return jnp.sum(jnp.sin(y)), y

        return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(x, kernel)

    close(outcome(convolve), outcome(lax.conv_general_dilated))
    settings = {"dimension_numbers": AXES, "feature_group_count": groups}
    traced = str(jax.make_jaxpr(lambda x, k: convolve(x, k, strides, padding, **settings))(x, kernel))
    assert "conv_general_dilated" not in traced
    # One matmul for each row of a kernel, none for a depthwise one.
    assert (traced.count("dot_general") == 0) == (groups > 1) and traced.count("dot_general") <= kernel_shape[0]


@pytest.mark.parametrize("name", OTHER)
def test_what_has_no_faster_form_is_left_to_xla(name: str) -> None:
    shape, kernel_shape, settings = OTHER[name]
    settings = {"dimension_numbers": AXES, **settings}
    x, kernel = drawn(*shape), drawn(*kernel_shape)
    assert np.array_equal(
        convolve(x, kernel, (1, 1), EVEN, **settings), lax.conv_general_dilated(x, kernel, (1, 1), EVEN, **settings)
    )


def test_images_smaller_than_the_kernel_have_no_output() -> None:
    y = convolve(drawn(2, 2, 5, 3), drawn(3, 3, 3, 4), (1, 1), "VALID", dimension_numbers=AXES)
    assert y.shape == (2, 0, 3, 4)


def test_large_patches_are_not_kept() -> None:
    def traced(side: int) -> str:
        shapes = ((1, side, side, 64), (3, 3, 64, 1))
        x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
        return str(jax.make_jaxpr(lambda x, k: convolve(x, k, (1, 1), EVEN, dimension_numbers=AXES))(x, kernel))

    assert ["remat" in traced(side) for side in (16, 128)] == [False, True]


@pytest.mark.parametrize("name", ["3x3", "depthwise"])
def test_half_precision_is_rounded_once(name: str) -> None:
    shape, kernel_shape, strides, padding, groups = PLAIN[name]
    x, kernel = drawn(*shape).astype(jnp.bfloat16), drawn(*kernel_shape).astype(jnp.bfloat16)
    y = convolve(x, kernel, strides, padding, dimension_numbers=AXES, feature_group_count=groups)
    wide = [leaf.astype(jnp.float32) for leaf in (x, kernel)]
    exact = lax.conv_general_dilated(*wide, strides, padding, dimension_numbers=AXES, feature_group_count=groups)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8, atol=1e-6)


def test_it_may_be_mapped_over_and_stand_in_a_loop() -> None:
    x, kernel = drawn(3, 2, 5, 4, 3), drawn(3, 3, 3, 3)

    def form(x: jax.Array) -> jax.Array:
        return convolve(x, kernel, (1, 1), EVEN, dimension_numbers=AXES)

    each = jnp.stack([form(one) for one in x])
    close(jax.jit(jax.vmap(form))(x), each)
    _, looped = jax.jit(lambda x: lax.scan(lambda carry, one: (carry, form(one)), 0, x))(x)
    close(looped, each)


@pytest.mark.parametrize("groups", [1, 4])
def test_the_layer_is_flax_s_own(groups: int) -> None:
    init = nn.initializers.lecun_normal()
    ours = conv(4 if groups > 1 else 7, 3, 2, "SAME", name="c", kernel_init=init, groups=groups)
    theirs = nn.Conv(
        ours.features, (3, 3), 2, "SAME", feature_group_count=groups, use_bias=False, kernel_init=init, name="c"
    )
    x = drawn(2, 6, 5, 4)
    variables = ours.init(jax.random.key(0), x)
    close(variables, theirs.init(jax.random.key(0), x), 0.0)
    assert isinstance(ours, nn.Conv) and [*variables["params"]] == ["kernel"]
    close(ours.apply(variables, x), theirs.apply(variables, x))


@pytest.mark.parametrize(("side", "stride", "margin"), [(3, 2, 1), (2, 2, 0), (3, 2, 0), (3, 1, 1)])
def test_pooling_is_that_of_flax(side: int, stride: int, margin: int) -> None:
    x = drawn(2, 9, 6, 3)

    def theirs(x: jax.Array) -> jax.Array:
        return nn.max_pool(x, (side, side), (stride, stride), ((margin, margin),) * 2)

    def outcome(form: Any) -> Any:
        return jax.jit(jax.grad(lambda x: (jnp.sum(jnp.sin(y := form(x))), y), has_aux=True))(x)

    close(outcome(lambda x: max_pool(x, side, stride, margin)), outcome(theirs), 1e-6)


def test_of_equals_the_first_gets_the_gradient() -> None:
    x = jnp.zeros((1, 4, 4, 1))
    gradient = jax.grad(lambda x: jnp.sum(max_pool(x, 2, 2, 0)))(x)
    assert np.array_equal(np.asarray(gradient)[0, :, :, 0], np.tile([[1, 0], [0, 0]], (2, 2)))


def test_what_is_not_a_number_is_not_pooled_away() -> None:
    for at in range(9):
        x = np.zeros((1, 3, 3, 1), np.float32)
        x[0, at // 3, at % 3, 0] = np.nan
        assert np.isnan(max_pool(jnp.asarray(x), 3, 1, 0)).all()


# Large ones, which XLA is the faster at where they stand in no loop


def convolutions(run: Any, *args: Any) -> int:
    """How many of XLA's convolutions something has, however deep."""
    return str(jax.make_jaxpr(run)(*args)).count("conv_general_dilated")


def large(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return convolve(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def test_a_large_one_is_xla_s_outside_of_loops_and_ours_inside_with_the_same_numbers() -> None:
    x, kernel = drawn(2, 16, 18, 16), drawn(3, 3, 16, 32)
    assert convolutions(large, x, kernel) == 1

    def inside(x: jax.Array, kernel: jax.Array) -> jax.Array:
        with looped():
            return large(x, kernel)

    assert convolutions(inside, x, kernel) == 0
    np.testing.assert_allclose(jax.jit(large)(x, kernel), jax.jit(inside)(x, kernel), atol=1e-4)
    assert convolutions(large, x, kernel) == 1  # afterwards as before


@pytest.mark.parametrize(("side", "features"), [(15, 32), (16, 28)])
def test_smaller_ones_are_ours_everywhere(side: int, features: int) -> None:
    assert convolutions(large, drawn(2, side, 18, 16), drawn(3, 3, 16, features)) == 0


def test_looped_without_a_loop_changes_nothing() -> None:
    with looped(False):
        assert convolutions(large, drawn(2, 16, 16, 16), drawn(3, 3, 16, 32)) == 1
    with looped(), looped(False):
        assert convolutions(large, drawn(2, 16, 16, 16), drawn(3, 3, 16, 32)) == 0


def test_a_model_with_large_ones_is_better_off_without_a_loop() -> None:
    settings = {**dict(tiny_model("resnet").settings), "width": 32}
    for side, expected in ((32, True), (8, False)):
        model = Model("resnet", tuple(sorted(settings.items())), 3, (side, side, 3))
        assert is_better_unlooped(lambda model=model: model.init(0)) == expected
    assert not is_better_unlooped(lambda: tiny_model("vit").init(0))


@pytest.mark.parametrize(("steps", "expected"), [(1, True), (2, False)])
def test_a_run_has_them_in_calls_of_one_step_alone(steps: int, expected: bool) -> None:
    settings = {**dict(tiny_model("resnet").settings), "width": 32}
    model = Model("resnet", tuple(sorted(settings.items())), 3, (32, 32, 3))
    task = Task(Adapted(model, "full"), Optimizer(), 4)
    state, frozen = begin(task)
    item = {"input": jnp.zeros((steps, 2, 32, 32, 3), jnp.float32), "label": jnp.zeros((steps, 2), jnp.int32)}
    found = convolutions(lambda s, f, i: advance(task, s, f, {}, i), state, frozen, item)
    assert (found > 0) == expected


def test_what_comes_before_a_depthwise_one_is_computed_once() -> None:
    x, kernel = drawn(2, 12, 12, 8), drawn(5, 5, 1, 8)

    def before(x: jax.Array) -> jax.Array:
        return jnp.clip((x - 0.1) * 1.7 + 0.3, 0.0, 6.0)

    def depthwise(x: jax.Array) -> jax.Array:
        return convolve(x, kernel, (1, 1), "SAME", dimension_numbers=AXES, feature_group_count=8)

    def flops(run: Any) -> float:
        return float(jax.jit(run).lower(x).compile().cost_analysis()["flops"])

    jax.config.update("jax_disable_most_optimizations", False)
    try:
        alone, both = flops(before) + flops(depthwise), flops(lambda x: depthwise(before(x)))
    finally:
        jax.config.update("jax_disable_most_optimizations", True)
    assert both < 1.02 * alone

"""Auto-RGN: factors by hand, how long they hold, leaves of zeros, and many runs at once."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tiny import adapt

from tlx import tree
from tlx.adapt.autorgn import factors, wrap

PARAMS = {
    "low": {"kernel": jnp.array([[3.0, 0.0], [0.0, 4.0]]), "bias": jnp.array([0.0, 12.0])},
    "high": {"kernel": jnp.array([[1.0, 1.0]]), "bias": jnp.zeros(2)},
}
GRADS = {
    "low": {"kernel": jnp.array([[0.6, 0.8], [0.0, 0.0]]), "bias": jnp.array([0.0, 2.4])},
    "high": {"kernel": jnp.array([[0.1, 0.1]]), "bias": jnp.array([0.3, 0.4])},
}
# 1/5, 2.4/12 and 0.1 over the largest, 0.2; the bias of zeros has no ratio.
FACTORS = {"low/kernel": 1.0, "low/bias": 1.0, "high/kernel": 0.5, "high/bias": 1.0}


def test_factors_are_ratios_of_norms_over_the_largest() -> None:
    found = tree.flatten(factors(GRADS, PARAMS))
    assert found.keys() == FACTORS.keys()
    for path, factor in FACTORS.items():
        np.testing.assert_allclose(found[path], factor, rtol=1e-6, err_msg=path)


def test_a_gradient_of_zero_stops_nothing_else() -> None:
    some = {**GRADS, "low": jax.tree.map(jnp.zeros_like, GRADS["low"])}
    assert {path: float(f) for path, f in tree.flatten(factors(some, PARAMS)).items()} == {
        "low/kernel": 0.0,
        "low/bias": 0.0,
        "high/kernel": 1.0,
        "high/bias": 1.0,
    }
    none = factors(jax.tree.map(jnp.zeros_like, GRADS), PARAMS)
    assert {float(f) for f in jax.tree.leaves(none)} == {1.0}
    nowhere = factors(GRADS, jax.tree.map(jnp.zeros_like, PARAMS))
    assert {float(f) for f in jax.tree.leaves(nowhere)} == {1.0}


def run(every: int, scales: list[float]) -> list[Any]:
    """Updates of plain gradient descent at rate 1, with the gradient of `low` scaled by each number in turn."""
    wrapped = wrap({"every": every}, len(scales))(optax.sgd(1.0))
    state, steps = wrapped.init(PARAMS), []
    for scale in scales:
        grads = {**GRADS, "low": jax.tree.map(lambda g, scale=scale: g * scale, GRADS["low"])}
        updates, state = wrapped.update(grads, state, PARAMS)
        steps.append(updates)
    return steps


def test_updates_are_multiplied_and_factors_hold_for_a_while() -> None:
    """Three updates to a look: the third and fourth gradient are a hundredth, which the fourth notices."""
    steps = run(3, [1.0, 1.0, 0.01, 0.01])
    factor_high, factor_low = [0.5, 0.5, 0.5, 1.0], [1.0, 1.0, 1.0, 0.02]
    for step, scale, high, low in zip(steps, [1.0, 1.0, 0.01, 0.01], factor_high, factor_low, strict=True):
        np.testing.assert_allclose(step["high"]["kernel"], -high * GRADS["high"]["kernel"], rtol=1e-5)
        np.testing.assert_allclose(step["low"]["kernel"], -low * scale * GRADS["low"]["kernel"], rtol=1e-5)
        np.testing.assert_allclose(step["high"]["bias"], -GRADS["high"]["bias"], rtol=1e-5)


def test_momentum_and_decay_are_those_of_the_optimizer_inside() -> None:
    inner = optax.chain(optax.trace(0.5), optax.add_decayed_weights(0.1), optax.scale(-1.0))
    wrapped = wrap({"every": 1}, 2)(inner)
    state = wrapped.init(PARAMS)
    for momentum in (1.0, 1.5):
        updates, state = wrapped.update(GRADS, state, PARAMS)
        for path, update in tree.flatten(updates).items():
            plain = momentum * tree.flatten(GRADS)[path] + 0.1 * tree.flatten(PARAMS)[path]
            np.testing.assert_allclose(update, -FACTORS[path] * plain, rtol=1e-5, atol=1e-7, err_msg=path)


def test_the_state_is_arrays_and_runs_side_by_side_do_not_mix() -> None:
    wrapped = wrap({"every": 2}, 4)(optax.sgd(1.0))
    other = {**GRADS, "low": jax.tree.map(lambda g: 0.01 * g, GRADS["low"])}
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), GRADS, other)
    state = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), wrapped.init(PARAMS))
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype("int32"), jnp.dtype("float32")}
    update = jax.jit(jax.vmap(wrapped.update, in_axes=(0, 0, None)))
    updates, state = update(both, state, PARAMS)
    np.testing.assert_allclose(updates["high"]["kernel"], [[[-0.05, -0.05]], [[-0.1, -0.1]]], rtol=1e-5)
    assert np.array_equal(state.done, [1, 1])


def test_everything_moves() -> None:
    assert set(adapt("auto_rgn").labels().values()) == {"train", "head"}

"""Activations of any linen module: whole and in batches, pooled and flattened, and names that are not there."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import batch, compiled_init, tiny_model

from tlx.adapt import tokens
from tlx.measure.representation.capture import capture, capture_batches, flattened, pooled


class Tail(nn.Module):
    """A block with a layer inside."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.relu(nn.Dense(3, name="inner")(x))


class Twice(nn.Module):
    """One layer, called twice, and another inside of a block."""

    @nn.compact
    def __call__(self, x: Any, double: bool = False) -> Any:
        layer = nn.Dense(4, name="layer")
        y = layer(layer(x))
        return Tail(name="tail")(2 * y if double else y)


@pytest.fixture(scope="module")
def twice() -> tuple[Twice, Any, jax.Array]:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)
    return Twice(), Twice().init(jax.random.key(0), x), x


def test_what_a_layer_returned_last(twice: tuple[Twice, Any, jax.Array]) -> None:
    module, variables, x = twice
    kernel = np.asarray(variables["params"]["layer"]["kernel"])
    found = capture(module, variables, x, ["layer", "tail/inner"])
    np.testing.assert_allclose(found["layer"], np.asarray(x) @ kernel @ kernel, rtol=1e-5)
    assert found["tail/inner"].shape == (5, 3)


def test_settings_of_the_call_are_handed_on(twice: tuple[Twice, Any, jax.Array]) -> None:
    module, variables, x = twice
    one, other = (capture(module, variables, x, ["tail/inner"], double=double) for double in (False, True))
    np.testing.assert_allclose(2 * one["tail/inner"], other["tail/inner"], rtol=1e-5)


def test_batches_are_as_the_whole(twice: tuple[Twice, Any, jax.Array]) -> None:
    module, variables, x = twice
    whole = capture(module, variables, x, ["tail"])
    parts = [found["tail"] for found in capture_batches(module, variables, [x[:2], x[2:4], x[4:]], ["tail"])]
    assert [len(part) for part in parts] == [2, 2, 1] and all(isinstance(part, np.ndarray) for part in parts)
    np.testing.assert_allclose(np.concatenate(parts), whole["tail"], rtol=1e-6)


def test_a_name_that_is_not_there_is_refused(twice: tuple[Twice, Any, jax.Array]) -> None:
    module, variables, x = twice
    with pytest.raises(ValueError, match=r"names: no submodule 'tails' is called \(did you mean 'tail'\?\)"):
        capture(module, variables, x, ["layer", "tails"])


@pytest.mark.parametrize("name", ["bert", "resnet"])
def test_stages_of_registered_models(name: str) -> None:
    model = tiny_model(name)
    stages = model.stages[:-2]

    @jax.jit
    def both(variables: Any, x: Any) -> Any:
        flow, by_stage = x, {}
        for k, stage in enumerate(stages):
            flow = model.module.apply(variables, flow, k, k + 1)
            by_stage[stage] = tokens.mean(flow)
        return capture(model.module, variables, x, stages, last=len(stages)), by_stage

    found, expected = both(compiled_init(model)(0), batch(model, 3)["input"])
    assert found.keys() == expected.keys()
    for stage in stages:
        np.testing.assert_allclose(found[stage], expected[stage], rtol=1e-5, atol=1e-6)


def test_pooling_leaves_padding_out() -> None:
    hidden = jnp.arange(12, dtype=jnp.float32).reshape(2, 3, 2)
    flow = {"hidden": hidden, "mask": jnp.asarray([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])}
    assert pooled(flow).tolist() == [[1.0, 2.0], [0.0, 0.0]]
    assert flattened(flow).tolist() == [[0.0, 1.0, 2.0, 3.0, 0.0, 0.0], [0.0] * 6]


def test_maps_are_averaged_or_laid_in_a_row() -> None:
    x = jnp.arange(16, dtype=jnp.bfloat16).reshape(2, 2, 2, 2)
    assert pooled(x).tolist() == [[3.0, 4.0], [11.0, 12.0]] and pooled(x).dtype == jnp.float32
    assert flattened(x).shape == (2, 8) and pooled(x[:, 0, 0]).tolist() == [[0.0, 1.0], [8.0, 9.0]]


def test_outputs_without_features_are_refused() -> None:
    for out in (jnp.zeros(3), {"hidden": jnp.zeros((2, 3, 4))}):
        with pytest.raises(ValueError, match=r"out: expected an array \[examples, ..., features\]"):
            pooled(out)

"""Layer-wise rates: the table written out, and the updates an optimizer makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import adapt, compiled_init, tiny_model

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.errors import ConfigError
from tlx.optim import Optimizer, set_hyper
from tlx.step import Task

TABLE = {
    # As BEiT has it for two blocks: the embedding three steps below the head, the final norm beside it.
    "vit": {"embed": 0.125, "block_0": 0.25, "block_1": 0.5, "pool": 1.0},
    "bert": {"embed": 0.125, "block_0": 0.25, "block_1": 0.5, "pool": 1.0},
    "resnet": {"stem": 0.125, "block_0": 0.25, "block_1": 0.5},
}


@pytest.mark.parametrize("model", sorted(TABLE))
def test_factors_are_those_of_the_table(model: str) -> None:
    adapted = adapt("llrd", tiny_model(model), decay=0.5)
    assert dict(adapted.lr_scale()) == {f"train@{stage}": factor for stage, factor in TABLE[model].items()}
    for path, label in adapted.labels().items():
        stage = path.split("/")[1]
        assert label == ("head" if stage == "head" else f"train@{stage}")


def test_a_deeper_model_and_the_default() -> None:
    factors = dict(adapt("llrd", tiny_model(depth=4)).lr_scale())
    names = ["embed", "block_0", "block_1", "block_2", "block_3", "pool"]
    assert factors == pytest.approx(
        {f"train@{name}": 0.75**depth for name, depth in zip(names, (5, 4, 3, 2, 1, 0), strict=True)}
    )


def test_no_factor_is_below_the_smallest() -> None:
    factors = dict(adapt("llrd", decay=0.5, min_scale=0.3).lr_scale())
    assert factors == {"train@embed": 0.3, "train@block_0": 0.3, "train@block_1": 0.5, "train@pool": 1.0}


SMALL = tiny_model(depth=1, width=8)


def updates(adapted: Adapted) -> dict[str, jax.Array]:
    """What Adam makes of one gradient, with decay, by path."""
    task = Task(adapted, Optimizer(clip_norm=0.0), steps=1)
    params = {"params": compiled_init(adapted.model)(0)["params"]}
    rng = np.random.default_rng(0)
    grads = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), params)
    rule = task.transformation()
    state = set_hyper(rule.init(params), jnp.float32(0.1), jnp.float32(0.2))
    return tree.flatten(jax.jit(rule.update)(grads, state, params)[0])


def test_updates_are_full_fine_tuning_s_times_the_factor() -> None:
    plain, scaled = updates(adapt("full", SMALL)), updates(adapt("llrd", SMALL, decay=0.5))
    assert plain.keys() == scaled.keys()
    for path, update in plain.items():
        factor = {"embed": 0.25, "block_0": 0.5, "pool": 1.0, "head": 1.0}[path.split("/")[1]]
        assert np.abs(update).max() > 0.05
        np.testing.assert_allclose(scaled[path], factor * update, rtol=1e-5, atol=1e-9, err_msg=path)


@pytest.mark.parametrize("method", ["llrd", "ulmfit"])
def test_blocks_in_one_stage_are_refused(method: str) -> None:
    adapted = adapt(method, tiny_model(scan=True))
    with pytest.raises(ConfigError, match="^name: each block needs a rate of its own, but 'vit' has scan=True$"):
        adapted.labels()

"""Head2Toe: features by hand, the head on them, the penalty, and the choice of features within a run."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from by_hand import float64
from flows import away, run
from tiny import ADAM, adapt, batch, tiny_model, trained, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.head2toe import HEAD2TOE, features, strongest
from tlx.adapt.hooks import Moment
from tlx.step import Task

KERNEL = "adapters/head/head2toe/kernel"


def head2toe(model: str = "vit", **settings: Any) -> Adapted:
    return adapt("head2toe", tiny_model(model), **settings)


def unit(x_BF: np.ndarray) -> np.ndarray:
    return x_BF / np.sqrt((x_BF**2).sum(axis=1, keepdims=True))


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).normal(0, 1, shape).astype(np.float32)


def test_positions_are_averaged_over_equal_stretches() -> None:
    x_BHWC = drawn(2, 2, 3, 4)
    x_BTC = x_BHWC.reshape(2, 6, 4)
    pairs_BPC = (x_BTC[:, ::2] + x_BTC[:, 1::2]) / 2
    np.testing.assert_allclose(features(jnp.asarray(x_BHWC), 12), unit(pairs_BPC.reshape(2, 12)), atol=1e-6)
    np.testing.assert_allclose(features(jnp.asarray(x_BHWC), 15), unit(pairs_BPC.reshape(2, 12)), atol=1e-6)
    np.testing.assert_allclose(features(jnp.asarray(x_BTC), 999), unit(x_BTC.reshape(2, 24)), atol=1e-6)


def test_stretches_are_of_almost_equal_length() -> None:
    x_BTC = drawn(2, 5, 3)
    parts = [x_BTC[:, :3].mean(axis=1), x_BTC[:, 3:].mean(axis=1)]
    np.testing.assert_allclose(features(jnp.asarray(x_BTC), 6), unit(np.concatenate(parts, axis=1)), atol=1e-6)


def test_channels_are_averaged_where_there_are_too_many() -> None:
    x_BTC = drawn(2, 5, 8)
    means_BQ = x_BTC.mean(axis=1).reshape(2, 4, 2).mean(axis=2)
    np.testing.assert_allclose(features(jnp.asarray(x_BTC), 4), unit(means_BQ), atol=1e-6)
    np.testing.assert_allclose(features(jnp.asarray(x_BTC[:, 0]), 8), unit(x_BTC[:, 0]), atol=1e-6)


def test_padded_sequences_are_averaged_over_their_tokens() -> None:
    x_BTC = drawn(2, 5, 4)
    mask_BT = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.float32)
    expected = np.stack([x_BTC[0, :3].mean(axis=0), x_BTC[1].mean(axis=0)])
    flow = {"hidden": jnp.asarray(x_BTC), "mask": jnp.asarray(mask_BT)}
    np.testing.assert_allclose(features(flow, 99), unit(expected), atol=1e-6)


def test_zeros_stay_zeros() -> None:
    assert not np.any(features(jnp.zeros((2, 3, 4)), 12))


@pytest.mark.thorough
@pytest.mark.parametrize("model", ["bert", "resnet", "vit"])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_the_head_reads_every_stage(model: str, scale: float | None) -> None:
    adapted = head2toe(model)
    leaves, x = away(adapted), batch(adapted.model)["input"]
    base = {key: leaf for key, leaf in leaves.items() if key != "adapters"}
    flows = [adapted.model.module.apply(base, x, 0, k) for k in range(1, len(adapted.model.stages) + 1)]
    all_BF = np.concatenate([np.asarray(features(flow, 24), np.float64) for flow in flows[:-1]], axis=1)
    own = float64(leaves["adapters"]["head"]["head2toe"])
    new_BC = all_BF @ own["kernel"] + own["bias"]
    share = 1.0 if scale is None else scale
    expected = (1 - share) * np.asarray(flows[-1], np.float64) + share * new_BC
    np.testing.assert_allclose(run(adapted, leaves, x, scale=scale), expected, atol=2e-5)


@pytest.mark.parametrize(("model", "stages"), [("bert", 4), ("resnet", 4), ("vit", 4)])
def test_everything_below_the_head_is_below_the_cut(model: str, stages: int) -> None:
    adapted = head2toe(model)
    assert adapted.cut() == stages
    assert {path for path, label in adapted.labels().items() if label != "frozen"} == {
        KERNEL,
        "adapters/head/head2toe/bias",
    }
    cached = run(adapted, variables(adapted), batch(adapted.model)["input"], last=stages)
    assert len(variables(adapted)["adapters"]["head"]["head2toe"]["kernel"]) == cached["features"].shape[1]
    np.testing.assert_allclose(np.linalg.norm(cached["features"], axis=1), np.sqrt(stages), atol=1e-5)


def moment(adapted: Adapted, kernel_FL: Any) -> Moment:
    whole = {"adapters": {"head": {"head2toe": {"kernel": jnp.asarray(kernel_FL, jnp.float32)}}}}
    return Moment(adapted.model, whole, {}, {}, 0, None, jnp.zeros((1, 3)))


def test_the_penalty_is_the_sum_of_the_rows_norms_until_features_are_chosen() -> None:
    assert HEAD2TOE.penalty is not None
    adapted, settings = head2toe(), {"lasso": 0.5}
    kernel_FL = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0], [1.0, 2.0, 2.0]])
    assert float(HEAD2TOE.penalty(settings, moment(adapted, kernel_FL))) == pytest.approx(0.5 * (5 + 2 + 3))

    def slope(kernel_FL: Any) -> Any:
        assert HEAD2TOE.penalty is not None
        return jax.grad(lambda kernel: HEAD2TOE.penalty(settings, moment(adapted, kernel)))(jnp.asarray(kernel_FL))

    np.testing.assert_allclose(
        slope(kernel_FL.astype(np.float32)),
        0.5 * np.array([[0.6, 0.8, 0], [0, 0, 1], [1 / 3, 2 / 3, 2 / 3]]),
        atol=1e-6,
    )
    kernel_FL[1] = 0
    assert float(HEAD2TOE.penalty(settings, moment(adapted, kernel_FL))) == 0
    assert not np.any(slope(kernel_FL.astype(np.float32)))


def test_the_strongest_are_kept_and_of_equal_ones_the_first() -> None:
    kernel_FL = jnp.array([[1.0, 0.0], [0.0, -2.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.1, 0.1]])
    assert strongest(kernel_FL, 0.5).tolist() == [True, True, True, False, False, False]
    assert strongest(kernel_FL, 0.01).tolist() == [False, True, False, False, False, False]
    assert strongest(kernel_FL, 1.0).all()


def test_the_optimizer_holds_the_other_weights_at_zero_from_the_choice_on() -> None:
    """Gradient descent by hand: free until step 2, where the two strongest rows of that time are chosen."""
    assert HEAD2TOE.wrap is not None
    transform = HEAD2TOE.wrap({"keep": 0.5, "select": 0.5}, 4)(optax.sgd(0.1))
    kernel_FL = jnp.array([[1.0, 0.0], [0.0, 0.5], [0.3, 0.2], [0.9, 0.0]])
    params = {"adapters": {"head": {"head2toe": {"kernel": kernel_FL, "bias": jnp.zeros(2)}}}}
    grads = jax.tree.map(jnp.ones_like, params)
    # The third row grows, so that the choice depends on when it is made.
    grads["adapters"]["head"]["head2toe"]["kernel"] = jnp.array([[1.0, 0.0], [0.0, 1.0], [-5.0, -5.0], [1.0, 0.0]])
    state = transform.init(params)
    seen = [np.asarray(kernel_FL)]
    for _ in range(4):
        updates, state = jax.jit(transform.update)(grads, state, params)
        params = optax.apply_updates(params, updates)
        seen.append(np.asarray(params["adapters"]["head"]["head2toe"]["kernel"]))
    step = -0.1 * np.asarray(grads["adapters"]["head"]["head2toe"]["kernel"])
    for k in (1, 2):
        np.testing.assert_allclose(seen[k], seen[k - 1] + step, atol=1e-6)
    # At step 2 the rows' norms are 0.8, 0.3, 1.75 and 0.7.
    for k in (3, 4):
        np.testing.assert_allclose(seen[k][[0, 2]], (seen[k - 1] + step)[[0, 2]], atol=1e-6)
        assert np.array_equal(seen[k][[1, 3]], np.zeros((2, 2)))
    np.testing.assert_allclose(params["adapters"]["head"]["head2toe"]["bias"], [-0.4, -0.4], atol=1e-6)


def test_a_run_ends_with_the_share_of_features_it_keeps() -> None:
    adapted = head2toe(keep=0.25, select=0.5)
    task = Task(adapted, ADAM, steps=6)
    assert task.bounds == (0, 3)
    assert [round(float(task.at(step).lr_factor(jnp.int32(step))), 3) for step in (0, 3)] == [1.0, 1.0]
    before, state, _ = trained(task, rate=0.02)
    kernel_FL = np.asarray(state.trainable["adapters"]["head"]["head2toe"]["kernel"])
    assert len(kernel_FL) == 16 + 16 + 16 + 16
    used_F = np.any(kernel_FL != 0, axis=1)
    assert used_F.sum() == 16
    changed = np.asarray(before["adapters"]["head"]["head2toe"]["kernel"]) != kernel_FL
    assert np.all(changed)


def test_the_running_mean_has_no_part_in_features_that_were_dropped() -> None:
    task = Task(head2toe(keep=0.25, select=0.5), replace(ADAM, ema=0.9), steps=6)
    _, state, _ = trained(task, rate=0.02)
    at_end, mean = (np.asarray(tree.flatten(leaves)[KERNEL]) for leaves in (state.trainable, state.ema))
    np.testing.assert_array_equal(np.any(mean != 0, axis=1), np.any(at_end != 0, axis=1))
    assert np.any(mean != at_end)

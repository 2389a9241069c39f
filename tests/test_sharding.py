import functools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pytest
from runs import IMAGE_NHWC, LABEL_N, begin, host, resident, table, task_of, train
from tiny import differing

from tlx import fused, tree
from tlx.loop import Programs, Resident
from tlx.optim import Optimizer
from tlx.sharding import Jit, flops_of, make_placement
from tlx.state import make_hyper, to_tree

STEPS = 10
# Kind, devices for the batch, devices for each parameter.
PLACES = [("jit", 2, 1), ("jit", 4, 1), ("jit", 2, 2), ("pmap", 2, 1), ("pmap", 4, 1)]
# Softmax does not see it: its gradient is zero.
KEY_BIAS = "params/block_0/attention/key/bias"
# Without clipping, gradients that were summed and not averaged would show; with it, norms of a part of the batch.
RULES = {
    "sgd": Optimizer(name="sgd", clip_norm=0.0, warmup=0.2),
    "adamw": Optimizer(name="adamw", clip_norm=0.1, warmup=0.2),
}


@dataclass(frozen=True)
class Done:
    """A run, and what it was given before and after it."""

    state: Any
    losses: np.ndarray
    before: Any
    after: Any
    given: Any


@functools.cache
def run_on(kind: str, data: int, fsdp: int, optimizer: str) -> Done:
    """Ten steps of eight examples, full fine-tuning."""
    task = task_of("full", STEPS, RULES[optimizer], depth=1)
    state, frozen = begin(task, make_hyper(1e-2, 0.05, 0.1))
    # Arrays on a device, as a restored or pre-trained state has them.
    given = jax.tree.map(jax.numpy.asarray, (state, frozen, resident().data))
    before = host(given)
    placement = make_placement(kind, data, fsdp)
    assert placement.devices == data * fsdp
    ended, losses = train(
        task, *given[:2], Resident(given[2], table()), programs=Programs(), placement=placement, chunk=5
    )
    return Done(ended, losses, before, host(given), given)


@pytest.mark.parametrize("place", PLACES)
def test_losses_and_leaves_do_not_depend_on_the_devices(place: tuple[str, int, int]) -> None:
    one, many = run_on("jit", 1, 1, "sgd"), run_on(*place, "sgd")
    assert one.losses.shape == (STEPS,)
    np.testing.assert_allclose(many.losses, one.losses, rtol=1e-5)
    assert int(many.state.step) == STEPS and not bool(many.state.diverged)
    here, there = tree.flatten(one.state.trainable), tree.flatten(many.state.trainable)
    for path in here:
        np.testing.assert_allclose(there[path], here[path], atol=1e-6, err_msg=path)
    still = set(here) - differing(one.before[0].trainable, one.state.trainable)
    assert still <= {KEY_BIAS}, "all others moved"


def test_nor_do_they_under_adam() -> None:
    one, many = run_on("jit", 1, 1, "adamw"), run_on("pmap", 4, 1, "adamw")
    np.testing.assert_allclose(many.losses, one.losses, rtol=1e-5)
    here, there = tree.flatten(one.state.trainable), tree.flatten(many.state.trainable)
    for path in here:
        # Rounding is all of its gradient, and Adam scales that to full size.
        if path != KEY_BIAS:
            np.testing.assert_allclose(there[path], here[path], atol=5e-5, err_msg=path)


@pytest.mark.parametrize("place", [("jit", 1, 1), *PLACES])
def test_what_a_run_is_given_can_still_be_read_and_is_unchanged(place: tuple[str, int, int]) -> None:
    done = run_on(*place, "sgd")
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(done.given))
    for before, after in zip(done.before, done.after, strict=True):
        assert differing(tree.unflatten(tree.flatten(before)), tree.unflatten(tree.flatten(after))) == set()


def test_fsdp_splits_parameters_optimizer_state_and_frozen_leaves() -> None:
    ended = run_on("jit", 2, 2, "sgd").state
    kernel = ended.trainable["params"]["block_0"]["mlp"]["up"]["kernel"]
    assert kernel.shape == (16, 64)
    assert [shard.data.shape for shard in kernel.addressable_shards] == [(16, 32)] * 4
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(ended.trainable))
    # All but the head's three biases can be halved.
    assert held == (tree.nbytes(ended.trainable) + 3 * 4) // 2
    moments = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(ended.opt_state))
    assert moments < 0.55 * tree.nbytes(ended.opt_state)

    _, frozen = begin(task_of("lora", 1))
    placed = make_placement("jit", 2, 2).shared(frozen)
    value = placed["params"]["block_1"]["attention"]["value"]["kernel"]
    assert {shard.data.shape for shard in value.addressable_shards} == {(16, 8)}
    np.testing.assert_array_equal(value, frozen["params"]["block_1"]["attention"]["value"]["kernel"])


def test_the_batch_is_split_over_all_devices() -> None:
    items = table()(0, 3)
    for placement in (make_placement("jit", 4, 1), make_placement("jit", 2, 2)):
        placed = placement.items(items)
        assert [shard.data.shape for shard in placed.addressable_shards] == [(3, 2)] * 4
        np.testing.assert_array_equal(placed, items)
    placed = make_placement("pmap", 4, 1).items(items)
    assert placed.shape == (4, 3, 2)
    np.testing.assert_array_equal(np.concatenate(placed, axis=1), items)


@pytest.mark.parametrize("place", [("jit", 2, 2), ("pmap", 4, 1)])
def test_a_placed_state_reads_back_as_it_was(place: tuple[str, int, int]) -> None:
    state, _ = begin(task_of("lora", 1))
    placement = make_placement(*place)
    again = placement.fetch(placement.state(state))
    assert differing(to_tree(state), to_tree(again)) == set()


@pytest.mark.parametrize(
    ("kind", "data", "fsdp", "devices"),
    [("jit", -1, 1, 4), ("jit", -1, 2, 4), ("jit", 1, 1, 1), ("pmap", -1, 1, 4), ("pmap", 2, 1, 2)],
)
def test_minus_one_takes_the_devices_there_are(kind: str, data: int, fsdp: int, devices: int) -> None:
    assert make_placement(kind, data, fsdp).devices == devices


MEMBERS = 4


@functools.cache
def fused_on(devices: int) -> tuple[Any, np.ndarray]:
    """Members of a fused group of heads, differing in seed, rate and order."""
    task = task_of("head", STEPS, depth=1)
    rates = [1e-2, 3e-3, 1e-1, 3e-2]
    states = fused.stack([begin(task, make_hyper(rate), seed)[0] for seed, rate in enumerate(rates)])
    ended, losses = fused.run(
        task,
        states,
        begin(task)[1],
        {"input": IMAGE_NHWC, "label": LABEL_N},
        lambda start, stop: np.stack([table(seed)(start, stop) for seed in range(MEMBERS)]),
        placement=Jit(devices),
        programs=Programs(),
        chunk=5,
        losses=np.zeros((MEMBERS, 0), np.float32),
        boundary=lambda state, losses: None,
    )
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(states))
    return ended, losses


def test_fused_members_spread_over_devices_give_the_same_numbers() -> None:
    (one, losses), (many, many_losses) = fused_on(1), fused_on(4)
    np.testing.assert_allclose(many_losses, losses, rtol=1e-5)
    assert losses.shape == (MEMBERS, STEPS)
    kernel = many.trainable["params"]["head"]["kernel"]
    assert [shard.data.shape for shard in kernel.addressable_shards] == [(1, 16, 3)] * 4
    for path, leaf in tree.flatten(many.trainable).items():
        np.testing.assert_allclose(leaf, tree.flatten(one.trainable)[path], atol=1e-6, err_msg=path)


@pytest.mark.parametrize(("devices", "members", "each"), [(2, 4, 2), (4, 8, 2), (2, 3, 3), (4, 2, 2)])
def test_members_that_do_not_divide_are_on_every_device(devices: int, members: int, each: int) -> None:
    x_KD = np.arange(members * 3.0).reshape(members, 3)
    for placed in (Jit(devices).state(x_KD, members=True), Jit(devices).items(x_KD, members=True)):
        assert [shard.data.shape for shard in placed.addressable_shards] == [(each, 3)] * devices
        np.testing.assert_array_equal(placed, x_KD)


def test_pmap_refuses_a_fused_group() -> None:
    with pytest.raises(ValueError, match="under jit"):
        make_placement("pmap", 2, 1).state({"w": np.zeros((4, 2))}, members=True)


def test_flops_are_those_of_the_program() -> None:
    compiled = jax.jit(lambda a, b: a @ b).lower(np.ones((8, 16), "f"), np.ones((16, 4), "f")).compile()
    assert flops_of(compiled) == pytest.approx(2 * 8 * 16 * 4)

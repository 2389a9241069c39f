"""Random ops stand in the program: the same batches for every way of feeding, resuming and spreading a run."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from runs import IMAGE_NHWC, begin, resident, streamed, task_of, train
from tiny import CLASSES, differing

from tlx.data.ops.pipeline import make_pipeline
from tlx.loop import Programs, fetch, prepared
from tlx.sharding import make_placement
from tlx.state import make_hyper
from tlx.step import Task

STEPS = 6
RANDOM = make_pipeline([("pad_crop", {"padding": 1}), ("flip", {}), ("noise", {})], CLASSES)
MIXED = make_pipeline([("mixup", {"alpha": 1.0})], CLASSES)


@pytest.fixture(scope="module")
def programs() -> Programs:
    return Programs()


def augmented(ops: object = RANDOM) -> Task:
    return replace(task_of("head", STEPS, depth=1), ops=ops)


@pytest.mark.parametrize("ops", [RANDOM, MIXED], ids=["drawn", "mixed"])
def test_a_streamed_feed_sees_the_images_of_a_resident_one_at_every_step(ops: object, programs: Programs) -> None:
    task = augmented(ops)
    state, _ = begin(task)
    one, other = resident(3), streamed(3)
    fetched = jax.jit(lambda state, data, item: prepared(task, state, fetch(data, item)))
    seen = []
    for step in range(STEPS):
        now = state.replace(step=np.int32(step))
        item = jax.tree.map(lambda leaf: leaf[0], other.items(step, step + 1))
        indexed, read = fetched(now, one.data, one.items(step, step + 1)[0]), fetched(now, {}, item)
        for name in ("input", "label"):
            np.testing.assert_array_equal(indexed[name], read[name])
        seen.append(np.asarray(indexed["input"]))
        assert not np.array_equal(seen[-1], 2 * (item["input"] / np.float32(255)) - 1)
    assert len({image.tobytes() for image in seen}) == STEPS
    again = fetched(state.replace(step=np.int32(2)), one.data, one.items(2, 3)[0])
    np.testing.assert_array_equal(again["input"], seen[2])


def test_a_run_ends_with_the_same_bits_however_it_is_fed_and_cut_into_calls(programs: Programs) -> None:
    task = augmented()
    whole, losses = train(task, *begin(task), resident(3), programs=programs, chunk=3)
    read, read_losses = train(task, *begin(task), streamed(3), programs=programs, chunk=3)
    assert differing(whole.trainable, read.trainable) == set()
    np.testing.assert_array_equal(losses, read_losses)
    _, step_losses = train(task, *begin(task), resident(3), programs=programs, chunk=1)
    np.testing.assert_allclose(step_losses, losses, rtol=1e-5)
    _, plain_losses = train(replace(task, ops=make_pipeline([])), *begin(task), resident(3), programs=programs)
    assert np.abs(plain_losses - losses).max() > 1e-3


def test_another_seed_draws_other_images(programs: Programs) -> None:
    task = augmented()
    _, one = train(task, *begin(task, make_hyper(1e-2, seed=1)), resident(3), programs=programs)
    _, other = train(task, *begin(task, make_hyper(1e-2, seed=2)), resident(3), programs=programs)
    assert np.abs(one - other).max() > 1e-4


@pytest.mark.parametrize("place", [("pmap", 2, 1), pytest.param(("jit", 2, 1), marks=pytest.mark.thorough)], ids=str)
def test_each_device_draws_for_its_own_examples_what_one_would(place: tuple[str, int, int], programs: Programs) -> None:
    task = augmented()
    _, alone = train(task, *begin(task), resident(3), programs=programs)
    _, spread = train(task, *begin(task), resident(3), programs=Programs(), placement=make_placement(*place))
    np.testing.assert_allclose(spread, alone, rtol=1e-4)


def test_evaluation_sees_images_as_they_are() -> None:
    ready = RANDOM.ready(IMAGE_NHWC[:3])
    np.testing.assert_allclose(ready, IMAGE_NHWC[:3] / 127.5 - 1, atol=1e-6)
    small = make_pipeline([("flip", {}), ("center_crop", {"side": 4})], CLASSES).ready(IMAGE_NHWC[:3])
    np.testing.assert_allclose(small, IMAGE_NHWC[:3, 2:6, 2:6] / 127.5 - 1, atol=1e-6)

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import (
    EXAMPLES,
    IMAGE_NHWC,
    LABEL_N,
    Stop,
    begin,
    host,
    largest_gap,
    resident,
    streamed,
    table,
    task_of,
    train,
)
from tiny import adapt, compiled_step, differing, tiny_model
from tiny import begin as tiny_begin

from tlx.checkpoint import Checkpoints
from tlx.data.preprocess import normalise
from tlx.loop import Programs, Streamed
from tlx.optim import Optimizer
from tlx.sharding import make_placement
from tlx.state import TrainState, from_tree, make_hyper, to_tree
from tlx.step import Task

STEPS = 10


@pytest.fixture(scope="module")
def programs() -> Programs:
    return Programs()


def stop_and_resume(
    task: Task, fresh: tuple[TrainState, Any], after: int, chunk: int, programs: Programs, folder: Path
) -> tuple[TrainState, np.ndarray]:
    """Stop a run after some steps as a kill would, and go on from what was saved."""
    state, frozen = fresh
    checkpoints = Checkpoints(folder)

    def boundary(state: TrainState, losses: np.ndarray) -> None:
        if int(state.step) == after:
            checkpoints.save(after, {"state": to_tree(state), "losses": losses}, {})
            raise Stop

    with pytest.raises(Stop):
        train(task, state, frozen, resident(), programs=programs, chunk=chunk, boundary=boundary)
    restored = checkpoints.restore()
    assert restored is not None and restored.step == after
    state = from_tree(state, restored.tree["state"])
    assert int(state.step) == after
    return train(task, state, frozen, resident(), programs=programs, chunk=chunk, losses=restored.tree["losses"])


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(("chunk", "stops"), [(1, range(1, STEPS + 1)), (3, [3, 6, 9, 10])])
def test_a_run_stopped_at_any_boundary_ends_bit_for_bit_as_if_undisturbed(
    method: str, chunk: int, stops: Any, programs: Programs, tmp_path: Path
) -> None:
    task = task_of(method, STEPS, depth=1)
    fresh = begin(task, make_hyper(1e-2, 0.05, 0.1))
    whole, losses = train(task, *fresh, resident(), programs=programs, chunk=chunk)
    assert int(whole.step) == STEPS and losses.shape == (STEPS,)
    assert differing(fresh[0].trainable, whole.trainable)
    for after in stops:
        again, again_losses = stop_and_resume(task, fresh, after, chunk, programs, tmp_path / str(after))
        assert differing(to_tree(whole), to_tree(again)) == set(), f"stopped after {after} steps"
        np.testing.assert_array_equal(losses, again_losses)


def test_boundaries_come_after_each_chunk_with_all_losses_so_far(programs: Programs) -> None:
    task = task_of("full", STEPS, depth=1)
    seen = []
    _, losses = train(
        task,
        *begin(task),
        resident(),
        programs=programs,
        chunk=3,
        boundary=lambda state, so_far: seen.append((int(state.step), so_far.copy())),
    )
    assert [step for step, _ in seen] == [3, 6, 9, 10]
    for step, so_far in seen:
        np.testing.assert_array_equal(so_far, losses[:step])


def test_a_streamed_feed_gives_the_bits_of_a_resident_one(programs: Programs) -> None:
    task = task_of("head", STEPS, depth=1)
    indexed, losses = train(task, *begin(task), resident(3), programs=programs, chunk=5)
    read, read_losses = train(task, *begin(task), streamed(3), programs=programs, chunk=5)
    assert differing(to_tree(indexed), to_tree(read)) == set()
    np.testing.assert_array_equal(losses, read_losses)
    _, other_losses = train(task, *begin(task), streamed(4), programs=programs, chunk=5)
    assert not np.array_equal(losses, other_losses)


def test_the_next_batches_are_read_before_the_last_ones_are_waited_for(programs: Programs) -> None:
    task, said = task_of("head", STEPS, depth=1), []

    def batches(start: int, stop: int) -> Any:
        said.append(f"read {start}-{stop}")
        return streamed(3).batches(start, stop)

    def boundary(state: TrainState, losses: np.ndarray) -> None:
        said.append(f"done {int(state.step)}")

    train(task, *begin(task), Streamed(batches), programs=programs, chunk=4, boundary=boundary)
    assert said == ["read 0-4", "read 4-8", "done 4", "read 8-10", "done 8", "done 10"]


def never(state: TrainState, losses: np.ndarray) -> None:
    pytest.fail("a step was made")


def test_a_diverged_run_stops_at_its_chunk_and_keeps_its_last_good_leaves(programs: Programs) -> None:
    task = task_of("head", STEPS, depth=1)
    image_NHWC = np.asarray(normalise(jnp.asarray(IMAGE_NHWC)))
    good: dict[int, TrainState] = {}
    train(
        task,
        *begin(task),
        resident(input_N=image_NHWC),
        programs=programs,
        chunk=1,
        boundary=lambda state, losses: good.update({int(state.step): host(state)}),
    )
    poisoned_NHWC = image_NHWC.copy()
    # An epoch is five batches long: this example first comes in the fifth.
    poisoned_NHWC[table()(4, 5)[0, 0]] = np.nan
    ended, losses = train(task, *begin(task), resident(input_N=poisoned_NHWC), programs=programs, chunk=1)
    assert bool(ended.diverged) and int(ended.step) == 5
    assert np.isfinite(losses[:4]).all() and np.isnan(losses[4]) and len(losses) == 5
    assert differing(good[4].trainable, ended.trainable) == set()
    assert differing(good[4].opt_state, ended.opt_state) == set()

    # Restored as it was saved at its last boundary, it is at its end.
    again, again_losses = train(
        task, ended, begin(task)[1], resident(), programs=programs, chunk=1, losses=losses, boundary=never
    )
    assert differing(to_tree(ended), to_tree(again)) == set() and np.array_equal(losses, again_losses, equal_nan=True)

    ended, losses = train(task, *begin(task), resident(input_N=poisoned_NHWC), programs=programs, chunk=3)
    assert bool(ended.diverged) and int(ended.step) == 6 and len(losses) == 6, "ends with the chunk"
    assert largest_gap(good[4].trainable, ended.trainable) < 1e-6


def test_a_program_is_compiled_once_however_many_threads_ask_for_it() -> None:
    programs = Programs()
    compiled = []
    barrier = Barrier(4)

    def compile_it(*args: Any) -> Any:
        compiled.append(args)
        return jax.jit(lambda x: x + x).lower(*args).compile()

    def ask(_: int) -> Any:
        barrier.wait()
        return programs.get("double", compile_it, jnp.ones(3))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert len(compiled) == programs.count == 1
    assert all(program is found[0] for program in found)
    np.testing.assert_array_equal(found[0].call(jnp.full(3, 4.0)), [8, 8, 8])

    programs.get("double", compile_it, jnp.zeros(3))
    assert programs.count == 1, "values do not matter"
    programs.get("double", compile_it, jnp.zeros(4))
    programs.get("double", compile_it, jnp.zeros(3, jnp.int32))
    programs.get("other", compile_it, jnp.zeros(3))
    assert programs.count == len(compiled) == 4, "shapes, types and names do"
    assert programs.compile_s > 0


def test_runs_that_differ_in_rate_seed_and_subset_share_a_program_and_may_run_in_threads() -> None:
    task, programs = task_of("lora", STEPS, depth=1), Programs()
    runs = [
        (begin(task, make_hyper(1e-2), seed=0), resident(0)),
        (begin(task, make_hyper(1e-3, 0.1, 0.2), seed=0), resident(0)),
        (begin(task, make_hyper(1e-2), seed=1), resident(1)),
        (begin(task, make_hyper(1e-2), seed=0), resident(0, n=16)),
    ]

    def run(k: int) -> tuple[TrainState, np.ndarray]:
        (state, frozen), feed = runs[k]
        return train(task, state, frozen, feed, programs=programs, chunk=5)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, range(4)))
    assert programs.count == 1
    for k, (state, losses) in enumerate(together):
        alone, alone_losses = run(k)
        assert differing(to_tree(alone), to_tree(state)) == set()
        np.testing.assert_array_equal(alone_losses, losses)
    assert len({losses.tobytes() for _, losses in together}) == 4
    assert programs.count == 1


def test_a_chunked_run_is_the_train_step_over_and_over(programs: Programs) -> None:
    task = task_of("lora", STEPS, depth=1)
    state, frozen = begin(task, make_hyper(1e-2, 0.05, 0.1))
    chunked, losses = train(task, state, frozen, resident(), programs=programs, chunk=3)
    one_by_one = []
    for index_B in table()(0, STEPS):
        image_BHWC = normalise(jnp.asarray(IMAGE_NHWC[index_B]))
        batch = {"input": image_BHWC, "label": jnp.asarray(LABEL_N[index_B])}
        state, loss = compiled_step(task)(state, frozen, batch)
        one_by_one.append(loss)
    np.testing.assert_allclose(losses, np.array(one_by_one), rtol=1e-6)
    assert largest_gap(chunked.trainable, state.trainable) < 1e-6
    assert int(chunked.step) == int(state.step) == STEPS


def test_batch_norm_sees_the_whole_batch_however_it_is_spread() -> None:
    task = Task(adapt("freeze", tiny_model("resnet")), Optimizer("sgd", warmup=0.0, ema=0.5), steps=2)
    start, frozen = tiny_begin(task, make_hyper(0.1))
    image_NHWC = np.random.default_rng(0).integers(0, 256, (EXAMPLES, 8, 8, 3)).astype(np.uint8)
    ends = {}
    for place in (("jit", 1), ("jit", 2), ("pmap", 2)):
        placement = make_placement(*place, 1)
        feed = resident(input_N=image_NHWC)
        ends[place] = train(task, start, frozen, feed, programs=Programs(), placement=placement, chunk=1)
    one, losses = ends["jit", 1]
    assert {path.split("/")[1] for path in differing(start.stats, one.stats)} == {"block_1"}
    assert largest_gap(start.stats, one.stats) > 0.05
    for place, (state, own_losses) in ends.items():
        np.testing.assert_allclose(own_losses, losses, rtol=1e-5, err_msg=str(place))
        for part in ("stats", "trainable", "ema"):
            assert largest_gap(getattr(one, part), getattr(state, part)) < 1e-5, (place, part)

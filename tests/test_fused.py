from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import BATCH, EXAMPLES, IMAGE_NHWC, LABEL_N, begin, host, largest_gap, table, task_of, train
from tiny import differing

from tlx import fused, tree
from tlx.data.preprocess import normalise
from tlx.loop import Programs, Resident
from tlx.sharding import Jit
from tlx.state import TrainState, make_hyper, to_tree
from tlx.step import predict

STEPS, CHUNK = 30, 10
# Seed, learning rate and weight decay of each member.
MEMBERS = [(0, 1e-2, 0.0), (1, 1e-2, 0.1), (2, 3e-3, 0.0), (3, 3e-3, 0.05), (4, 1e-3, 0.0), (5, 3e-2, 0.01)]
SICK = 2
TASK = task_of("lora", STEPS)
IMAGE_F32 = np.asarray(normalise(jnp.asarray(IMAGE_NHWC)))
DATA = {"input": IMAGE_F32, "label": LABEL_N}


class Watched(Jit):
    """A placement that keeps what it compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.compiled: list[Any] = []

    def compile(self, advance: Any, *args: Any) -> Any:
        """Compiles as `Jit` does."""
        self.compiled.append(super().compile(advance, *args))
        return self.compiled[-1]


@pytest.fixture(scope="module")
def programs() -> Programs:
    return Programs()


def members() -> list[TrainState]:
    return [begin(TASK, make_hyper(rate, decay), seed)[0] for seed, rate, decay in MEMBERS]


def backbone() -> Any:
    """The frozen leaves all members share."""
    return begin(TASK, seed=0)[1]


def tables(start: int, stop: int) -> np.ndarray:
    return np.stack([table(seed)(start, stop) for seed, _, _ in MEMBERS])


def run_fused(
    states: list[TrainState],
    programs: Programs,
    placement: Jit | None = None,
    data: dict[str, np.ndarray] = DATA,
    indices: Any = tables,
    boundary: Any = lambda state, losses: None,
) -> tuple[TrainState, np.ndarray]:
    return fused.run(
        TASK,
        fused.stack(states),
        backbone(),
        data,
        indices,
        placement=placement or Jit(),
        programs=programs,
        chunk=CHUNK,
        losses=np.zeros((len(states), 0), np.float32),
        boundary=boundary,
    )


@dataclass(frozen=True)
class Done:
    """A fused run: its end, its states by the number of steps done, and its program."""

    state: TrainState
    losses: np.ndarray
    states: dict[int, TrainState]
    compiled: Any


@pytest.fixture(scope="module")
def healthy(programs: Programs) -> Done:
    """The fused run of all members."""
    placement, states = Watched(), {}
    state, losses = run_fused(
        members(), programs, placement, boundary=lambda state, _: states.update({int(state.step[0]): host(state)})
    )
    (compiled,) = placement.compiled
    assert programs.count == 1 and sorted(states) == [10, 20, 30]
    return Done(state, losses, states, compiled)


def test_a_fused_run_is_its_members_run_alone(programs: Programs, healthy: Done) -> None:
    state, losses, count = healthy.state, healthy.losses, programs.count
    assert losses.shape == (len(MEMBERS), STEPS)
    assert not np.any(state.diverged)
    frozen = backbone()
    logits = jax.jit(lambda trainable: predict(TASK, trainable, frozen, {}, IMAGE_F32, 1.0))
    for k, (seed, rate, decay) in enumerate(MEMBERS):
        start = begin(TASK, make_hyper(rate, decay), seed)[0]
        alone, alone_losses = train(TASK, start, frozen, Resident(DATA, table(seed)), programs=programs, chunk=CHUNK)
        mine = fused.member(state, k)
        assert largest_gap(mine.trainable, alone.trainable) < 1e-5
        np.testing.assert_allclose(losses[k], alone_losses, rtol=1e-5)
        assert int(mine.step) == STEPS and largest_gap(mine.hyper, start.hyper) == 0.0
        said = [np.argmax(logits(one.trainable), axis=-1) for one in (mine, alone)]
        np.testing.assert_array_equal(*said)
    assert programs.count == count + 1, "one for all that run alone"
    gaps = [largest_gap(fused.member(state, 0).trainable, fused.member(state, k).trainable) for k in range(1, 6)]
    assert min(gaps) > 1e-2, "the members do differ"


def test_stacking_and_picking_a_member_are_inverse() -> None:
    states = members()
    stacked = fused.stack(states)
    assert stacked.step.shape == (6,)
    for k, state in enumerate(states):
        assert differing(to_tree(state), to_tree(fused.member(stacked, k))) == set()


def test_a_member_that_meets_bad_data_keeps_its_last_good_leaves_and_harms_nobody(
    programs: Programs, healthy: Done
) -> None:
    poisoned_NHWC = np.concatenate([IMAGE_F32, np.full_like(IMAGE_F32[:1], np.nan)])
    data = {"input": poisoned_NHWC, "label": np.append(LABEL_N, LABEL_N[:1])}

    def poisoned(start: int, stop: int) -> np.ndarray:
        indices = tables(start, stop)
        if start == CHUNK:
            indices[SICK, 0, 0] = EXAMPLES
        return indices

    # The same data for the healthy run, so that both are the same program.
    well, well_losses = run_fused(members(), programs, data=data)
    ill, ill_losses = run_fused(members(), programs, data=data, indices=poisoned)
    assert np.flatnonzero(ill.diverged).tolist() == [SICK]
    assert not np.any(well.diverged)
    for k in range(len(MEMBERS)):
        if k != SICK:
            assert differing(to_tree(fused.member(well, k)), to_tree(fused.member(ill, k))) == set()
            np.testing.assert_array_equal(well_losses[k], ill_losses[k])
    assert np.isnan(ill_losses[SICK, CHUNK]) and np.isfinite(ill_losses[SICK, :CHUNK]).all()
    before = fused.member(healthy.states[CHUNK], SICK)
    assert largest_gap(before.trainable, fused.member(ill, SICK).trainable) < 1e-6


@pytest.mark.parametrize("rate", [1e30, np.inf, np.nan])
def test_a_member_with_an_absurd_learning_rate_harms_nobody(rate: float, programs: Programs, healthy: Done) -> None:
    states = members()
    states[SICK] = states[SICK].replace(hyper=make_hyper(rate))
    count = programs.count
    ended, _ = run_fused(states, programs)
    assert programs.count == count, "the same program"
    assert np.flatnonzero(ended.diverged).tolist() == [SICK]
    for k in range(len(MEMBERS)):
        if k != SICK:
            whole = fused.member(healthy.state, k)
            assert differing(to_tree(whole), to_tree(fused.member(ended, k))) == set()


def test_frozen_leaves_and_data_are_held_once_however_many_members(healthy: Done) -> None:
    frozen, states = tree.nbytes(backbone()), tree.nbytes(healthy.state)
    indices = len(MEMBERS) * CHUNK * BATCH * 4
    expected = states + frozen + tree.nbytes(DATA) + indices
    assert healthy.compiled.memory_analysis().argument_size_in_bytes == pytest.approx(expected, rel=0.02)
    assert (len(MEMBERS) - 1) * frozen > 0.5 * expected, "copies would show"

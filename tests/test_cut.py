import functools
from typing import Any

import jax
import numpy as np
import pytest
from runs import EXAMPLES, IMAGE_NHWC, LABEL_N, begin, largest_gap, table, task_of, train, variables
from tiny import adapt, batch, compiled_forward, tiny_model
from tiny import variables as tiny_variables

from tlx import cut, tree
from tlx.data.preprocess import normalise
from tlx.loop import Programs, Resident
from tlx.partition import combine
from tlx.sharding import Jit
from tlx.step import Task

STAGES = ("embed", "block_0", "block_1", "pool", "head")


def activations(
    task: Task, leaves: Any, image_NHWC: np.ndarray, depth: int, programs: Programs, batch: int = 16
) -> Any:
    return cut.activations(task.adapted, leaves, image_NHWC, depth, placement=Jit(), programs=programs, batch=batch)


@functools.cache
def whole_model(task: Task) -> Any:
    """The model from images to logits, compiled."""
    return jax.jit(lambda leaves, x: task.adapted.apply(leaves, normalise(x))[0])


@pytest.fixture(scope="module")
def programs() -> Programs:
    return Programs()


@pytest.mark.parametrize("depth", range(len(STAGES) + 1))
def test_running_above_the_cut_on_what_was_kept_at_it_is_the_whole_model(depth: int, programs: Programs) -> None:
    task = task_of("lora", 1)
    assert task.adapted.model.stages == STAGES
    leaves = variables(task)
    kept, flops = activations(task, leaves, IMAGE_NHWC, depth, programs)
    assert kept.shape[0] == EXAMPLES and kept.dtype == np.float32
    above = jax.jit(lambda leaves, x: task.adapted.apply(leaves, x, first=depth)[0])(leaves, kept)
    whole = whole_model(task)(leaves, IMAGE_NHWC)
    np.testing.assert_allclose(above, whole, atol=1e-5)
    assert np.std(whole) > 0.1
    assert flops > 0


def test_a_remainder_takes_no_program_of_its_own_and_changes_nothing() -> None:
    programs, task = Programs(), task_of("head", 1)
    leaves = variables(task)
    whole, _ = activations(task, leaves, IMAGE_NHWC, 2, programs)
    some, _ = activations(task, leaves, IMAGE_NHWC[:21], 2, programs)
    assert programs.count == 1
    np.testing.assert_array_equal(some, whole[:21])
    other, _ = activations(task, variables(task, seed=1), IMAGE_NHWC, 2, programs)
    assert programs.count == 1, "another checkpoint, the same program"
    assert np.abs(other - whole).max() > 0.1


def test_deeper_cuts_cost_more_for_each_example() -> None:
    programs, task = Programs(), task_of("head", 1)
    leaves = variables(task)
    costs = [
        activations(task, leaves, IMAGE_NHWC[:8], depth, programs, batch)[1]
        for depth, batch in ((1, 8), (3, 8), (3, 4))
    ]
    # Embedding: 4 patches of 16 pixels to 16 numbers, a multiplication and an addition each.
    assert costs[0] == pytest.approx(2 * 4 * 16 * 16, rel=0.25)
    # A block: 12 width² multiplications a patch, and attention.
    assert costs[1] - costs[0] == pytest.approx(2 * 2 * 4 * 12 * 16**2, rel=0.25)
    assert costs[2] == pytest.approx(costs[1], rel=0.02), "per example, whatever the batch"


@pytest.mark.parametrize(("examples", "calls"), [(1, 1), (3, 1), (4, 2), (6, 2), (7, 3)])
def test_batches_are_all_of_one_size_and_filling_never_shows(examples: int, calls: int) -> None:
    seen: list[np.ndarray] = []

    def call(part: np.ndarray) -> tuple[np.ndarray, float]:
        seen.append(part)
        return part.sum(axis=1), 5.0

    x_N = np.arange(1.0, 2 * examples + 1).reshape(examples, 2)
    out, cost = cut.in_batches(call, x_N, 3)
    np.testing.assert_array_equal(out, x_N.sum(axis=1))
    assert cost == 5.0
    assert [part.shape for part in seen] == [(3, 2)] * calls
    assert np.concatenate(seen)[examples:].sum() == 0


def test_inputs_and_outputs_may_be_nested() -> None:
    def call(part: Any) -> tuple[Any, float]:
        return {"sum": part["x"].sum(axis=1), "own": {"mask": ~part["mask"]}}, 2.0

    x_N, mask_N = np.arange(10.0).reshape(5, 2), np.arange(5) % 2 == 0
    out, cost = cut.in_batches(call, {"x": x_N, "mask": mask_N}, 2)
    np.testing.assert_array_equal(out["sum"], x_N.sum(axis=1))
    np.testing.assert_array_equal(out["own"]["mask"], ~mask_N)
    assert cost == 2.0 and len(jax.tree.leaves(out)) == 2


def test_what_a_text_model_hands_on_is_kept_whole() -> None:
    adapted = adapt("freeze", tiny_model("bert"))
    id_NT = np.asarray(batch(adapted.model, 7)["input"])
    depth = adapted.cut()
    kept, flops = cut.activations(
        adapted, tiny_variables(adapted), id_NT, depth, placement=Jit(), programs=Programs(), batch=4
    )
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in kept.items()} == {
        "hidden": ((7, 6, 16), np.float32),
        "mask": ((7, 6), kept["mask"].dtype),
    }
    np.testing.assert_array_equal(np.asarray(kept["mask"], bool), id_NT != 0)
    whole, _ = compiled_forward(adapted)(tiny_variables(adapted), id_NT)
    above, _ = compiled_forward(adapted, depth)(tiny_variables(adapted), kept)
    np.testing.assert_allclose(above, whole, atol=1e-5)
    assert flops > 0


@pytest.mark.parametrize(
    ("method", "changes", "depth"), [("head", {}, 4), ("lora", {"target": "block_1/.*/(query|value)"}, 2)]
)
def test_training_on_kept_activations_is_training_through_the_frozen_stages(
    method: str, changes: dict[str, Any], depth: int, programs: Programs
) -> None:
    steps = 20
    through = task_of(method, steps, **changes)
    assert through.adapted.cut() == depth
    state, frozen = begin(through)
    kept, _ = activations(through, combine(state.trainable, frozen), IMAGE_NHWC, depth, programs)
    above = Task(through.adapted, through.optimizer, steps, first=depth)
    needed = {"params": {stage: frozen["params"][stage] for stage in STAGES[depth:] if stage in frozen["params"]}}

    def run(task: Task, leaves: Any, input_N: np.ndarray) -> Any:
        feed = Resident({"input": input_N, "label": LABEL_N}, table())
        return train(task, begin(task)[0], leaves, feed, programs=programs, chunk=steps)

    whole, losses = run(through, frozen, IMAGE_NHWC)
    short, short_losses = run(above, needed, kept)
    np.testing.assert_allclose(short_losses, losses, rtol=1e-5)
    assert largest_gap(whole.trainable, short.trainable) < 1e-5
    assert largest_gap(whole.trainable, state.trainable) > 1e-2, "it did train"


# What happens below the cut, as far as methods go.


@pytest.mark.parametrize(
    ("method", "changes", "depth", "acts"),
    [
        ("head", {}, 4, False),
        ("probe", {}, 4, False),
        ("top", {}, 2, False),
        ("lora", {}, 1, False),
        ("lora", {"target": "block_1/.*/(query|value)"}, 2, False),
        ("pissa", {}, 1, False),
        ("prefix", {}, 1, False),
        ("vpt_deep", {}, 1, True),
        ("side", {}, 4, True),
        ("head2toe", {}, 4, True),
    ],
)
def test_methods_that_do_nothing_below_the_cut_share_what_is_computed_there(
    method: str, changes: dict[str, Any], depth: int, acts: bool
) -> None:
    adapted = adapt(method, tiny_model(), **changes)
    assert adapted.cut() == depth
    below = cut.below(adapted, depth)
    assert below.method == (method if acts else "full")
    assert (below == cut.below(adapt("head", tiny_model()), depth)) == (not acts)
    leaves = tree.flatten(cut.leaves_below(below, tiny_variables(adapted), depth))
    trainable = {path for path, label in adapted.labels().items() if label != "frozen"}
    assert not trainable & set(leaves)
    if not acts:
        names = [path.split("/")[:2] for path in leaves]
        assert {collection for collection, _ in names} == {"params"}
        assert {stage for _, stage in names} == set(STAGES[:depth])


def test_adapters_below_the_cut_are_part_of_what_is_computed_there() -> None:
    """As of a method that is frozen there, but not idle."""
    adapted = adapt("lora", tiny_model())
    below = cut.below(adapted, 2)
    assert below.method == "lora"
    leaves = tree.flatten(cut.leaves_below(below, tiny_variables(adapted), 2))
    assert {path.split("/")[1] for path in leaves if path.startswith("adapters/")} == {"block_0"}


@pytest.mark.parametrize("method", ["head", "vpt_deep"])
def test_activations_depend_on_the_leaves_below_alone(method: str, programs: Programs) -> None:
    task = task_of(method, 1)
    leaves, depth = variables(task), task.adapted.cut()
    read = tree.flatten(cut.leaves_below(cut.below(task.adapted, depth), leaves, depth))
    others = {path: leaf if path in read else leaf + 1 for path, leaf in tree.flatten(leaves).items()}
    one, _ = activations(task, leaves, IMAGE_NHWC[:8], depth, programs)
    other, _ = activations(task, tree.unflatten(others), IMAGE_NHWC[:8], depth, programs)
    whole = jax.jit(lambda leaves, x: task.adapted.apply(leaves, normalise(x), last=depth)[0])
    for mine, same, wanted in zip(
        *map(jax.tree.leaves, (one, other, whole(tree.unflatten(others), IMAGE_NHWC[:8]))), strict=True
    ):
        np.testing.assert_array_equal(mine, same)
        np.testing.assert_allclose(mine, wanted, atol=1e-6)

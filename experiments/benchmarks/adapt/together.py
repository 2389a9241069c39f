"""Several LoRA adapters on one frozen backbone: one after another, all at once, and above a cut.

Shape suffixes: B batch, S steps, K adapters.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.adapt.rows import Bench, Step
from experiments.benchmarks.rows import Row, Work
from tlx import tree
from tlx.fused import stack
from tlx.step import Task, train_step


def lora(bench: Bench, upper: bool = False, cut: bool = False) -> Task:
    """LoRA with its defaults.

    Args:
      bench: the model.
      upper: whether only the upper half of the blocks is adapted.
      cut: whether inputs are the activations that enter the lowest of these.
    """
    target = bench.model.targets["low_rank"]
    if upper:
        blocks = [stage for stage in bench.model.stages if tree.matches(bench.model.targets["blocks"], stage)]
        target = f"(?=({'|'.join(blocks[len(blocks) // 2 :])})/){target}"
    task = bench.task("lora", target=target)
    return replace(task, first=task.adapted.cut()) if cut else task


def members(bench: Bench, task: Task) -> list[Step]:
    """K steps that share one program; each has adapters and examples of its own."""
    steps = [Step(task, bench.variables(task, seed=k), bench.batch(seed=k)) for k in range(bench.scale.adapters)]
    for step in steps[1:]:
        step.compiled = steps[0].compiled
    return steps


def in_turn(steps: Sequence[Step], count: int) -> Work:
    """One after another; the losses are [K, S]."""
    return lambda: np.stack([step.run(count) for step in steps])


def at_once(steps: Sequence[Step], count: int) -> Work:
    """All in one program, under `vmap`; the frozen leaves are there once. The losses are [K, S]."""
    task, frozen = steps[0].task, steps[0].frozen
    state = stack([step.state for step in steps])
    batch_KB = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(step.batch for step in steps))

    def all_of_them(state: Any, frozen: Any, batch_KB: Any) -> Any:
        return jax.vmap(lambda state, batch_B: train_step(task, state, frozen, batch_B))(state, batch_KB)

    program = jax.jit(all_of_them, donate_argnums=0).lower(state, frozen, batch_KB).compile()

    def run() -> np.ndarray:
        nonlocal state
        losses = []
        for _ in range(count):
            state, loss_K = program(state, frozen, batch_KB)
            losses.append(loss_K)
        jax.block_until_ready(state.trainable)
        return np.stack(losses, axis=1)

    return run


def _everywhere(bench: Bench) -> Row:
    steps, count = members(bench, lora(bench)), bench.scale.steps
    says = f"{len(steps)} LoRA adapters on all blocks: in turn / at once"
    return Row(says, in_turn(steps, count), at_once(steps, count))


def _upper(bench: Bench) -> Row:
    steps, count = members(bench, lora(bench, upper=True, cut=True)), bench.scale.steps
    says = f"{len(steps)} LoRA adapters on the upper half, cached below: in turn / at once"
    return Row(says, in_turn(steps, count), at_once(steps, count))


def _cut(bench: Bench) -> Row:
    whole, above = (members(bench, lora(bench, upper=True, cut=cut)) for cut in (False, True))
    says = f"{len(whole)} LoRA adapters on the upper half, in turn: whole model / cached below"
    return Row(says, in_turn(whole, bench.scale.steps), in_turn(above, bench.scale.steps))


def _both(bench: Bench) -> Row:
    whole, above = (members(bench, lora(bench, upper=True, cut=cut)) for cut in (False, True))
    says = f"{len(whole)} LoRA adapters on the upper half: whole model in turn / cached below at once"
    return Row(says, in_turn(whole, bench.scale.steps), at_once(above, bench.scale.steps))


ROWS: dict[str, Callable[[Bench], Row]] = {
    "at-once": _everywhere,
    "upper-at-once": _upper,
    "upper-cached": _cut,
    "upper-both": _both,
}

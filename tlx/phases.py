"""From one phase of a run to the next: which leaves move changes, what was learned stays."""

from typing import Any

import jax

from tlx import tree
from tlx.partition import combine
from tlx.state import TrainState
from tlx.step import Task, init_state


def enter(task: Task, state: TrainState, frozen: dict[str, Any]) -> tuple[TrainState, dict[str, Any]]:
    """The state as a phase needs it.

    Args:
      task: in the phase that is entered.
      state: at the end of the phase before.
      frozen: the leaves that did not move in it.

    Returns:
      The state and the frozen leaves of the new phase. Leaves that moved before keep their part of the optimizer's
      state; leaves that join begin with a fresh one.
    """
    trainable, stats, frozen = task.adapted.split(combine(state.trainable, state.stats, frozen), task.phase)
    fresh = init_state(task, trainable, stats, state.hyper)
    kept = {**tree.flatten(state.opt_state), **{f"ema/{path}": x for path, x in tree.flatten(state.ema).items()}}

    def carried(new: Any, prefix: str = "") -> Any:
        leaves = {path: kept.get(f"{prefix}{path}", leaf) for path, leaf in tree.flatten(new).items()}
        return jax.tree.unflatten(jax.tree.structure(new), list(leaves.values()))

    opt_state, ema = carried(fresh.opt_state), carried(fresh.ema, "ema/")
    return fresh.replace(step=state.step, opt_state=opt_state, ema=ema, diverged=state.diverged), frozen


def like(task: Task, variables: dict[str, Any], hyper: Any, step: int) -> tuple[TrainState, dict[str, Any]]:
    """A state shaped as one that was saved after a step, and the frozen leaves of its phase.

    Args:
      task: what is run.
      variables: all leaves at the start of the run.
      hyper: the run's hyper-parameters.
      step: steps done when it was saved, 0 for the start of a run.

    Returns:
      A fresh state in the phase of the last step done, and the leaves that do not move in it.
    """
    now = task.at(max(step - 1, 0))
    trainable, stats, frozen = now.adapted.split(variables, now.phase)
    return init_state(now, trainable, stats, hyper), frozen

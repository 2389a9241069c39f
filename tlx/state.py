"""What one run carries from step to step."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from tlx import tree
from tlx.errors import RuleError


class Hyper(struct.PyTreeNode):
    """Hyper-parameters that change no shape: arguments of the compiled step, never constants in it.

    Args:
      learning_rate: peak of the schedule, scalar.
      weight_decay: decoupled, scalar.
      label_smoothing: share of the target mass spread over all classes, scalar.
      adapter_scale: factor on the adapters' effect, scalar.
      dropout: rate, scalar; of tasks whose dropout is not the model's own.
      length: share of the task's steps after which nothing moves, scalar; of tasks whose runs differ in it.
      seed: of the dropout masks, int32 scalar.
    """

    learning_rate: jax.Array
    weight_decay: jax.Array
    label_smoothing: jax.Array
    adapter_scale: jax.Array
    dropout: jax.Array
    length: jax.Array
    seed: jax.Array


def make_hyper(
    learning_rate: float,
    weight_decay: float = 0.0,
    label_smoothing: float = 0.0,
    adapter_scale: float = 1.0,
    dropout: float = 0.0,
    length: float = 1.0,
    seed: int = 0,
) -> Hyper:
    """`Hyper` from plain numbers."""

    def number(value: float) -> jax.Array:
        return jnp.asarray(value, jnp.float32)

    return Hyper(
        learning_rate=number(learning_rate),
        weight_decay=number(weight_decay),
        label_smoothing=number(label_smoothing),
        adapter_scale=number(adapter_scale),
        dropout=number(dropout),
        length=number(length),
        seed=jnp.asarray(seed, jnp.int32),
    )


class TrainState(struct.PyTreeNode):
    """The part of a run that changes; frozen leaves stand beside it, never in it.

    Args:
      step: number of updates done, int32 scalar.
      trainable: nested dict of the leaves that move.
      opt_state: the optimizer's state for those leaves alone.
      stats: running statistics that are updated, empty where there are none.
      ema: running mean of the trainable leaves, empty where none is kept.
      hyper: this run's hyper-parameters.
      diverged: whether a non-finite loss or gradient stopped the run; it then keeps its last good leaves.
    """

    step: jax.Array
    trainable: dict[str, Any]
    opt_state: Any
    stats: dict[str, Any]
    ema: dict[str, Any]
    hyper: Hyper
    diverged: jax.Array

    @property
    def evaluated(self) -> dict[str, Any]:
        """The leaves that predictions are made with: the running mean where one is kept."""
        return self.ema or self.trainable


def to_tree(state: TrainState) -> dict[str, Any]:
    """The state as nested dicts of arrays, for a checkpoint."""
    return tree.unflatten(tree.flatten(state))


def from_tree(like: TrainState, nested: dict[str, Any]) -> TrainState:
    """The state that `to_tree` took apart.

    Args:
      like: a state of the same structure.
      nested: nested dicts of arrays.

    Returns:
      `like` with every leaf replaced.

    Raises:
      RuleError: a leaf is missing or has another shape or dtype.
    """
    saved = tree.flatten(nested)
    values = []
    for path, leaf in tree.flatten(like).items():
        found = saved.get(path)
        if found is None or found.shape != leaf.shape or found.dtype != leaf.dtype:
            has = "is missing" if found is None else f"is {found.dtype}{list(found.shape)}"
            raise RuleError(f"the saved state does not fit this program: {path!r} {has}; delete it to start over")
        values.append(jnp.asarray(found))
    restored: TrainState = jax.tree.unflatten(jax.tree.structure(like), values)
    return restored

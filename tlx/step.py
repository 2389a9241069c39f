"""The train step: gradients of the trainable part only, updates by label."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from tlx.adapt.adapted import Adapted
from tlx.losses import cross_entropy
from tlx.optim import Optimizer, make_optimizer, make_schedule, set_hyper
from tlx.partition import combine, trainable_labels
from tlx.state import Hyper, TrainState


@dataclass(frozen=True)
class Task:
    """Everything static about a run: two runs with equal tasks share one compiled program.

    Args:
      adapted: the model and how it is adapted.
      optimizer: how the trainable leaves move.
      steps: length of the run.
      first: stage the inputs enter at; 0 for images, the depth of the cut for cached activations.
    """

    adapted: Adapted
    optimizer: Optimizer
    steps: int
    first: int = 0

    def transformation(self) -> optax.GradientTransformation:
        """The update rule of the trainable part."""
        return make_optimizer(self.optimizer, trainable_labels(self.adapted.labels()))


def init_state(task: Task, trainable: dict[str, Any], stats: dict[str, Any], hyper: Hyper) -> TrainState:
    """The state before the first step.

    Args:
      task: what is run.
      trainable: leaves that will move, from `partition`.
      stats: running statistics, `{}` for none.
      hyper: the run's hyper-parameters.

    Returns:
      A state at step 0 with a fresh optimizer.
    """
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        trainable=trainable,
        opt_state=task.transformation().init(trainable),
        stats=stats,
        hyper=hyper,
        diverged=jnp.zeros((), jnp.bool_),
    )


def train_step(
    task: Task,
    state: TrainState,
    frozen: dict[str, Any],
    batch: dict[str, jax.Array],
    axis: str | None = None,
) -> tuple[TrainState, jax.Array]:
    """One update of the trainable leaves.

    Args:
      task: what is run.
      state: before the step.
      frozen: the leaves that do not move.
      batch: `input` [B, ...] for stage `task.first`, `label` [B].
      axis: name of the device axis to average over under `pmap`, or None.

    Returns:
      The state after the step and the mean loss in nats. A non-finite loss, gradient or update leaves the
      trainable leaves as they were and sets `diverged`, from then on for good.
    """

    def loss_of(trainable: dict[str, Any]) -> tuple[jax.Array, dict[str, Any]]:
        variables = combine(trainable, frozen, state.stats)
        logits_BC, changed = task.adapted.apply(
            variables,
            batch["input"],
            first=task.first,
            train=True,
            scale=state.hyper.adapter_scale,
            mutable=tuple(state.stats),
        )
        return jnp.mean(cross_entropy(logits_BC, batch["label"], state.hyper.label_smoothing)), changed

    (loss, stats), grads = jax.value_and_grad(loss_of, has_aux=True)(state.trainable)
    if axis is not None:
        loss, stats, grads = jax.lax.pmean((loss, stats, grads), axis)
    rate = state.hyper.learning_rate * make_schedule(task.optimizer, task.steps)(state.step)
    opt_state = set_hyper(state.opt_state, rate, state.hyper.weight_decay)
    updates, opt_state = task.transformation().update(grads, opt_state, state.trainable)
    moved = state.replace(trainable=optax.apply_updates(state.trainable, updates), opt_state=opt_state, stats=stats)
    finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(grads)) & jnp.isfinite(optax.tree.norm(updates))
    diverged = state.diverged | ~finite
    kept = jax.tree.map(lambda old, new: jnp.where(diverged, old, new), state, moved)
    return kept.replace(step=state.step + 1, diverged=diverged), loss


def predict(
    task: Task, trainable: dict[str, Any], frozen: dict[str, Any], stats: dict[str, Any], x: jax.Array, scale: Any
) -> jax.Array:
    """Logits [B, C] of the adapted model for inputs of stage `task.first`, in evaluation mode."""
    logits_BC, _ = task.adapted.apply(combine(trainable, frozen, stats), x, first=task.first, train=False, scale=scale)
    return logits_BC

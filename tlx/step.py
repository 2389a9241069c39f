"""The train step: gradients of the trainable part only, updates by label."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from einops import rearrange

from tlx.adapt.adapted import Adapted
from tlx.adapt.hooks import Moment
from tlx.adapt.passing import cast
from tlx.data.ops.pipeline import NO_OPS, Pipeline
from tlx.losses import loss_of, mean_scored, of_tokens, shares
from tlx.models.conv import looped
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
      phase: which of the method's phases this is.
      ops: what is done to the examples of a batch; none where they are cached activations.
      dropout: whether the rate is a hyper-parameter of the run rather than the model's own.
      shortened: whether runs end at a step of their own, after which nothing of them moves.
    """

    adapted: Adapted
    optimizer: Optimizer
    steps: int
    first: int = 0
    phase: int = 0
    ops: Pipeline = NO_OPS
    dropout: bool = False
    shortened: bool = False

    @property
    def bounds(self) -> tuple[int, ...]:
        """The step at which each phase begins."""
        return tuple(min(round(phase.start * self.steps), self.steps) for phase in self.adapted.phases)

    def at(self, step: int) -> "Task":
        """The task in the phase that a step belongs to."""
        return replace(self, phase=max(p for p, bound in enumerate(self.bounds) if bound <= step))

    def transformation(self) -> optax.GradientTransformation:
        """The update rule of the trainable part."""

        def wrap(inner: optax.GradientTransformation) -> optax.GradientTransformation:
            for method, settings in self.adapted.parts:
                if method.wrap:
                    inner = method.wrap(settings, self.steps)(inner)
            return inner

        labels = trainable_labels(self.adapted.labels(self.phase))
        return make_optimizer(self.optimizer, labels, dict(self.adapted.lr_scale()), wrap)

    def lr_factor(self, step: jax.Array, length: jax.Array | None = None) -> jax.Array:
        """The learning rate at a step of this phase as a share of its peak.

        Args:
          step: 0-based.
          length: of the run, in steps, where it is one of its own.
        """
        if length is not None:
            return make_schedule(self.optimizer, length)(step)
        phases, bounds = self.adapted.phases, self.bounds
        restarts = [
            0,
            *(bound for phase, bound in zip(phases[1:], bounds[1:], strict=True) if phase.restart),
            self.steps,
        ]
        start = max(bound for bound in restarts[:-1] if bound <= bounds[self.phase])
        stop = min((bound for bound in restarts if bound > start), default=self.steps)
        return make_schedule(self.optimizer, stop - start)(step - start) * phases[self.phase].lr


def init_state(task: Task, trainable: dict[str, Any], stats: dict[str, Any], hyper: Hyper) -> TrainState:
    """The state before the first step.

    Args:
      task: what is run.
      trainable: leaves that will move, from `Adapted.split`.
      stats: running statistics that will be updated, `{}` for none.
      hyper: the run's hyper-parameters.

    Returns:
      A state at step 0 with a fresh optimizer.
    """
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        trainable=trainable,
        opt_state=task.transformation().init(trainable),
        stats=stats,
        ema=trainable if task.optimizer.ema else {},
        hyper=hyper,
        diverged=jnp.zeros((), jnp.bool_),
    )


def train_step(
    task: Task,
    state: TrainState,
    frozen: dict[str, Any],
    batch: dict[str, Any],
    axis: str | None = None,
) -> tuple[TrainState, jax.Array]:
    """One update of the trainable leaves.

    Args:
      task: what is run.
      state: before the step.
      frozen: the leaves that do not move.
      batch: `input` [B, ...] for stage `task.first`, and `label`: classes [B], shares of them [B, C] as after mixup,
        scores [B] of floats, or [B, T] where tokens have labels.
      axis: name of the device axis to average over under `pmap`, or None.

    Returns:
      The state after the step and the mean loss in nats, penalties included. A non-finite loss, gradient or update
      leaves the trainable leaves as they were and sets `diverged`, from then on for good.
    """
    loss, stats, grads = _gradients(task, state, frozen, batch, axis)
    if axis is not None:
        loss, stats, grads = _over_devices(batch["label"], axis, loss, stats, grads)
    length = steps_of(task, state.hyper) if task.shortened else None
    rate = state.hyper.learning_rate * task.lr_factor(state.step, length)
    opt_state = set_hyper(state.opt_state, rate, state.hyper.weight_decay)
    updates, opt_state = task.transformation().update(grads, opt_state, state.trainable)
    trainable = optax.apply_updates(state.trainable, updates)
    ema = jax.tree.map(partial(_mean, task.optimizer.ema), state.ema, trainable) if task.optimizer.ema else {}
    moved = state.replace(trainable=trainable, opt_state=opt_state, stats=stats, ema=ema)
    finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(grads)) & jnp.isfinite(optax.tree.norm(updates))
    diverged = state.diverged | ~finite
    if length is not None:  # what comes after a run's end can neither move nor harm it
        diverged = jnp.where(state.step < length, diverged, state.diverged)
    still = diverged if length is None else diverged | (state.step >= length)
    kept = jax.tree.map(lambda old, new: jnp.where(still, old, new), state, moved)
    return kept.replace(step=state.step + 1, diverged=diverged), loss


def steps_of(task: Task, hyper: Hyper) -> jax.Array:
    """How many steps a run makes, an int32 scalar: its share of the task's, rounded, and at least one."""
    return jnp.maximum(jnp.round(hyper.length * task.steps), 1.0).astype(jnp.int32)


def _mean(decay: float, mean: jax.Array, leaf: jax.Array) -> jax.Array:
    """The running mean after a step; what a method holds at exactly zero, having chosen others, is zero in it, too."""
    return jnp.where(leaf == 0, leaf, decay * mean + (1.0 - decay) * leaf)


def _gradients(
    task: Task, state: TrainState, frozen: dict[str, Any], batch: dict[str, Any], axis: str | None
) -> tuple[jax.Array, dict[str, Any], dict[str, Any]]:
    """Loss, statistics and gradients of one batch, taken in as many parts as the optimizer says."""
    key = jax.random.fold_in(jax.random.key(state.hyper.seed), state.step)
    if axis is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis))
    of_loss = jax.value_and_grad(_loss, argnums=1, has_aux=True)
    parts = task.optimizer.accumulate
    if parts == 1:
        (loss, stats), grads = of_loss(task, state.trainable, state.stats, frozen, batch, state.hyper, key, axis)
        return loss, stats, grads

    # Neighbours go to different parts, so that each device keeps its own examples.
    split = jax.tree.map(lambda leaf: rearrange(leaf, "(b k) ... -> k b ...", k=parts), batch)
    share_K = shares(split["label"]) if of_tokens(batch["label"]) else None

    def add(carry: Any, part: Any) -> tuple[Any, None]:
        total, stats, sums = carry
        some, i = part
        rng = jax.random.fold_in(key, i)
        (loss, stats), grads = of_loss(task, state.trainable, stats, frozen, some, state.hyper, rng, axis)
        loss, grads = jax.tree.map(lambda x: x / parts if share_K is None else x * share_K[i], (loss, grads))
        return (total + loss, stats, jax.tree.map(jnp.add, sums, grads)), None

    start = (jnp.zeros(()), state.stats, jax.tree.map(jnp.zeros_like, state.trainable))
    with looped():
        (loss, stats, grads), _ = jax.lax.scan(add, start, (split, jnp.arange(parts)))
    return loss, stats, grads


def _over_devices(
    label: jax.Array, axis: str, loss: jax.Array, stats: dict[str, Any], grads: dict[str, Any]
) -> tuple[jax.Array, dict[str, Any], dict[str, Any]]:
    """Means over the devices; where tokens have labels, each device counts by how many of its own do."""
    if not of_tokens(label):
        means: tuple[jax.Array, dict[str, Any], dict[str, Any]] = jax.lax.pmean((loss, stats, grads), axis)
        return means
    share = shares(label[None], axis)[0]
    loss, grads = jax.lax.psum(jax.tree.map(lambda x: x * share, (loss, grads)), axis)
    return loss, jax.lax.pmean(stats, axis), grads


def _loss(
    task: Task,
    trainable: dict[str, Any],
    stats: dict[str, Any],
    frozen: dict[str, Any],
    batch: dict[str, Any],
    hyper: Hyper,
    rng: jax.Array,
    axis: str | None,
) -> tuple[jax.Array, dict[str, Any]]:
    """Mean loss in nats with the methods' penalties, and the statistics after the pass."""
    adapted, head = task.adapted, len(task.adapted.model.stages) - 1
    variables = combine(trainable, frozen, stats)
    settings: dict[str, Any] = {"train": True, "phase": task.phase, "scale": hyper.adapter_scale}
    settings |= {"rng": rng, "axis": axis, "dropout": hyper.dropout if task.dropout else None}
    penalties = [(method.penalty, own) for method, own in adapted.parts if method.penalty]
    if not penalties:
        logits_BC, stats = adapted.apply(variables, batch["input"], first=task.first, **settings)
        return mean_scored(loss_of(logits_BC, batch["label"], hyper.label_smoothing), batch["label"]), stats
    features, stats = adapted.apply(variables, batch["input"], first=task.first, last=head, **settings)
    logits_BC, _ = adapted.apply(variables, features, first=head, **settings)
    loss = mean_scored(loss_of(logits_BC, batch["label"], hyper.label_smoothing), batch["label"])
    labels = adapted.labels(task.phase)
    moment = Moment(adapted.model, variables, labels, batch, task.first, cast(features, "float32"), logits_BC)
    for penalty, own in penalties:
        loss = loss + penalty(own, moment)
    return loss, stats


def predict(
    task: Task, trainable: dict[str, Any], frozen: dict[str, Any], stats: dict[str, Any], x: Any, scale: Any
) -> jax.Array:
    """Logits [B, C], or [B, T, C], of the adapted model for inputs of stage `task.first`, in evaluation mode."""
    logits_BC, _ = task.adapted.apply(combine(trainable, frozen, stats), x, first=task.first, train=False, scale=scale)
    return logits_BC

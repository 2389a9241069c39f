"""Optimizers by label: every trainable leaf's rule follows from its label, frozen leaves have none."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from tlx.partition import kind_of

Wrapper = Callable[[optax.GradientTransformation], optax.GradientTransformation]

SCHEDULES = ("cosine", "linear", "slanted", "constant")

# Howard and Ruder (2018), equation 3: the rate begins and ends at 1/32 of its peak.
SLANTED_RATIO = 32.0


@dataclass(frozen=True)
class Optimizer:
    """How the trainable leaves move; learning rate and weight decay are arguments of the step, not of this.

    Args:
      name: `adamw` (Loshchilov and Hutter, 2019) or `sgd` with Nesterov momentum; the weight decay of both is
        decoupled, where most libraries' SGD adds it to the gradient.
      momentum: β1 of Adam, or the momentum of SGD.
      clip_norm: largest global gradient norm over the trainable leaves, or 0 for none.
      warmup: share of the steps spent on a linear warm-up, 0 to 1.
      schedule: after the warm-up, `cosine` or `linear` to zero, or `constant`; `slanted` rises from 1/32 of the
        peak and falls back to it, both linearly.
      accumulate: parts a batch is taken in, one after another, to save memory.
      ema: decay of the running mean of the trainable leaves that is evaluated in their place, or 0 for none.
    """

    name: str = "adamw"
    momentum: float = 0.9
    clip_norm: float = 1.0
    warmup: float = 0.1
    schedule: str = "cosine"
    accumulate: int = 1
    ema: float = 0.0


def make_schedule(optimizer: Optimizer, steps: int | jax.Array) -> Callable[[jax.Array], jax.Array]:
    """The learning rate at a step as a share of its peak.

    Args:
      optimizer: names the schedule and the warm-up.
      steps: length of the run, in steps; may be traced.

    Returns:
      A function from the step (0-based) to a factor in [0, 1].
    """
    has_warmup = optimizer.warmup > 0
    warmup: Any
    left: Any
    if isinstance(steps, int):
        warmup = max(1, round(optimizer.warmup * steps)) if has_warmup else 0
        left = max(1, steps - warmup)
    else:
        total = steps.astype(jnp.float32)
        warmup = jnp.maximum(1.0, jnp.round(optimizer.warmup * total)) if has_warmup else 0.0
        left = jnp.maximum(1.0, total - warmup)

    def factor(step: jax.Array) -> jax.Array:
        now = step.astype(jnp.float32)
        rise = jnp.minimum(1.0, (now + 1.0) / warmup) if has_warmup else jnp.ones_like(now)
        done = jnp.clip((now - warmup) / left, 0.0, 1.0)
        if optimizer.schedule == "constant":
            return rise
        if optimizer.schedule == "linear":
            return rise * (1.0 - done)
        if optimizer.schedule == "slanted":
            return (1.0 + jnp.minimum(rise, 1.0 - done) * (SLANTED_RATIO - 1.0)) / SLANTED_RATIO
        return rise * 0.5 * (1.0 + jnp.cos(jnp.pi * done))

    return factor


def make_optimizer(
    optimizer: Optimizer, labels: Any, lr_scale: Mapping[str, float], wrap: Wrapper = lambda inner: inner
) -> optax.GradientTransformation:
    """The update rule of the trainable part, with learning rate and weight decay as injected arguments.

    Args:
      optimizer: the rule.
      labels: tree of labels shaped like the trainable part (`partition.trainable_labels`).
      lr_scale: factors on the learning rate by label, without what follows its "#".
      wrap: put around the whole rule.

    Returns:
      A transformation whose state holds `hyperparams["learning_rate" | "weight_decay"]`, set by `set_hyper`.
      Only trainable leaves ever reach it, so the clipping norm and the state count nothing frozen. Every label has
      a state of its own, so that leaves which join a run later begin with a fresh one.
    """
    names = sorted(set(jax.tree.leaves(labels)))

    def build(learning_rate: jax.Array, weight_decay: jax.Array) -> optax.GradientTransformation:
        clip = optax.clip_by_global_norm(optimizer.clip_norm) if optimizer.clip_norm else optax.identity()
        rules = {
            name: _leaf_rule(optimizer, name, learning_rate * lr_scale.get(name.partition("#")[0], 1.0), weight_decay)
            for name in names
        }
        return wrap(optax.chain(clip, optax.partition(rules, labels)))

    return _promoting(optax.inject_hyperparams(build)(learning_rate=0.0, weight_decay=0.0))


def _promoting(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same rule where strict dtype promotion is on: Adam's bias correction is a float to an integer power."""

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        with jax.numpy_dtype_promotion("standard"):
            updates, new_state = inner.update(grads, state, params)
        return updates, new_state

    return optax.GradientTransformation(inner.init, update)


def _leaf_rule(
    optimizer: Optimizer, label: str, learning_rate: jax.Array, weight_decay: jax.Array
) -> optax.GradientTransformation:
    direction = (
        optax.scale_by_adam(b1=optimizer.momentum)
        if optimizer.name == "adamw"
        else optax.trace(decay=optimizer.momentum, nesterov=True)
    )
    # Vectors (biases, norms) are never decayed, adapters neither.
    decays = kind_of(label) != "adapter"
    decay = optax.add_decayed_weights(
        weight_decay, mask=lambda params: jax.tree.map(lambda leaf: decays and leaf.ndim > 1, params)
    )
    return optax.chain(direction, decay, optax.scale_by_learning_rate(learning_rate))


def set_hyper(opt_state: Any, learning_rate: jax.Array, weight_decay: jax.Array) -> Any:
    """The optimizer state with this step's learning rate and weight decay in it.

    Args:
      opt_state: state of a transformation from `make_optimizer`.
      learning_rate: of this step, scalar.
      weight_decay: decoupled, scalar.

    Returns:
      The state, otherwise unchanged.
    """
    hyper = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    return opt_state._replace(hyperparams={k: v.astype(jnp.float32) for k, v in hyper.items()})

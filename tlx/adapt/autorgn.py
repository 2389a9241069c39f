"""Auto-RGN: full fine-tuning, with a learning rate for each leaf that follows its relative gradient norm."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tlx import tree
from tlx.adapt.method import EVERYTHING, Defaults, Method, Settings, Wrapper
from tlx.fields import Field


class State(NamedTuple):
    """What the wrapper keeps.

    Args:
      done: updates so far, int32 scalar.
      factor: of each leaf's learning rate, a scalar for every leaf.
      inner: state of the wrapped optimizer.
    """

    done: jax.Array
    factor: Any
    inner: Any


def factors(grads: Any, params: Any) -> dict[str, Any]:
    """The relative gradient norm of each leaf over the largest of them.

    Args:
      grads: nested dict of gradients.
      params: the leaves they belong to.

    Returns:
      A scalar in [0, 1] for every leaf. The ratio of a leaf of zeros is undefined: it gets 1 and is left out of the
      maximum.

    Source: Lee et al. (2023), Auto-RGN: RGN = ‖g‖ / ‖θ‖.
    """
    leaves, ratios = tree.flatten(params), {}
    for path, grad in tree.flatten(grads).items():
        size = optax.tree.norm(leaves[path].astype(jnp.float32))
        ratios[path] = jnp.where(size > 0, optax.tree.norm(grad.astype(jnp.float32)) / jnp.where(size > 0, size, 1), -1)
    largest = jnp.max(jnp.stack(list(ratios.values())))
    safe = jnp.where(largest > 0, largest, 1)
    return tree.unflatten(
        {path: jnp.where((ratio >= 0) & (largest > 0), ratio / safe, 1) for path, ratio in ratios.items()}
    )


def wrap(settings: Settings, steps: int) -> Wrapper:
    """Multiplies every leaf's update by its factor.

    Args:
      settings: `every`.
      steps: of the run; not used.

    Returns:
      A wrapper of an optimizer.

    Source: Lee et al. (2023), Auto-RGN. There the ratios are taken once an epoch; here every few updates, from the
      gradient of that batch before clipping. There the head is the source's; a fresh one is small, has the largest
      ratio by far and slows down everything else until it has grown.
    """
    every = settings["every"]

    def wrapped(inner: optax.GradientTransformation) -> optax.GradientTransformation:
        def init(params: Any) -> State:
            ones = jax.tree.map(lambda _: jnp.ones((), jnp.float32), params)
            return State(jnp.zeros((), jnp.int32), ones, inner.init(params))

        def update(grads: Any, state: State, params: Any = None) -> tuple[Any, State]:
            updates, inner_state = inner.update(grads, state.inner, params)
            due = state.done % every == 0
            now = factors(grads, params)
            factor = jax.tree.map(lambda old, new: jnp.where(due, new, old), state.factor, now)
            updates = jax.tree.map(lambda step, f: step * f.astype(step.dtype), updates, factor)
            return updates, State(state.done + 1, factor, inner_state)

        return optax.GradientTransformation(init, update)

    return wrapped


AUTO_RGN = Method(
    name="auto_rgn",
    paper="Lee et al., 2023",
    trains="everything, what has small gradients for its size more slowly",
    fields={
        "every": Field(10, "updates from one look at the gradients to the next", low=1, high=1_000_000),
    },
    defaults=Defaults((1e-5, 1e-4, 1e-3), weight_decay=0.01),
    rules=lambda settings, anatomy: EVERYTHING,
    wrap=wrap,
    modifies=True,
)

"""Auto-RGN: full fine-tuning, with a learning rate for each layer that follows its relative gradient norm."""

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


def factors(grads: Any, params: Any, by_layer: bool) -> dict[str, Any]:
    """The relative gradient norms over the largest of them.

    Args:
      grads: nested dict of gradients.
      params: the leaves they belong to.
      by_layer: whether the leaves of a layer, such as kernel and bias, count as one.

    Returns:
      A scalar in [0, 1] for every leaf. Where all of a layer is zero the ratio is undefined: it gets 1 and is left
      out of the maximum.

    Source: Lee et al. (2023), section 4: RGN = ‖g‖ / ‖θ‖.
    """
    leaves, sizes = tree.flatten(grads), tree.flatten(params)
    groups: dict[str, list[str]] = {}
    for path in leaves:
        groups.setdefault(path.rpartition("/")[0] if by_layer else path, []).append(path)
    ratios = {}
    for group, paths in groups.items():
        size = optax.tree.norm([sizes[path].astype(jnp.float32) for path in paths])
        gradient = optax.tree.norm([leaves[path].astype(jnp.float32) for path in paths])
        ratios[group] = jnp.where(size > 0, gradient / jnp.where(size > 0, size, 1.0), -1.0)
    largest = jnp.max(jnp.stack(list(ratios.values())))
    share = {
        group: jnp.where((ratio >= 0) & (largest > 0), ratio / jnp.where(largest > 0, largest, 1.0), 1.0)
        for group, ratio in ratios.items()
    }
    return tree.unflatten({path: share[group] for group, paths in groups.items() for path in paths})


def wrap(settings: Settings, steps: int) -> Wrapper:
    """Multiplies every leaf's update by its factor.

    Args:
      settings: `every`, `unit`.
      steps: of the run; not used.

    Returns:
      A wrapper of an optimizer.

    Source: Lee et al. (2023), section 4. There the ratios are taken once an epoch; here every few updates, from the
      gradient of that batch before clipping. There each tensor has its own ratio; a bias that starts at zero then has
      the largest by far after one update and stops all others, so kernel and bias share one unless told otherwise.
    """
    every, by_layer = settings["every"], settings["unit"] == "layer"

    def wrapped(inner: optax.GradientTransformation) -> optax.GradientTransformation:
        def init(params: Any) -> State:
            ones = jax.tree.map(lambda _: jnp.ones((), jnp.float32), params)
            return State(jnp.zeros((), jnp.int32), ones, inner.init(params))

        def update(grads: Any, state: State, params: Any = None) -> tuple[Any, State]:
            updates, inner_state = inner.update(grads, state.inner, params)
            due = state.done % every == 0
            now = factors(grads, params, by_layer)
            factor = jax.tree.map(lambda old, new: jnp.where(due, new, old), state.factor, now)
            updates = jax.tree.map(lambda step, f: step * f.astype(step.dtype), updates, factor)
            return updates, State(state.done + 1, factor, inner_state)

        return optax.GradientTransformation(init, update)

    return wrapped


AUTO_RGN = Method(
    name="auto_rgn",
    paper="Lee et al., 2023",
    trains="everything, layers with small relative gradients more slowly",
    fields={
        "every": Field(10, "updates from one look at the gradients to the next", low=1, high=1_000_000),
        "unit": Field("layer", "what has one ratio: a layer with its bias, or each leaf", choices=("layer", "leaf")),
    },
    defaults=Defaults((1e-5, 1e-4, 1e-3), weight_decay=0.01),
    rules=lambda settings, anatomy: EVERYTHING,
    wrap=wrap,
)

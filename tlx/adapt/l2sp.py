"""L2-SP: full fine-tuning, pulled back to where it started."""

from typing import Any

import jax
import jax.numpy as jnp

from tlx import tree
from tlx.adapt.anatomy import Base
from tlx.adapt.hooks import Moment
from tlx.adapt.method import EVERYTHING, Defaults, Method, Settings
from tlx.fields import Field
from tlx.partition import FROZEN


def body(variables: dict[str, Any]) -> dict[str, Any]:
    """The parameters before the head, nested."""
    return {name: leaves for name, leaves in variables["params"].items() if name != "head"}


def anchored(variables: dict[str, Any]) -> dict[str, Any]:
    """A copy of them, as the buffers of what trains are given away at every step."""
    copy: dict[str, Any] = jax.tree.map(jnp.copy, body(variables))
    return copy


def distance(moment: Moment, weights: dict[str, Any] | None = None) -> jax.Array:
    """The squared distance from the anchor.

    Args:
      moment: its variables hold `reference/anchor`; leaves that do not move are passed over.
      weights: nested like the anchor, a factor for each parameter, or None for 1.

    Returns:
      Σ F (w - w₀)², scalar.
    """
    now, anchor = tree.flatten(moment.variables["params"]), tree.flatten(moment.variables["reference"]["anchor"])
    factor = tree.flatten(weights) if weights is not None else {}
    total = jnp.zeros(())
    for path, start in anchor.items():
        if moment.labels.get(f"params/{path}", FROZEN) != FROZEN:
            squares = jnp.square(now[path] - start)
            total = total + jnp.sum(squares * factor[path] if weights is not None else squares)
    return total


def grow(settings: Settings, base: Base, key: jax.Array) -> dict[str, Any]:
    """The start of everything but the head, kept to compare with."""
    return {"reference": {"anchor": anchored(base.variables)}}


def penalty(settings: Settings, moment: Moment) -> jax.Array:
    """α/2 ‖w - w₀‖² over what was pretrained, and β/2 ‖w‖² over the head.

    Args:
      settings: `alpha`, `beta`.
      moment: the parameters and where they started.

    Returns:
      A scalar, to be added to the loss.

    Source: Li et al. (2018), equation 2. The start is that of the run, so that for a model without a source it is a
      random one. Under Adam a penalty is scaled like any gradient; the authors use SGD.
    """
    head = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(moment.variables["params"].get("head", {})))
    return settings["alpha"] / 2 * distance(moment) + settings["beta"] / 2 * head


L2_SP = Method(
    name="l2_sp",
    paper="Li et al., 2018",
    trains="everything, held near its start",
    fields={
        "alpha": Field(0.1, "strength of the pull to the start", low=0.0, high=1e6),
        "beta": Field(0.01, "strength of the head's pull to zero", low=0.0, high=1e6),
    },
    # Li et al.: SGD with momentum 0.9; the penalty stands in for weight decay.
    defaults=Defaults((5e-3, 1e-2, 2e-2), optimizer="sgd"),
    rules=lambda settings, anatomy: EVERYTHING,
    grow=grow,
    penalty=penalty,
    modifies=True,
)

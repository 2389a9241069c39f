"""FISH mask: the few parameters with the largest Fisher information move, wherever they are.

Shape suffixes: N parameters before the head, K of them that move.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import pack, unpack

from tlx import tree
from tlx.adapt.anatomy import Base
from tlx.adapt.fisher import diagonal_fisher
from tlx.adapt.hooks import Calibration
from tlx.adapt.method import HEAD_ONLY, Defaults, Method, Settings
from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.partition import FROZEN

Leaves = dict[str, Any]


def _flat(leaves: Leaves) -> tuple[list[str], jax.Array, Any]:
    """Paths of the body in a fixed order, its numbers one after another, and their shapes."""
    paths = sorted(path for path in leaves if not path.startswith("head/"))
    flat_N, shapes = pack([leaves[path] for path in paths], "*")
    return paths, flat_N, shapes


def _moved(leaves: Leaves, index_K: jax.Array, delta_K: jax.Array) -> Leaves:
    paths, flat_N, shapes = _flat(leaves)
    flat_N = flat_N.at[index_K].add(delta_K.astype(flat_N.dtype))
    return {**leaves, **dict(zip(paths, unpack(flat_N, shapes, "*"), strict=True))}


def grow(settings: Settings, base: Base, key: jax.Array) -> dict[str, Any]:
    """Which parameters move and how far they have moved.

    Args:
      settings: `keep`.
      base: the model.
      key: not used.

    Returns:
      `index` [K], evenly spaced until examples choose, and `delta` [K], zeros.

    Raises:
      ConfigError: not one parameter would move.
    """
    leaves = {path: leaf for path, leaf in base.anatomy.leaves.items() if path.startswith("params/")}
    count = tree.count({path: leaf for path, leaf in leaves.items() if not path.startswith("params/head/")})
    kept = round(settings["keep"] * count)
    if not kept:
        raise ConfigError("keep", f"{settings['keep']:g} of the {count:,} parameters before the head is none")
    if count > jnp.iinfo(jnp.int32).max:
        raise ConfigError("name", f"the {count:,} parameters before the head are more than an int32 can number")
    # On the host, where the products have room.
    index_K = (np.arange(kept, dtype=np.int64) * count // kept).astype(np.int32)
    return {"adapters": {"fish": {"index": jnp.asarray(index_K), "delta": jnp.zeros(kept, jnp.float32)}}}


def rewrite(settings: Settings, variables: dict[str, Any], scale: jax.Array | float) -> dict[str, Any]:
    """The parameters with `scale · delta` added where the index says.

    Args:
      settings: not used.
      variables: all leaves.
      scale: factor on the whole change.

    Returns:
      The variables with other parameters.

    Source: Sung et al. (2021). There a mask as large as the model is put over the gradient; here only the
      chosen entries have a gradient and a state of the optimizer.
    """
    own = variables["adapters"]["fish"]
    moved = _moved(tree.flatten(variables["params"]), own["index"], own["delta"] * scale)
    return {**variables, "params": tree.unflatten(moved)}


def calibrate(settings: Settings, calibration: Calibration) -> dict[str, Any]:
    """The parameters with the largest empirical Fisher information.

    Args:
      settings: not used.
      calibration: the target's labelled examples.

    Returns:
      The new `index`, ascending.

    Source: Sung et al. (2021), the empirical Fisher information: the mean over examples of the squared gradient at
      the true label. The head is as it starts. Of equal values the one that comes first is taken.
    """
    variables = calibration.variables
    body = {name: leaves for name, leaves in variables["params"].items() if name != "head"}
    fisher = diagonal_fisher(calibration.logits, {"params": body}, calibration.batches)
    _, fisher_N, _ = _flat(tree.flatten(fisher["params"]))
    _, index_K = jax.lax.top_k(fisher_N, variables["adapters"]["fish"]["index"].size)
    return {"adapters": {"fish": {"index": jnp.sort(index_K)}}}


def merge(settings: Settings, leaves: Leaves, sides: Leaves) -> Leaves:
    """The plain model's leaves: those of the body with what they moved by added."""
    return _moved(leaves, sides["fish/index"], sides["fish/delta"])


FISH = Method(
    name="fish",
    paper="Sung et al., 2021",
    trains="the parameters with the largest Fisher information, and the head",
    fields={"keep": Field(0.005, "share of the parameters before the head that move", low=1e-9, high=1.0)},
    defaults=Defaults((1e-4, 3e-4, 1e-3), schedule="linear"),
    rules=lambda settings, anatomy: (
        ("adapters/fish/index", FROZEN),
        ("adapters/fish/delta", "adapter"),
        *HEAD_ONLY,
    ),
    grow=grow,
    rewrite=rewrite,
    calibrate=calibrate,
    examples="target",
    merge=merge,
)

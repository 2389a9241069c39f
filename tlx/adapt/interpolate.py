"""WiSE-FT: a point on the line between a tree before and after tuning."""

from typing import Any

import jax
import jax.numpy as jnp

from tlx import tree
from tlx.adapt.combining import difference, matched, moved


def interpolate(start: Any, tuned: Any, alpha: jax.Array | float) -> dict[str, Any]:
    """The weighted mean (1 - alpha) · start + alpha · tuned.

    Args:
      start: nested dict of arrays.
      tuned: nested dict of arrays with the same leaves.
      alpha: weight of `tuned`; may be traced.

    Returns:
      A tree of the same leaves; bit for bit `start` at 0 and `tuned` at 1.

    Raises:
      RuleError: the trees differ in a leaf, a shape, a dtype or an integer.

    Source: Wortsman et al. (2022), "Robust fine-tuning of zero-shot models". Computed as
      start + alpha · (tuned - start), so that a leaf that did not move keeps its bits at every alpha.
    """
    kept, floats = matched({"start": start, "tuned": tuned})
    weight = jnp.asarray(alpha, jnp.float32)

    def between(one: jax.Array, other: jax.Array) -> jax.Array:
        inside = moved(one, weight * difference(one, other))
        # The ends by selection: a product with zero is not zero where the other tree is not finite.
        return jnp.where(weight == 0, one, jnp.where(weight == 1, other, inside))

    return tree.unflatten(kept | {path: between(*pair) for path, pair in floats.items()})

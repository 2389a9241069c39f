"""Leaves that are made from examples before the first step: Fisher information, sparse masks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx import tree
from tlx.adapt.hooks import Calibration
from tlx.seeds import derive
from tlx.study.cells import SourceData
from tlx.study.context import Context
from tlx.study.examples import subset_of
from tlx.study.plan import Unit

# As many as Sung et al. (2021) use; more change the estimate little.
EXAMPLES, BATCH = 1024, 64


def calibrated(unit: Unit, variables: dict[str, Any], seed: int, context: Context) -> dict[str, Any]:
    """The variables with the leaves that depend on examples filled in.

    Args:
      unit: names the methods; the cell of the seed names the target's labelled examples.
      variables: all leaves, grown ones among them.
      seed: of the cell.
      context: holds the examples.

    Returns:
      The variables; the same where no method wants examples.
    """
    adapted = unit.task.adapted
    for method, settings in adapted.parts:
        if method.calibrate:
            input_N, label_N = _examples(unit, seed, method.examples, context)
            parts = [slice(i, i + BATCH) for i in range(0, len(label_N), BATCH)]
            ready = context.study.pipeline().ready
            batches = [(ready(jnp.asarray(input_N[at])), jnp.asarray(label_N[at])) for at in parts]
            now = variables

            def logits(leaves: dict[str, Any], x: Any, now: dict[str, Any] = now) -> jax.Array:
                return adapted.apply(tree.unflatten({**tree.flatten(now), **tree.flatten(leaves)}), x)[0]

            key = jax.random.key(derive(seed, "calibrate"))
            made = method.calibrate(settings, Calibration(adapted.model, logits, variables, batches, key))
            variables = tree.unflatten({**tree.flatten(variables), **tree.flatten(made)})
    return variables


def _examples(unit: Unit, seed: int, whose: str, context: Context) -> tuple[np.ndarray, np.ndarray]:
    """Images as bytes or token ids, and labels: the source's, or the target's labelled ones."""
    if whose == "source":
        assert unit.first.source is not None
        source = context.sources[unit.first.source.name]
        assert isinstance(source, SourceData)  # `check` refuses the method otherwise
        return source.some(EXAMPLES)
    cell = next(cell for cell in unit.cells if cell.seed == seed)
    chosen = subset_of(cell, context)[:EXAMPLES]
    data = context.targets[unit.first.target.name].train
    return data.input_N[chosen], data.label_N[chosen]

"""Task2Vec in a study: the source's own model is the probe, for its task and for the target's.

Each source is compared on its own probe, where Task2Vec has one for all: a distance says how alike the two tasks use
this model, and distances of different sources are set beside one another as those of other estimators are.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx.adapt.adapted import Adapted
from tlx.linear.logistic import logistic_path
from tlx.measure.transferability.task2vec import embedding
from tlx.models.registry import CLASSIFY
from tlx.seeds import derive
from tlx.study.cells import SourceData
from tlx.study.context import Context, Pretrained
from tlx.study.objective import trained_model
from tlx.study.spec import Source

# The diagonal is a mean of gradients, one pass backwards each.
EXAMPLES = 256
# Of the head's kernel: that of a probe in the middle of its grid.
PENALTY = 1e-2


@dataclass(frozen=True)
class Probe:
    """A model whose stages below the head are a source's.

    Args:
      adapted: the model, with the task's classes.
      leaves: its variables.
      context: of the study.
    """

    adapted: Adapted
    leaves: dict[str, Any]
    context: Context

    def fisher(self, inputs: np.ndarray, seed: int) -> np.ndarray:
        """The embedding of the task that the head was fitted to, on the first examples.

        Args:
          inputs: as data sets have them, [N, ...].
          seed: of the drawn labels.
        """
        ops = self.context.study.pipeline().evaluation

        def logits(leaves: Any, x_B: jax.Array) -> jax.Array:
            return self.adapted.apply(leaves, ops.ready(x_B))[0]

        return embedding(logits, self.leaves, inputs[:EXAMPLES], seed=derive(seed, "task2vec"))


def of_source(source: Source, pretrained: Pretrained, context: Context) -> np.ndarray | None:
    """The embedding of what the source was trained on; None where that is not here, or is no classes.

    Args:
      source: the recipe.
      pretrained: its model, with its own head.
      context: of the study.
    """
    data = context.sources[source.name]
    if not isinstance(data, SourceData) or source.objective != CLASSIFY:
        return None
    adapted = Adapted(trained_model(context.study, source, data), "full", precision=context.study.recipe.precision)
    return Probe(adapted, pretrained.variables, context).fisher(data.some(EXAMPLES)[0], source.seed)


def of_target(
    probe: Probe, inputs: np.ndarray, feature_ND: np.ndarray, label_N: np.ndarray, seed: int
) -> np.ndarray | None:
    """The embedding of the target's task on a source's model, the head solved for on frozen features.

    None where the model's head is more than a linear map.

    Args:
      probe: with any head.
      inputs: labelled examples, [N, ...].
      feature_ND: what enters the head for them.
      label_N: their classes.
      seed: of the place.
    """
    if probe.leaves["params"].get("head", {}).keys() != {"kernel", "bias"}:
        return None
    seen_C, at_N = np.unique(label_N, return_inverse=True)
    found = logistic_path(feature_ND, np.eye(len(seen_C))[at_N], [PENALTY])
    classes = probe.adapted.model.num_classes
    # A class without an example is never drawn.
    kernel_DC, bias_C = np.zeros((feature_ND.shape[1], classes)), np.full(classes, -1e9)
    kernel_DC[:, seen_C], bias_C[seen_C] = found.kernel_LDC[0], found.bias_LC[0]
    head = {"kernel": jnp.asarray(kernel_DC, jnp.float32), "bias": jnp.asarray(bias_C, jnp.float32)}
    leaves = {**probe.leaves, "params": {**probe.leaves["params"], "head": head}}
    return Probe(probe.adapted, leaves, probe.context).fisher(inputs, seed)

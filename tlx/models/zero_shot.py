"""A classifier out of words: CLIP's text tower makes the weights of the image tower's head.

Shape suffixes: L classes, M templates, T tokens, E features.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange

from tlx.errors import ConfigError
from tlx.models.clip import normalised
from tlx.models.registry import Model
from tlx.progress import Progress, Silent

PLACE = "{}"


def prompts(names: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """What is said of each class, template by template.

    Args:
      names: of the classes.
      templates: sentences with `{}` where a name belongs.

    Returns:
      For each class a text for each template.

    Raises:
      ConfigError: of the field `templates`.

    >>> prompts(["cat", "dog"], ["a photo of a {}.", "a sketch of a {}."])[1]
    ['a photo of a dog.', 'a sketch of a dog.']
    """
    for i, template in enumerate(templates):
        if PLACE not in template:
            raise ConfigError(f"templates[{i}]", f"expected a {PLACE} where the name of a class belongs")
    # Not `format`, for which other braces mean something.
    return [[template.replace(PLACE, name) for template in templates] for name in names]


def class_embeddings(
    model: Model, variables: Mapping[str, Any], id_LMT: jax.Array, progress: Progress | None = None
) -> jax.Array:
    """One direction for each class: the mean over its prompts' directions, class after class.

    Args:
      model: a `clip_text`.
      variables: its leaves; those of its head are not read.
      id_LMT: token ids of the prompts.
      progress: is told of every class.

    Returns:
      [L, E], each of length 1.

    Source: Radford et al. (2021), section 3.1.4: prompts are ensembled in the space of features, which are normalised
      before the mean and after it.
    """
    pool, progress = len(model.stages) - 1, progress or Silent()

    @jax.jit
    def embedding(leaves: Mapping[str, Any], id_MT: jax.Array) -> jax.Array:
        feature_ME: Any = model.module.apply(leaves, id_MT, 0, pool)
        return normalised(jnp.mean(normalised(feature_ME), axis=0))

    task = "class prompts"
    progress.start(task, len(id_LMT))
    found = []
    for id_MT in id_LMT:
        found.append(embedding(variables, id_MT))
        progress.advance(task, 1)
    return jnp.stack(found)


def head(embedding_LE: jax.Array, log_scale: jax.Array | float) -> dict[str, jax.Array]:
    """The head that scores normalised image features by their scaled cosine with each class.

    Args:
      embedding_LE: directions, each of length 1.
      log_scale: logarithm of the scale, as a checkpoint's `logit_scale`.

    Returns:
      `kernel` [E, L] and `bias` [L], the latter zeros: leaves of a `clip_vision` whose `normalise` is on.

    Source: Radford et al. (2021), section 3.1.2; Wortsman et al. (2022), section 2, fine-tune from there.
    """
    kernel_EL = jnp.exp(jnp.asarray(log_scale, embedding_LE.dtype)) * rearrange(embedding_LE, "l e -> e l")
    return {"kernel": kernel_EL, "bias": jnp.zeros(len(embedding_LE), kernel_EL.dtype)}


def classifier(
    model: Model, variables: Mapping[str, Any], embedding_LE: jax.Array, log_scale: jax.Array | float
) -> dict[str, Any]:
    """The image tower's leaves with the zero-shot head.

    Args:
      model: a `clip_vision` with as many outputs as there are classes.
      variables: its leaves; those of its head are replaced.
      embedding_LE: directions of the classes.
      log_scale: logarithm of the scale.

    Returns:
      Leaves whose logits are the scaled cosines: a source for fine-tuning, or a classifier as they are.

    Raises:
      ConfigError: the model has other features or classes, or does not normalise.
    """
    settings = dict(model.settings)
    if not settings["normalise"]:
        raise ConfigError("normalise", "expected true, as cosines are of normalised features")
    features = settings["projection"] or settings["width"]
    if embedding_LE.shape != (model.num_classes, features):
        classes, width = embedding_LE.shape
        raise ConfigError(
            "projection", f"{model.num_classes} classes of {features} features, but got {classes} of {width}"
        )
    return {**variables, "params": {**variables["params"], "head": head(embedding_LE, log_scale)}}

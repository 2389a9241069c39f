"""Distillation from the source model: what it said of an input, or the features it saw, is kept.

Shape suffixes: B examples, D features, C classes of the source. Heads that read every token have an axis more.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from tlx.adapt.anatomy import Anatomy, Base, classes_of
from tlx.adapt.hooks import Moment
from tlx.adapt.method import EVERYTHING, Defaults, Method, Settings
from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.losses import mean_scored
from tlx.models.registry import Model
from tlx.partition import Rules


def _rules(settings: Settings, anatomy: Anatomy) -> Rules:
    keeps = settings["logit"] and anatomy.has_head
    return (("adapters/source_head/.*", "adapter"), *EVERYTHING) if keeps else EVERYTHING


def grow(settings: Settings, base: Base, key: jax.Array) -> dict[str, Any]:
    """The source model as it is, and a copy of its head that moves.

    Args:
      settings: `logit`, `feature`.
      base: the model and its source.
      key: not used.

    Returns:
      `reference/teacher`, the source's leaves; `adapters/source_head` where `logit` is not 0.

    Raises:
      ConfigError: there is nothing to distil.
    """
    if not settings["logit"] and not settings["feature"]:
        raise ConfigError("logit", "expected logit or feature above 0, got 0 for both")
    copy = jax.tree.map(jnp.copy, base.source)
    found: dict[str, Any] = {"reference": {"teacher": copy}}
    if settings["logit"] and "head" in base.source["params"]:
        found["adapters"] = {"source_head": jax.tree.map(jnp.copy, base.source["params"]["head"])}
    return found


def _head(model: Model, params: dict[str, Any], leaves: dict[str, Any], features: Any) -> jax.Array:
    """Logits [B, C] of a head with other classes than the model's; `params` holds what it may share with the rest."""
    last = len(model.stages)
    module = replace(model, num_classes=classes_of(leaves, model)).module
    logits_BC: Any = module.apply({"params": {**params, "head": leaves}}, features, last - 1, last)
    return jnp.asarray(logits_BC)


def penalty(settings: Settings, moment: Moment) -> jax.Array:
    """The divergence of the logits from the teacher's and the distance of the features from its features.

    Args:
      settings: `logit`, `feature`, their weights; `temperature`.
      moment: features and variables; the teacher reads the same input in evaluation mode.

    Returns:
      `logit · T² · KL(teacher ‖ student)` in nats, both softened by T, plus `feature` times the mean squared
      difference of what enters the head; means over the batch, or over the tokens that have a label.

    Source: Hinton et al. (2015), section 2, for the divergence; Li and Hoiem (2016), equation 2, for the student's own
      copy of the source's head; Romero et al. (2015), equation 3, for the features, here those before the head, without
      a regressor. Li and Hoiem use the cross-entropy, whose gradient is the same, without T².
    """
    teacher, last = moment.variables["reference"]["teacher"], len(moment.model.stages) - 1
    seen = {key: teacher[key] for key in ("params", "batch_stats") if key in teacher}
    features_BD = jax.lax.stop_gradient(moment.model.module.apply(seen, moment.batch["input"], moment.first, last))
    total = jnp.zeros(())
    if settings["logit"]:
        t = settings["temperature"]
        own, copy = moment.variables["params"], moment.variables.get("adapters", {}).get("source_head", {})
        said_BC = _head(moment.model, teacher["params"], teacher["params"].get("head", {}), features_BD) / t
        says_BC = _head(moment.model, own, copy, moment.features) / t
        log_p_BC, log_q_BC = jax.nn.log_softmax(jax.lax.stop_gradient(said_BC)), jax.nn.log_softmax(says_BC)
        divergence_B = jnp.sum(jnp.exp(log_p_BC) * (log_p_BC - log_q_BC), axis=-1)
        total = total + settings["logit"] * t**2 * mean_scored(divergence_B, moment.batch["label"])
    if settings["feature"]:
        square_BD = jnp.square(moment.features - features_BD)
        label = moment.batch["label"]
        # The mean over all numbers at once where all count, as rounding depends on the order.
        mean = jnp.mean(square_BD) if label.ndim == 1 else mean_scored(jnp.mean(square_BD, axis=-1), label)
        total = total + settings["feature"] * mean
    return total


DISTILL = Method(
    name="distill",
    paper="Li and Hoiem, 2016",
    trains="everything, held near what the source model says of the same inputs",
    fields={
        "logit": Field(1.0, "weight of the divergence from the source's predictions", low=0.0, high=1e6),
        "feature": Field(0.0, "weight of the squared distance from the source's features", low=0.0, high=1e6),
        "temperature": Field(2.0, "what the logits are divided by before they are compared", low=0.1, high=1e3),
    },
    defaults=Defaults((1e-4, 3e-4, 1e-3), weight_decay=0.01),
    rules=_rules,
    grow=grow,
    penalty=penalty,
    keeps_head=True,
    modifies=True,
)

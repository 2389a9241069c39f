"""Elastic weight consolidation: what mattered to the source is held more firmly.

Shape suffixes: B examples, C classes of the source.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from tlx.adapt.anatomy import Base, classes_of
from tlx.adapt.fisher import diagonal_fisher
from tlx.adapt.hooks import Calibration, Moment
from tlx.adapt.l2sp import anchored, distance
from tlx.adapt.method import EVERYTHING, Defaults, Method, Settings
from tlx.fields import Field


def grow(settings: Settings, base: Base, key: jax.Array) -> dict[str, Any]:
    """What the penalty compares with, and what the source model has beside it.

    Args:
      settings: not used.
      base: the model and its source.
      key: not used.

    Returns:
      Under `reference`: `anchor`, the start before the head; `fisher`, zeros like it until examples fill it in;
      `source`, the source's head and running statistics.
    """
    anchor = anchored(base.variables)
    source = {"params": {"head": base.source["params"].get("head", {})}}
    if "batch_stats" in base.source:
        source["batch_stats"] = base.source["batch_stats"]
    zeros = jax.tree.map(jnp.zeros_like, anchor)
    return {"reference": {"anchor": anchor, "fisher": zeros, "source": jax.tree.map(jnp.copy, source)}}


def calibrate(settings: Settings, calibration: Calibration) -> dict[str, Any]:
    """The source model's Fisher information.

    Args:
      settings: not used.
      calibration: the source's examples; of their labels, only which tokens have any is read.

    Returns:
      The new `fisher`: the diagonal over the leaves of the anchor, labels drawn from the source model.

    Source: Kirkpatrick et al. (2017). The head is no part of it, as the target has one of its own.
    """
    reference = calibration.variables["reference"]
    source = {"params": {}, **reference.get("source", {})}
    classes = classes_of(source["params"].get("head", {}), calibration.model)
    module = replace(calibration.model, num_classes=classes).module

    def logits(anchor: dict[str, Any], x: Any) -> jax.Array:
        logits_BC: Any = module.apply({**source, "params": {**anchor, **source["params"]}}, x)
        return jnp.asarray(logits_BC)

    draw = jax.jit(lambda key, x: jax.random.categorical(key, logits(reference["anchor"], x)))
    keys = jax.random.split(calibration.key, len(calibration.batches))
    pairs = zip(keys, calibration.batches, strict=True)
    # Tokens that have no label get none.
    batches = [
        (x, jnp.where(label < 0, label, draw(key, x)) if label.ndim > 1 else draw(key, x)) for key, (x, label) in pairs
    ]
    return {"reference": {"fisher": diagonal_fisher(logits, reference["anchor"], batches)}}


def penalty(settings: Settings, moment: Moment) -> jax.Array:
    """λ/2 Σ F (w - w₀)² over everything but the head.

    Args:
      settings: `strength`, λ.
      moment: the parameters, where they started and the Fisher information.

    Returns:
      A scalar, to be added to the loss.

    Source: Kirkpatrick et al. (2017), equation 3.
    """
    return settings["strength"] / 2 * distance(moment, moment.variables["reference"]["fisher"])


EWC = Method(
    name="ewc",
    paper="Kirkpatrick et al., 2017",
    trains="everything, what mattered to the source less",
    fields={"strength": Field(400.0, "λ, strength of the pull to the start", low=0.0, high=1e9)},
    defaults=Defaults((1e-5, 1e-4, 1e-3)),
    rules=lambda settings, anatomy: EVERYTHING,
    grow=grow,
    penalty=penalty,
    calibrate=calibrate,
    examples="source",
    modifies=True,
)

"""Side tuning: a small trainable network beside the frozen one, blended with it before the head.

Shape suffixes: B examples, D features, E channels that the side network ends with.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tlx.adapt import tokens
from tlx.adapt.anatomy import Anatomy, Base
from tlx.adapt.hooks import Around, Pass
from tlx.adapt.method import HEAD_ONLY, Defaults, Method, Settings
from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.partition import FROZEN, Rules

FIELDS = {
    "stages": Field(2, "number of stages, from the input up, that the side network is a copy of", low=1, high=1000)
}


def grow(settings: Settings, base: Base, key: jax.Array) -> dict[str, Any]:
    """The side network: a copy of the first stages, a projection where their channels are not the features' number.

    Args:
      settings: `stages`.
      base: the tree that is adapted; the copy is taken from it.
      key: randomness of the projection.

    Returns:
      Under `adapters/head/side`: `blend` [1], `copy` of the stages' parameters and `stats` of their norms' running
      statistics, if they have any; `kernel` [E, D] and `bias` [D] of the projection, if there is one.

    Raises:
      ConfigError: there are fewer stages before the pooling.
    """
    anatomy = base.anatomy
    anatomy.check_pooled()
    copied = _copied(settings, anatomy)

    def copy(collection: str) -> dict[str, Any]:
        mine = {stage: base.variables[collection][stage] for stage in copied if stage in base.variables[collection]}
        return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), mine)

    side: dict[str, Any] = {"blend": jnp.zeros(1), "copy": copy("params")}
    if _stats(settings, anatomy):
        side["stats"] = copy("batch_stats")
    channels = tokens.hidden(anatomy.outputs[len(copied) - 1]).shape[-1]
    features = anatomy.outputs[-2].shape[-1]
    if channels != features:
        side["kernel"] = nn.initializers.lecun_normal()(key, (channels, features), jnp.float32)
        side["bias"] = jnp.zeros(features)
    return {"adapters": {anatomy.stages[-1]: {"side": side}}}


def around(settings: Settings, context: Pass) -> Around:
    """Blends the features that enter the head with those of the side network: a·B(x) + (1 - a)·S(x).

    Args:
      settings: `stages`.
      context: its `scale` is a factor on 1 - a, so that 0 is the base model.

    Returns:
      A wrapper of stages. The model's input flows along to the head, where the side network reads it: all that is
      below, the whole frozen network, does not depend on what is trained.

    Source: Zhang et al. (2020), equation 1 and section 3.2, with a = sigmoid(`blend`), 1/2 at first. The side
      network is a copy of the base network's first stages and their mean over positions, where the paper has a
      smaller network distilled from it. It runs in evaluation mode, without dropout and with the base's running
      statistics.
    """
    module, stages = context.model.module, context.model.stages
    head = len(stages) - 1

    def blended(k: int, stage: Callable[[Any], Any], x: Any) -> Any:
        if k == 0:
            x = {"base": x, "input": x}
        if k < head:
            return {**x, "base": stage(x["base"])}
        side = context.adapters[stages[head]]["side"]
        base_BD = x["base"]
        side_BD = _features(module, side, x["input"], settings["stages"]).astype(base_BD.dtype)
        share = ((1.0 - jax.nn.sigmoid(side["blend"][0])) * context.scale).astype(base_BD.dtype)
        return stage((1.0 - share) * base_BD + share * side_BD)

    return blended


def _features(module: nn.Module, side: dict[str, Any], x: Any, stages: int) -> jax.Array:
    leaves = {"params": side["copy"], "batch_stats": side.get("stats", {})}
    y_BE = tokens.mean(module.apply(leaves, x, 0, stages, train=False))
    if "kernel" not in side:
        return y_BE
    return y_BE @ side["kernel"].astype(y_BE.dtype) + rearrange(side["bias"].astype(y_BE.dtype), "d -> 1 d")


def _copied(settings: Settings, anatomy: Anatomy) -> tuple[str, ...]:
    before_pool = anatomy.stages[:-2]
    if settings["stages"] > len(before_pool):
        raise ConfigError("stages", f"expected at most {len(before_pool)}, up to the pooling, got {settings['stages']}")
    return before_pool[: settings["stages"]]


def _stats(settings: Settings, anatomy: Anatomy) -> bool:
    prefixes = tuple(f"batch_stats/{stage}/" for stage in _copied(settings, anatomy))
    return any(path.startswith(prefixes) for path in anatomy.leaves)


def _rules(settings: Settings, anatomy: Anatomy) -> Rules:
    frozen: Rules = (("adapters/.*/side/stats/.*", FROZEN),) if _stats(settings, anatomy) else ()
    return (*frozen, ("adapters/.*", "adapter"), *HEAD_ONLY)


SIDE = Method(
    name="side",
    paper="Zhang et al., 2020",
    trains="a copy of the first stages beside the frozen network, the blend of both, and the head",
    fields=FIELDS,
    defaults=Defaults((1e-4, 3e-4, 1e-3)),
    rules=_rules,
    grow=grow,
    around=around,
    starts_elsewhere="half of the features come from the copied stages",
    alone="blends the model with a network of its own",
)

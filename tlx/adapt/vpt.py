"""Visual prompt tuning: trainable tokens between the class token and the others, in the first layer or in all.

Shape suffixes: B examples, T tokens, P prompt tokens, D width.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx import tree
from tlx.adapt import tokens
from tlx.adapt.hooks import Pass
from tlx.adapt.method import ADAPTERS, Defaults, Interceptor, Method, Settings
from tlx.fields import Field
from tlx.models.registry import Model

LENGTH = Field(10, "number of prompt tokens", low=1, high=10000)


def _dropout(rate: float) -> Field:
    return Field(rate, "dropout rate of the prompts in training", low=0.0, high=0.9)


def shallow(settings: Settings, context: Pass) -> Interceptor:
    """Inserts P [P, D] after the class tokens of what the embedding gives; pooling does not see them.

    Args:
      settings: `length`, `dropout`.
      context: its `scale` is a factor on P; at 0 the prompts are zeros, which is not the base model.

    Returns:
      An interceptor; `vpt_prompt` [P, D] lives beside the embedding.

    Raises:
      ConfigError: the model has no tokens.

    Source: Jia et al. (2022), equations 4 to 6. Prompts have no position. They are drawn from U(±√(6 / (C·p² + D)))
      for patches of p x p x C, and from U(±√(6 / 2D)) where the model has no patches. Features that are a mean
      over tokens leave the prompts out.
    """
    return _interceptor(settings, context, deep=False)


def deep(settings: Settings, context: Pass) -> Interceptor:
    """Inserts prompts as `shallow` does and replaces them by new ones before every block.

    Args:
      settings: `length`, `dropout`.
      context: its `scale` is a factor on all prompts.

    Returns:
      An interceptor; `vpt_prompt` [P, D] lives beside each block, the first one included.

    Raises:
      ConfigError: the model has no tokens.

    Source: Jia et al. (2022), equations 7 and 8; the rest as for `shallow`.
    """
    return _interceptor(settings, context, deep=True)


def _interceptor(settings: Settings, context: Pass, deep: bool) -> Interceptor:
    model, length = context.model, settings["length"]
    tokens.role(model, "tokens")
    at, first, pool = model.class_tokens, model.stages[0], model.stages[-2]

    def prompts(module: nn.Module, like_BTD: jax.Array) -> jax.Array:
        width = like_BTD.shape[-1]
        prompt_PD = tokens.leaf(module, "vpt_prompt", tokens.uniform(bound(model, width), length, width))
        prompt_BPD = tokens.each(prompt_PD * context.scale, like_BTD)
        rate = settings["dropout"]
        if not context.train or not rate:
            return prompt_BPD
        stays = jax.random.bernoulli(module.make_rng("dropout"), 1.0 - rate, prompt_BPD.shape)
        return jnp.where(stays, prompt_BPD / (1.0 - rate), jnp.zeros_like(prompt_BPD))

    def join(
        layer: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: nn.module.InterceptorContext,
    ) -> Any:
        if call.method_name != "__call__":
            return layer(*args, **kwargs)
        module, path = call.module, "/".join(call.module.path)
        if path == pool:
            return layer(tokens.without(args[0], at, length), *args[1:], **kwargs)
        if deep and tree.matches(model.targets["blocks"], path):
            others = tokens.without(args[0], at, length)
            return layer(tokens.inserted(others, prompts(module, tokens.hidden(others)), at), *args[1:], **kwargs)
        out = layer(*args, **kwargs)
        if path != first:
            return out
        x_BTD = tokens.hidden(out)
        # Deep prompts belong to their blocks; here is only room for them, so that every block finds the same slots.
        zero_BPD = jnp.zeros((len(x_BTD), length, x_BTD.shape[-1]), x_BTD.dtype)
        return tokens.inserted(out, zero_BPD if deep else prompts(module, x_BTD), at)

    return join


def bound(model: Model, width: int) -> float:
    """Half the width of the interval that prompts are drawn from.

    Args:
      model: the architecture.
      width: D of its tokens.

    Returns:
      √(6 / (numbers in a patch + D)), or √(6 / 2D) without patches.
    """
    patch = dict(model.settings).get("patch")
    inputs = model.input_shape[-1] * patch**2 if patch else width
    return math.sqrt(6.0 / (inputs + width))


# The paper's grid goes from 0.05 to 50 for batches of 256; these are from its middle.
DEFAULTS = Defaults((0.25, 1.0, 5.0), weight_decay=1e-3, optimizer="sgd")

VPT_SHALLOW = Method(
    name="vpt_shallow",
    paper="Jia et al., 2022",
    trains="tokens between the class token and the others, and the head",
    fields={"length": LENGTH, "dropout": _dropout(0.0)},
    defaults=DEFAULTS,
    rules=lambda settings, anatomy: ADAPTERS,
    interceptor=shallow,
    starts_elsewhere="every token attends to prompts that are drawn at random",
)
VPT_DEEP = Method(
    name="vpt_deep",
    paper="Jia et al., 2022",
    trains="tokens between the class token and the others, new ones in every block, and the head",
    fields={"length": LENGTH, "dropout": _dropout(0.1)},
    defaults=DEFAULTS,
    rules=lambda settings, anatomy: ADAPTERS,
    interceptor=deep,
    starts_elsewhere="every token attends to prompts that are drawn at random",
)

"""Prompt tuning: trainable vectors in front of the embedded tokens.

Shape suffixes: B examples, T tokens, P prompt tokens, D width, V words.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx import tree
from tlx.adapt import tokens
from tlx.adapt.anatomy import Anatomy
from tlx.adapt.hooks import Pass
from tlx.adapt.method import ADAPTERS, Defaults, Interceptor, Method, Settings
from tlx.errors import ConfigError
from tlx.fields import Field

FIELDS = {
    "length": Field(20, "number of prompt tokens", low=1, high=10000),
    "init": Field("uniform", "uniform: within ±0.5; vocabulary: vectors of words", choices=("uniform", "vocabulary")),
    "pool": Field(
        "class",
        "what pooling sees. class: the sequence without its prompts; prompt: the prompts as well, so that a model "
        "that pools its first token pools the first prompt",
        choices=("class", "prompt"),
    ),
}


def interceptor(settings: Settings, context: Pass) -> Interceptor:
    """Puts P [P, D] in front of the token sequence, where positions and the embedding's norm are still to come.

    Args:
      settings: `length`, `init`, `pool`.
      context: its `scale` is a factor on P; at 0 the prompts are zeros, which is not the base model.

    Returns:
      An interceptor; `prompt` [P, D] lives beside the module whose output is the token sequence.

    Raises:
      ConfigError: the model has no tokens, too few positions, or no table of words to begin with.

    Source: Lester et al. (2021), section 2 and 3.2. Words of the vocabulary are drawn from the whole table, not
      from the 5,000 most frequent ones. A head on the pooled features is trained as well, where the paper has the
      model write the label. On models that add positions inside their embedding, prompts have none.
    """
    model, length = context.model, settings["length"]
    first, pool = model.stages[0], model.stages[-2]
    sequence = tokens.role(model, "tokens")
    if settings["pool"] != "class":
        Anatomy(model).check_pooled()

    def join(
        layer: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: nn.module.InterceptorContext,
    ) -> Any:
        if call.method_name != "__call__":
            return layer(*args, **kwargs)
        path = "/".join(call.module.path)
        if path == pool and settings["pool"] == "class":
            args = (tokens.without(args[0], 0, length), *args[1:])
        out = layer(*args, **tokens.whole(kwargs))
        if tree.matches(sequence, path):
            tokens.check_room(model, length, out.shape[1])
            init = _init(settings, call.module, out.shape[-1])
            prompt_PD = tokens.leaf(call.module, "prompt", init) * context.scale
            out = tokens.inserted(out, tokens.each(prompt_PD, out), 0)
        if path == first and isinstance(out, dict):
            mask_BP = jnp.ones((len(out["mask"]), length), out["mask"].dtype)
            out = {**out, "mask": jnp.concatenate([mask_BP, out["mask"]], axis=1)}
        return out

    return join


def _init(settings: Settings, module: nn.Module, width: int) -> Callable[[jax.Array], jax.Array]:
    length = settings["length"]
    if settings["init"] == "uniform":
        return tokens.uniform(0.5, length, width)
    if not isinstance(module, nn.Embed):
        raise ConfigError("init", "expected 'uniform', as the model has no table of words, got 'vocabulary'")

    def words(key: jax.Array) -> jax.Array:
        table_VD = module.embedding
        # Each word once, unless there are more prompts than words.
        rows_P = jax.random.choice(key, len(table_VD), (length,), replace=length > len(table_VD))
        return table_VD[rows_P].astype(jnp.float32)

    return words


PROMPT = Method(
    name="prompt",
    paper="Lester et al., 2021",
    trains="vectors in front of the embedded tokens, and the head",
    fields=FIELDS,
    # Section 3: 0.3, constant. There by Adafactor, whose steps are about as long as Adam's.
    defaults=Defaults((3e-2, 1e-1, 3e-1), schedule="constant", warmup=0.0),
    rules=lambda settings, anatomy: ADAPTERS,
    interceptor=interceptor,
    starts_elsewhere="every token attends to prompts that are drawn at random",
)

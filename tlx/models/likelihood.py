"""Classification by likelihood: how probable a decoder finds each answer after a prompt.

Shape suffixes: B prompts, O answers, T tokens of a prompt, A tokens of an answer, J tokens of both, D width, V ids.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange, repeat

from tlx.errors import ConfigError
from tlx.models.decoder import check_length, words
from tlx.models.generate import Apply, check_writes, plain
from tlx.models.registry import Model


def scores(
    model: Model,
    variables: dict[str, Any],
    prompt_BT: jax.Array,
    answer_OA: jax.Array,
    *,
    apply: Apply | None = None,
    per_token: bool = False,
) -> jax.Array:
    """The log-probability of each answer given each prompt.

    Args:
      model: a decoder with the head `lm`.
      variables: its leaves, or an adapted model's.
      prompt_BT: token ids, padded at either end; at least one token each.
      answer_OA: token ids, padded at the end: [O, A] for the same answers to all prompts, or [B, O, A].
      apply: `Adapted.apply` of an adapted model; None for the plain one. Any method will do.
      per_token: whether to divide by the answer's number of tokens, so that long answers are not at a disadvantage.

    Returns:
      [B, O], in nats; the highest is the prediction.

    Raises:
      ConfigError: the model writes no text, or prompts and answers are longer than it has positions.

    Source: Brown et al. (2020), section 2.4, for both forms.
    """
    check_writes(model)
    if answer_OA.ndim == 2:
        answer_OA = repeat(answer_OA, "o a -> b o a", b=len(prompt_BT))
    if answer_OA.ndim != 3 or len(answer_OA) != len(prompt_BT):
        raise ConfigError("answers", f"expected as many as there are prompts, {len(prompt_BT)}, got {answer_OA.shape}")
    check_length(dict(model.settings)["positions"], prompt_BT.shape[1] + answer_OA.shape[2])
    return _scores(model, apply or plain(model), per_token, variables, prompt_BT, answer_OA)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _scores(
    model: Model, apply: Apply, per_token: bool, variables: dict[str, Any], prompt_BT: jax.Array, answer_BOA: jax.Array
) -> jax.Array:
    pad, options = dict(model.settings)["pad"], answer_BOA.shape[1]
    prompts = repeat(prompt_BT, "b t -> (b o) t", o=options)
    answers = rearrange(answer_BOA, "b o a -> (b o) a")
    joined_BJ, start_B1 = _joined(prompts, answers, pad)
    head = len(model.stages) - 1
    features_BJD, _ = apply(variables, joined_BJ, first=0, last=head)
    # The token before says how probable each of the answer's is; no other logits are computed.
    before_BA1 = rearrange(start_B1 - 1 + jnp.arange(answers.shape[1])[None], "b a -> b a 1")
    logits_BAV, _ = apply(variables, jnp.take_along_axis(features_BJD, before_BA1, axis=1), first=head, last=None)
    says_BAV = jax.nn.log_softmax(logits_BAV.astype(jnp.float32))
    said_BA = rearrange(jnp.take_along_axis(says_BAV, rearrange(answers, "b a -> b a 1"), axis=-1), "b a 1 -> b a")
    is_answer_BA = words(answers, pad)
    total_B = jnp.sum(jnp.where(is_answer_BA, said_BA, 0.0), axis=1)
    if per_token:
        total_B = total_B / jnp.maximum(jnp.sum(is_answer_BA, axis=1), 1).astype(total_B.dtype)
    return rearrange(total_B, "(b o) -> b o", o=options)


def _joined(prompt_BT: jax.Array, answer_BA: jax.Array, pad: int) -> tuple[jax.Array, jax.Array]:
    """Prompts without their padding, each with its answer right behind it [B, J], and where that begins [B, 1]."""
    is_word_BT = words(prompt_BT, pad)
    first_B1 = jnp.argmax(is_word_BT, axis=1, keepdims=True)
    start_B1 = jnp.sum(is_word_BT, axis=1, keepdims=True)
    width = prompt_BT.shape[1] + answer_BA.shape[1]
    both_BJ = jnp.concatenate([prompt_BT, answer_BA], axis=1)
    slot_1J = rearrange(jnp.arange(width), "j -> 1 j")
    from_BJ = jnp.where(slot_1J < start_B1, slot_1J + first_B1, slot_1J - start_B1 + prompt_BT.shape[1])
    joined_BJ = jnp.take_along_axis(both_BJ, jnp.minimum(from_BJ, width - 1), axis=1)
    return jnp.where(from_BJ < width, joined_BJ, pad), start_B1

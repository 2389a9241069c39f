"""Answers by likelihood: sums of log-probabilities, whatever the padding and the way the answers are given."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoders import decoder
from formulas import randomised
from tiny import adapt

from tlx.errors import ConfigError
from tlx.models.likelihood import scores
from tlx.models.registry import Model

PROMPT_BT = np.array([[3, 7, 0, 0], [0, 5, 6, 8], [9, 2, 4, 1]], np.int32)
PROMPTS = [[3, 7], [5, 6, 8], [9, 2, 4, 1]]
ANSWER_OA = np.array([[5, 0, 0], [6, 7, 8]], np.int32)
ANSWERS = [[5], [6, 7, 8]]


@functools.cache
def lm() -> tuple[Model, dict[str, Any]]:
    model = decoder("llama", head="lm")
    return model, randomised(model.module, model.example())


@functools.cache
def by_hand() -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of each answer after each prompt, and the numbers of their tokens."""
    model, leaves = lm()
    run = jax.jit(lambda v, x: jax.nn.log_softmax(model.module.apply(v, x)))
    total_BO = np.zeros((len(PROMPTS), len(ANSWERS)))
    for b, prompt in enumerate(PROMPTS):
        for o, answer in enumerate(ANSWERS):
            row = prompt + answer
            says_TV = np.asarray(run(leaves, np.array([row + [0] * (7 - len(row))], np.int32))[0])
            total_BO[b, o] = sum(says_TV[len(prompt) + i - 1, token] for i, token in enumerate(answer))
    return total_BO, np.array([len(answer) for answer in ANSWERS])


@pytest.mark.parametrize("per_token", [False, True])
def test_scores_are_sums_of_log_probabilities(per_token: bool) -> None:
    (model, leaves), (total_BO, count_O) = lm(), by_hand()
    found_BO = scores(model, leaves, jnp.asarray(PROMPT_BT), jnp.asarray(ANSWER_OA), per_token=per_token)
    np.testing.assert_allclose(found_BO, total_BO / count_O if per_token else total_BO, atol=1e-4)


def test_each_prompt_may_have_answers_of_its_own() -> None:
    (model, leaves), (total_BO, _) = lm(), by_hand()
    # The other way round for the second prompt.
    answer_BOA = np.stack([ANSWER_OA, ANSWER_OA[::-1], ANSWER_OA])
    found_BO = scores(model, leaves, jnp.asarray(PROMPT_BT), jnp.asarray(answer_BOA))
    np.testing.assert_allclose(found_BO, np.stack([total_BO[0], total_BO[1, ::-1], total_BO[2]]), atol=1e-4)


def test_probabilities_of_all_single_tokens_sum_to_one() -> None:
    model, leaves = lm()
    # The padding's id cannot be an answer.
    found_BO = scores(model, leaves, jnp.asarray(PROMPT_BT), jnp.arange(1, 50, dtype=jnp.int32)[:, None])
    total_B = np.exp(np.asarray(found_BO, np.float64)).sum(axis=1)
    assert np.all(total_B < 1) and np.all(total_B > 0.5)


def test_soft_prompts_are_read_too() -> None:
    """A method that puts vectors in front is the same as a longer prompt of these words."""
    model, leaves = lm()
    adapted = adapt("prompt", model)
    words = np.asarray(leaves["params"]["embed"]["word"]["embedding"])[[11, 12, 13]]
    whole = {**leaves, "adapters": {"embed": {"word": {"prompt": jnp.asarray(words)}}}}
    longer_BT = np.array([[11, 12, 13, 3, 7], [11, 12, 13, 5, 6]], np.int32)
    found_BO = scores(model, whole, jnp.asarray(longer_BT[:, 3:]), jnp.asarray(ANSWER_OA), apply=adapted.apply)
    want_BO = scores(model, leaves, jnp.asarray(longer_BT), jnp.asarray(ANSWER_OA))
    np.testing.assert_allclose(found_BO, want_BO, atol=1e-4)


def test_what_cannot_be_scored_is_refused() -> None:
    (model, leaves), prompt_BT, answer_OA = lm(), jnp.asarray(PROMPT_BT), jnp.asarray(ANSWER_OA)
    with pytest.raises(ConfigError, match="^head: expected 'lm', without which 'decoder' writes no text$"):
        scores(decoder("llama"), leaves, prompt_BT, answer_OA)
    with pytest.raises(ConfigError, match="^positions: 16 positions do not reach the end of sequences of 19 tokens$"):
        scores(model, leaves, jnp.tile(prompt_BT, (1, 4)), answer_OA)
    with pytest.raises(ConfigError, match=r"^answers: expected as many as there are prompts, 3, got \(2, 2, 3\)$"):
        scores(model, leaves, prompt_BT, jnp.stack([answer_OA, answer_OA]))

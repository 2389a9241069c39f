"""Generation: the cache changes no number, greedy texts are step-by-step ones, and what cannot be done is said."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoders import VOCAB, decoder
from formulas import randomised
from tiny import adapt, variables

from tlx import tree
from tlx.adapt import merging
from tlx.adapt.adapted import Adapted
from tlx.errors import ConfigError
from tlx.interop.released import resized
from tlx.models.generate import begun, generate, plain, read
from tlx.models.registry import Model

NEW = 5
# Padding at the end, at the start, and none.
PROMPT_BT = np.array([[3, 7, 0, 0], [0, 5, 6, 8], [9, 2, 4, 1]], np.int32)
ROWS = [[3, 7], [5, 6, 8], [9, 2, 4, 1]]


@functools.cache
def lm(family: str) -> tuple[Model, dict[str, Any]]:
    """A model and random leaves; the padding's vector is zero, so that no text has it for its likeliest token."""
    model = decoder(family, head="lm")
    found = randomised(model.module, model.example())
    word = found["params"]["embed"]["word"]
    word["embedding"] = word["embedding"].at[0].set(0.0)
    return model, found


@functools.cache
def adapted_lm(method: str) -> tuple[Adapted, dict[str, Any]]:
    """An adapted model, every adapter off its start."""
    model, found = lm("gpt2")
    adapted = adapt(method, model)
    rng = np.random.default_rng(4)
    sides = tree.flatten(adapted.init_adapters(found, 1)["adapters"])
    noisy = {path: leaf + jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32) for path, leaf in sides.items()}
    return adapted, {**found, "adapters": tree.unflatten(noisy)}


def aligned(rows: list[list[int]], width: int) -> np.ndarray:
    """Texts with their padding at the start."""
    return np.array([[0] * (width - len(row)) + row for row in rows], np.int32)


def assert_cached_logits(model: Model, apply: Any, leaves: dict[str, Any]) -> None:
    """Whether logits are the same whether a text is read at once, token by token, or in two pieces."""
    more_BN = np.random.default_rng(1).integers(1, VOCAB, (3, NEW)).astype(np.int32)
    whole_BT = np.concatenate([aligned(ROWS, 4), more_BN], axis=1)
    want, _ = jax.jit(lambda v, x: apply(v, x, first=0, last=None))(leaves, whole_BT)
    flow = begun(model, jnp.asarray(PROMPT_BT), NEW)
    assert np.array_equal(flow["id"], aligned(ROWS, 4))
    step = jax.jit(lambda v, flow: read(model, apply, v, flow))
    logits_BTV, kept = step(leaves, flow)
    found, cache = [logits_BTV], kept

    def ahead(first: int, last: int) -> dict[str, Any]:
        place_BN = flow["position"][:, -1:] + 1 + jnp.arange(first, last)[None]
        return {
            "id": more_BN[:, first:last],
            "mask": flow["mask"],
            "position": place_BN.astype(jnp.int32),
            "at": jnp.int32(4 + first),
        }

    for i in range(NEW):
        logits_B1V, cache = step({**leaves, "cache": cache}, ahead(i, i + 1))
        found.append(logits_B1V)
    words_BT = np.concatenate([aligned(ROWS, 4), np.ones_like(more_BN)], axis=1) > 0
    np.testing.assert_allclose(np.concatenate(found, axis=1)[words_BT], np.asarray(want)[words_BT], atol=1e-4)
    at_once, _ = step({**leaves, "cache": kept}, ahead(0, NEW))
    np.testing.assert_allclose(at_once, want[:, 4:], atol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama", "mixed"])
def test_cached_logits_are_those_without_a_cache(family: str) -> None:
    model, leaves = lm(family)
    assert_cached_logits(model, plain(model), leaves)


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["lora", "ptuning_v2", "houlsby"])
def test_cached_logits_of_adapted_models(method: str) -> None:
    adapted, leaves = adapted_lm(method)
    assert_cached_logits(adapted.model, adapted.apply, leaves)


@functools.cache
def step_by_step(family: str) -> np.ndarray:
    """The likeliest next token, time and again, of the model without a cache."""
    model, leaves = lm(family)
    run = jax.jit(model.module.apply)
    rows, width = [list(row) for row in ROWS], 4 + NEW
    for _ in range(NEW):
        id_BT = np.array([row + [0] * (width - len(row)) for row in rows], np.int32)
        logits_BTV = run(leaves, id_BT)
        for b, row in enumerate(rows):
            row.append(int(np.argmax(logits_BTV[b, len(row) - 1])))
    written = np.array([row[-NEW:] for row in rows])
    assert np.all(written)
    return written


@pytest.mark.parametrize("family", ["gpt2", "mixed"])
def test_greedy_texts_are_those_written_step_by_step(family: str) -> None:
    model, leaves = lm(family)
    texts = generate(model, leaves, jnp.asarray(PROMPT_BT), NEW)
    assert np.array_equal(texts.id_BN, step_by_step(family)) and np.array_equal(texts.length_B, [NEW] * 3)


def test_a_text_ends_at_its_end() -> None:
    model, leaves = lm("gpt2")
    endless = step_by_step("gpt2")
    ends = (int(endless[0, 1]), int(endless[1, 3]))
    texts = generate(resized(model, eos=ends), leaves, jnp.asarray(PROMPT_BT), NEW)
    for b, row in enumerate(endless):
        hits = np.flatnonzero(np.isin(row, ends))
        length = hits[0] + 1 if len(hits) else NEW
        assert texts.length_B[b] == length
        assert np.array_equal(texts.id_BN[b], np.where(np.arange(NEW) < length, row, 0))


def test_one_new_token() -> None:
    model, leaves = lm("gpt2")
    texts = generate(model, leaves, jnp.asarray(PROMPT_BT), 1)
    assert np.array_equal(texts.id_BN, step_by_step("gpt2")[:, :1]) and np.array_equal(texts.length_B, [1, 1, 1])


def test_drawn_texts_follow_from_their_key() -> None:
    model, leaves = lm("gpt2")
    draw = functools.partial(generate, model, leaves, jnp.asarray(PROMPT_BT), NEW)
    one, again, other = (draw(key=jax.random.key(seed), temperature=2.0).id_BN for seed in (0, 0, 1))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    cold = draw(key=jax.random.key(0), temperature=1e-4).id_BN
    assert np.array_equal(cold, step_by_step("gpt2"))


def test_tokens_are_drawn_as_often_as_they_are_probable() -> None:
    model, leaves = lm("gpt2")
    texts = generate(model, leaves, jnp.tile(jnp.array([[3, 7]]), (2000, 1)), 1, key=jax.random.key(5), temperature=3.0)
    logits_V = model.module.apply(leaves, np.array([[3, 7]], np.int32))[0, 1]
    probable_V = np.asarray(jax.nn.softmax(logits_V / 3.0), np.float64)
    share_V = np.bincount(np.asarray(texts.id_BN)[:, 0], minlength=VOCAB) / 2000
    # Within five standard errors.
    assert np.all(np.abs(share_V - probable_V) < 5 * np.sqrt(probable_V * (1 - probable_V) / 2000) + 1e-3)


def test_a_merged_model_writes_what_the_adapted_one_does() -> None:
    adapted, leaves = adapted_lm("lora")
    merged = merging.merge(adapted, leaves)
    prompt_BT = jnp.asarray(PROMPT_BT)
    one = generate(adapted.model, leaves, prompt_BT, NEW, apply=adapted.apply)
    other = generate(adapted.model, merged.variables, prompt_BT, NEW)
    assert np.array_equal(one.id_BN, other.id_BN)
    assert not np.array_equal(one.id_BN, step_by_step("gpt2"))


@pytest.mark.parametrize("method", ["prompt", "vpt_shallow"])
def test_a_method_that_puts_tokens_among_the_text_s_is_refused(method: str) -> None:
    adapted = adapt(method, lm("gpt2")[0])
    message = "^name: the method puts tokens among those of the text, which cannot be done with a cache"
    with pytest.raises(ConfigError, match=message):
        generate(adapted.model, variables(adapted), jnp.asarray(PROMPT_BT), 2, apply=adapted.apply)


def test_what_cannot_be_written_is_refused() -> None:
    (model, leaves), prompt_BT = lm("gpt2"), jnp.asarray(PROMPT_BT)
    with pytest.raises(ConfigError, match="^positions: 16 positions do not reach the end of sequences of 17 tokens"):
        generate(model, leaves, prompt_BT, 13)
    with pytest.raises(ConfigError, match="^new: expected at least 1 token, got 0"):
        generate(model, leaves, prompt_BT, 0)
    with pytest.raises(ConfigError, match="^head: expected 'lm', without which 'decoder' writes no text"):
        generate(decoder(), leaves, prompt_BT, 2)
    # Three prefix tokens take positions that are only needed at the end.
    adapted, whole = adapted_lm("ptuning_v2")
    with pytest.raises(ConfigError, match="^length: expected at most 2 for 16 positions and 14 tokens, got 3"):
        generate(adapted.model, whole, prompt_BT, 10, apply=adapted.apply)

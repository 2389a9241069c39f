"""Text from a decoder, one token after another, with the keys and values of earlier tokens kept.

A text's tokens are put at the end of its row, so that all rows go on in the same slot: what is then between two tokens
in slots is also what is between them in positions. Everything runs in one compiled program.

Shape suffixes: B texts, T tokens of the prompts, N new tokens, S slots for both, V token ids.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

from tlx.errors import ConfigError
from tlx.models.decoder import LM, Flow, check_length, place, words
from tlx.models.registry import Model

# `(variables, x, first=, last=)` to what flows out of the stages and what they changed, as `Adapted.apply`.
Apply = Callable[..., tuple[Any, dict[str, Any]]]


class Texts(NamedTuple):
    """What was written.

    Args:
      id_BN: new tokens, padding after the one that ends a text.
      length_B: how many they are, that one included.
    """

    id_BN: jax.Array
    length_B: jax.Array


@functools.cache
def plain(model: Model) -> Apply:
    """The stages of a model that no method adapts; one function for equal models, so that programs are shared."""

    def apply(variables: dict[str, Any], x: Any, *, first: int = 0, last: int | None = None) -> tuple[Any, Any]:
        if "cache" not in variables:
            return model.module.apply(variables, x, first, last), {}
        out, changed = model.module.apply(variables, x, first, last, mutable=["cache"])
        return out, dict(changed)

    return apply


def generate(
    model: Model,
    variables: dict[str, Any],
    prompt_BT: jax.Array,
    new: int,
    *,
    apply: Apply | None = None,
    key: jax.Array | None = None,
    temperature: jax.Array | float = 1.0,
) -> Texts:
    """Continue texts until each has ended or `new` tokens are written.

    Args:
      model: a decoder with the head `lm`; its settings `pad` and `eos` say what is padding and what ends a text.
      variables: its leaves, or an adapted model's.
      prompt_BT: token ids, padded at either end; at least one token each.
      new: number of tokens to write at most.
      apply: `Adapted.apply` of an adapted model; None for the plain one. Methods that put tokens among those of the
        text, or run a network of their own beside the model, cannot be used with a cache.
      key: randomness; None to take the likeliest token each time.
      temperature: what logits are divided by before a token is drawn; above 0, may be traced.

    Returns:
      The new tokens.

    Raises:
      ConfigError: the model writes no text, the texts become longer than it has positions, or the method is none that
        can be used.
    """
    check_writes(model)
    if new < 1:
        raise ConfigError("new", f"expected at least 1 token, got {new}")
    apply = apply or plain(model)
    longest = jax.ShapeDtypeStruct((len(prompt_BT), prompt_BT.shape[1] + new), jnp.int32)
    check_length(dict(model.settings)["positions"], longest.shape[1])
    # A method may need positions of its own; it says so when it sees the whole of what will be.
    jax.eval_shape(lambda v, x: apply(v, x, first=0, last=1), variables, longest)
    return _write(model, apply, new, key is None, variables, prompt_BT, key, jnp.float32(temperature))


def check_writes(model: Model) -> None:
    """Whether a model says what the next token may be.

    Raises:
      ConfigError: of the field `head`.
    """
    if dict(model.settings).get("head") != LM:
        raise ConfigError("head", f"expected {LM!r}, without which {model.name!r} writes no text")


def begun(model: Model, prompt_BT: jax.Array, new: int) -> Flow:
    """What the first call of `read` takes: the prompts moved to the end of T slots, with room for `new` tokens.

    Args:
      model: a decoder.
      prompt_BT: token ids, padded at either end.
      new: number of slots behind them.
    """
    pad = dict(model.settings)["pad"]
    is_word_BT, length = words(prompt_BT, pad), prompt_BT.shape[1]
    after_B1 = jnp.argmax(jnp.flip(is_word_BT, axis=1), axis=1, keepdims=True)
    from_BT = rearrange(jnp.arange(length), "t -> 1 t") - after_B1
    id_BT = jnp.take_along_axis(prompt_BT, jnp.maximum(from_BT, 0), axis=1)
    mask_BT = jnp.take_along_axis(is_word_BT, jnp.maximum(from_BT, 0), axis=1) & (from_BT >= 0)
    mask_BS = jnp.pad(mask_BT, ((0, 0), (0, new)), constant_values=True)
    id_BT = jnp.where(mask_BT, id_BT, pad)
    return {"id": id_BT, "mask": mask_BS, "position": place(mask_BT), "at": jnp.zeros((), jnp.int32)}


def read(
    model: Model, apply: Apply, variables: dict[str, Any], flow: Flow, *, last_only: bool = False
) -> tuple[jax.Array, dict[str, Any]]:
    """The logits after some more tokens of each text.

    Args:
      model: a decoder with the head `lm`.
      apply: its stages.
      variables: its leaves; from the second call on also the `cache` of the call before.
      flow: "id" [B, T] of the tokens, their "position" [B, T], "at", the slot of the first of them, and "mask" [B, S]
        of all slots, true where a token is or will be.
      last_only: whether to compute the logits after the last token alone.

    Returns:
      Logits [B, T, V] or [B, 1, V], and the `cache`.

    Raises:
      ConfigError: a method put tokens among them.
    """
    pool = len(model.stages) - 2
    out, changed = apply({"cache": {}, **variables}, flow, first=0, last=pool)
    if not isinstance(out, dict) or out["hidden"].shape[1] != flow["id"].shape[1]:
        raise ConfigError("name", "the method puts tokens among those of the text, which cannot be done with a cache")
    if last_only:
        out = {**out, "hidden": out["hidden"][:, -1:]}
    rest = {name: leaves for name, leaves in variables.items() if name != "cache"}
    logits_BTV, _ = apply(rest, out, first=pool, last=None)
    return logits_BTV, changed["cache"]


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _write(
    model: Model,
    apply: Apply,
    new: int,
    greedy: bool,
    variables: dict[str, Any],
    prompt_BT: jax.Array,
    key: jax.Array | None,
    temperature: jax.Array,
) -> Texts:
    settings, flow = dict(model.settings), begun(model, prompt_BT, new)
    pad, slots = settings["pad"], prompt_BT.shape[1]

    def pick(logits_B1V: jax.Array, step: Any, done_B: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The next token of each text, and whether it is over after it."""
        logits_BV = rearrange(logits_B1V, "b 1 v -> b v").astype(jnp.float32)
        if key is None:
            token_B = jnp.argmax(logits_BV, axis=-1)
        else:
            token_B = jax.random.categorical(jax.random.fold_in(key, step), logits_BV / temperature)
        token_B = jnp.where(done_B, pad, token_B).astype(jnp.int32)
        ends = [token_B == end for end in settings["eos"]]
        return token_B, functools.reduce(jnp.logical_or, ends, done_B)

    def more(state: Any) -> jax.Array:
        step, _, _, done_B, _ = state
        return (step < new) & ~jnp.all(done_B)

    def add(state: Any) -> Any:
        step, id_BN, length_B, done_B, cache = state
        token_B1 = jax.lax.dynamic_slice_in_dim(id_BN, step - 1, 1, axis=1)
        place_B1 = flow["position"][:, -1:] + step
        here = {"id": token_B1, "mask": flow["mask"], "position": place_B1, "at": slots + step - 1}
        logits_B1V, cache = read(model, apply, {**variables, "cache": cache}, here)
        token_B, over_B = pick(logits_B1V, step, done_B)
        id_BN = jax.lax.dynamic_update_slice_in_dim(id_BN, rearrange(token_B, "b -> b 1"), step, axis=1)
        return step + 1, id_BN, length_B + (~done_B).astype(jnp.int32), over_B, cache

    logits_B1V, cache = read(model, apply, variables, flow, last_only=True)
    token_B, done_B = pick(logits_B1V, 0, jnp.zeros(len(prompt_BT), jnp.bool_))
    id_BN = jnp.pad(rearrange(token_B, "b -> b 1"), ((0, 0), (0, new - 1)), constant_values=pad)
    state = (jnp.ones((), jnp.int32), id_BN, jnp.ones(len(prompt_BT), jnp.int32), done_B, cache)
    _, id_BN, length_B, _, _ = jax.lax.while_loop(more, add, state)
    return Texts(id_BN, length_B)

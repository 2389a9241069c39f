"""Head2Toe: a linear head on the features of all stages, most of which it does without in the end.

Shape suffixes: B examples, T positions, C channels, P pooled positions, Q pooled channels, F features, L labels.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from einops import rearrange

from tlx import tree
from tlx.adapt import tokens
from tlx.adapt.anatomy import Anatomy, Base
from tlx.adapt.hooks import Around, Moment, Pass, Phase
from tlx.adapt.method import Defaults, Method, Settings, Wrapper
from tlx.fields import Field

FIELDS = {
    "size": Field(512, "most features taken from a stage", low=1, high=1_000_000),
    "keep": Field(0.1, "share of the features that the final head uses", low=1e-6, high=1.0),
    "lasso": Field(1e-3, "factor on the sum of the norms of the features' weights, until features are chosen", low=0.0),
    "select": Field(0.5, "share of the steps after which features are chosen", low=0.0, high=0.99),
}
KERNEL = "adapters/head/head2toe/kernel"


def grow(settings: Settings, base: Base, key: jax.Array) -> dict[str, Any]:
    """The head on all features: `adapters/head/head2toe`, `kernel` [F, L] and `bias` [L].

    Args:
      settings: `size`.
      base: the tree that is adapted.
      key: randomness of the kernel, which is drawn as that of the models' own heads.

    Returns:
      The leaves.

    Raises:
      ConfigError: the model makes more than one prediction an example.
    """
    base.anatomy.check_pooled()
    shape = (sum(_sizes(settings, base.anatomy)), base.anatomy.model.num_classes)
    kernel_FL = 0.02 * jax.random.normal(key, shape, jnp.float32)
    return {"adapters": {"head": {"head2toe": {"kernel": kernel_FL, "bias": jnp.zeros(shape[1])}}}}


def around(settings: Settings, context: Pass) -> Around:
    """Collects the features of every stage below the head and hands them to the new head.

    Args:
      settings: `size`.
      context: its `scale` s blends the logits, (1 - s)·old head + s·new head, so that 0 is the base model.

    Returns:
      A wrapper of stages; between them flows what the model hands on, as `base`, and the `features` [B, F] so far.

    Source: Evci et al. (2022), sections 3.1 and 3.2. A stage gives its positions, averaged over equal stretches so
      that no more than `size` numbers are left, each stage's divided by their L2 norm. Stages that have more
      channels than that are averaged over neighbouring channels as well. Padded sequences are averaged over all
      tokens, whatever the size. The paper takes the layers inside of a block, too.
    """
    stages = context.model.stages
    head = len(stages) - 1

    def collecting(k: int, stage: Callable[[Any], Any], x: Any) -> Any:
        if k == head:
            new = context.adapters["head"]["head2toe"]
            new_BL = x["features"] @ new["kernel"] + rearrange(new["bias"], "l -> 1 l")
            old_BL = stage(x["base"])
            share = jnp.asarray(context.scale, old_BL.dtype)
            return (1.0 - share) * old_BL + share * new_BL.astype(old_BL.dtype)
        out = stage(x if k == 0 else x["base"])
        found_BF = features(out, settings["size"])
        return {"base": out, "features": found_BF if k == 0 else jnp.concatenate([x["features"], found_BF], axis=1)}

    return collecting


def features(flow: Any, size: int) -> jax.Array:
    """At most `size` numbers that describe what a stage hands on, of L2 norm 1.

    Args:
      flow: [B, ..., C], or a dict of "hidden" [B, T, C] and "mask" [B, T].
      size: the most there may be.

    Returns:
      [B, P·Q] in float32.
    """
    x_BTC = rearrange(tokens.mean(flow), "b c -> b 1 c") if isinstance(flow, dict) else _in_a_row(flow)
    pieces = _pieces(x_BTC.shape[1:], size)
    over_T, over_C = (_means(length, count) for length, count in zip(x_BTC.shape[1:], pieces, strict=True))
    x_BPQ = jnp.einsum("btc,tp,cq->bpq", x_BTC.astype(jnp.float32), over_T, over_C)
    x_BF = rearrange(x_BPQ, "b p q -> b (p q)")
    return x_BF / jnp.maximum(jnp.linalg.norm(x_BF, axis=1, keepdims=True), 1e-12)


def _in_a_row(x: jax.Array) -> jax.Array:
    return rearrange(x, "b c -> b 1 c") if x.ndim == 2 else rearrange(x, "b ... c -> b (...) c")


def _pieces(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    positions, channels = shape
    return max(1, min(positions, size // channels)), min(channels, size)


def _means(length: int, pieces: int) -> jax.Array:
    """[length, pieces]: which of the neighbours each piece is the mean of, all of almost equal number."""
    member = np.arange(length)[:, None] * pieces // length == np.arange(pieces)
    return jnp.asarray(member / member.sum(axis=0), jnp.float32)


def _sizes(settings: Settings, anatomy: Anatomy) -> list[int]:
    found = [jax.eval_shape(lambda x: features(x, settings["size"]), out) for out in anatomy.outputs[:-1]]
    return [shape.shape[1] for shape in found]


def penalty(settings: Settings, moment: Moment) -> jax.Array:
    """λ Σ_i ‖w_i‖₂ over the features' rows of the kernel, until features are chosen.

    Args:
      settings: `lasso` λ.
      moment: the step.

    Returns:
      A scalar; 0 from the choice on, of which rows that are exactly zero are the sign.

    Source: Evci et al. (2022), equation 3.
    """
    kernel_FL = moment.variables["adapters"]["head"]["head2toe"]["kernel"]
    square_F = jnp.sum(jnp.square(kernel_FL), axis=1)
    chosen = jnp.any(square_F == 0)
    # The root of zero has no finite slope, so it is never taken.
    norm_F = jnp.sqrt(jnp.where(square_F == 0, 1.0, square_F))
    return settings["lasso"] * jnp.where(chosen, 0.0, jnp.sum(norm_F))


class Selection(NamedTuple):
    """State of the optimizer: the inner one's, the steps so far, and which features are in use [F]."""

    inner: Any
    steps: jax.Array
    kept: jax.Array


def wrap(settings: Settings, steps: int) -> Wrapper:
    """Chooses features after `select` of the steps, and holds the weights of all others at exactly zero from then on.

    Args:
      settings: `keep`, `select`.
      steps: length of the run.

    Returns:
      A wrapper of the optimizer.

    Source: Evci et al. (2022), section 3.2: the features with the greatest ‖w_i‖₂ are kept and the head is trained
      once more. Here it goes on from the weights it has, without the penalty and with the schedule started anew.
      The paper chooses λ, `keep` and `size` by cross-validation.
    """
    at = round(settings["select"] * steps)

    def wrapped(inner: optax.GradientTransformation) -> optax.GradientTransformation:
        def init(params: Any) -> Selection:
            kernel_FL = tree.flatten(params)[KERNEL]
            return Selection(inner.init(params), jnp.zeros((), jnp.int32), jnp.ones(len(kernel_FL), jnp.bool_))

        def update(grads: Any, state: Selection, params: Any = None) -> tuple[Any, Selection]:
            updates, inner_state = inner.update(grads, state.inner, params)
            kernel_FL = tree.flatten(params)[KERNEL]
            kept_F = jnp.where(state.steps == at, strongest(kernel_FL, settings["keep"]), state.kept)
            moves = tree.flatten(updates)
            moves[KERNEL] = jnp.where(rearrange(kept_F, "f -> f 1"), moves[KERNEL], -kernel_FL)
            return tree.unflatten(moves), Selection(inner_state, state.steps + 1, kept_F)

        return optax.GradientTransformation(init, update)

    return wrapped


def strongest(kernel_FL: jax.Array, keep: float) -> jax.Array:
    """Which features have the greatest weights.

    Args:
      kernel_FL: weights of a linear head.
      keep: share of the features; at least one.

    Returns:
      [F], true for `round(keep · F)` of them; of equal ones the first.
    """
    square_F = jnp.sum(jnp.square(kernel_FL), axis=1)
    _, best = jax.lax.top_k(square_F, max(1, round(keep * len(square_F))))
    return jnp.zeros(len(square_F), jnp.bool_).at[best].set(True)


HEAD2TOE = Method(
    name="head2toe",
    paper="Evci et al., 2022",
    trains="a linear head on the features of all stages, in the end on those with the greatest weights",
    fields=FIELDS,
    defaults=Defaults((1e-3, 1e-2, 1e-1)),
    rules=lambda settings, anatomy: (("adapters/.*", "head"), ("params/.*", "frozen")),
    grow=grow,
    around=around,
    penalty=penalty,
    phases=lambda settings, anatomy: (Phase(0.0, (".*",)), Phase(settings["select"], (".*",), restart=True)),
    wrap=wrap,
    starts_elsewhere="the new head reads all stages",
    alone="replaces the head by one over the features of all stages",
)

"""AdaLoRA: low-rank updates P Λ Q whose ranks a shrinking budget shares out among the layers.

A triplet is one rank of one layer: a column of P, an entry of Λ, a row of Q. As leaves they are `lora_a` [I, R],
`lora_e` [R] and `lora_b` [R, O], each with a leading axis where layers are scanned.

Shape suffixes: I inputs, O outputs, R rank, N triplets of all layers.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from einops import pack, unpack

from tlx import tree
from tlx.adapt.anatomy import Anatomy
from tlx.adapt.hooks import Moment, Pass
from tlx.adapt.lora import by_rank
from tlx.adapt.method import ADAPTERS, Defaults, Interceptor, Method, Settings, Wrapper
from tlx.adapt.sidepath import TARGET, Site, beside, on_kernels, target_of
from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.partition import Rules

FIELDS = {
    "rank": Field(12, "rank r of each layer at the start", low=1, high=1024),
    "target_rank": Field(8, "mean rank of a layer at the end", low=1, high=1024),
    "alpha": Field(8.0, "the update is scaled by alpha / rank", low=0.0, high=1e4),
    "orthogonality": Field(0.5, "weight γ of the penalty that keeps P and Q orthogonal", low=0.0, high=1e3),
    "tinit": Field(0.1, "share of the steps before the budget shrinks", low=0.0, high=1.0),
    "tfinal": Field(0.3, "share of the steps at the end, with ranks that stay", low=0.0, high=1.0),
    "every": Field(10, "steps from one pruning to the next", low=1, high=100_000),
    "beta1": Field(0.85, "share of the past in the running mean of the sensitivity", low=0.0, high=0.9999),
    "beta2": Field(0.85, "share of the past in the running mean of its uncertainty", low=0.0, high=0.9999),
    "target": TARGET,
}


def interceptor(settings: Settings, context: Pass) -> Interceptor:
    """Adds `scale · (α/r) · ((x P) Λ) Q` to the output of every dense layer whose path the target matches.

    Args:
      settings: `rank`, `alpha`, `target`.
      context: its `scale` is a factor on the whole update.

    Returns:
      An interceptor for `nn.intercept_methods`; P and Q from N(0, 0.02²), Λ zero, so that training starts at the
      frozen model's output.

    Raises:
      ConfigError: `rank` exceeds the smaller side of a target's kernel.

    Source: Zhang et al. (2023), equation 3. The factor is α/r of the first rank r throughout, also when triplets
      are gone.
    """
    rank, factor = settings["rank"], by_rank(settings)

    def add(site: Site) -> jax.Array:
        site.check_rank(rank)
        (inputs,), (outputs,) = site.shapes
        a_IR = site.leaf("lora_a", lambda: 0.02 * jax.random.normal(site.key(), (inputs, rank), jnp.float32))
        b_RO = site.leaf("lora_b", lambda: 0.02 * jax.random.normal(site.key(), (rank, outputs), jnp.float32))
        e_R = site.leaf("lora_e", lambda: jnp.zeros((rank,), jnp.float32))
        return site.plus(factor, site.product(_scaled(a_IR, e_R), b_RO))

    return beside(context, target_of(settings, context.model), add, layers=(nn.Dense,))


def penalty(settings: Settings, moment: Moment) -> jax.Array:
    """γ times the sum over all layers of ‖PᵀP - I‖² + ‖QQᵀ - I‖², Frobenius norms.

    Args:
      settings: `orthogonality`.
      moment: its `variables` are used.

    Returns:
      A float32 scalar.

    Source: Zhang et al. (2023), equation 4. The authors' code and PEFT take the mean of the norms, not squared.
    """
    total = jnp.zeros((), jnp.float32)
    products = {"lora_a": "...ir,...is->...rs", "lora_b": "...ro,...so->...rs"}
    for path, leaf in _triplets(moment.variables["adapters"]).items():
        if product := products.get(path.rpartition("/")[2]):
            gram = jnp.einsum(product, leaf, leaf)
            total += jnp.sum(jnp.square(gram - jnp.broadcast_to(jnp.eye(gram.shape[-1]), gram.shape)))
    return settings["orthogonality"] * total


def budget(settings: Settings, steps: int, layers: int, step: jax.Array | int) -> jax.Array:
    """How many triplets may be other than zero after a step.

    Args:
      settings: `rank`, `target_rank`, `tinit`, `tfinal`.
      steps: length of the run.
      layers: number of adapted layers.
      step: number of updates done.

    Returns:
      b(t), an int32 scalar: `layers · rank` up to step tinit, then down with the cube of the steps left to
      `layers · target_rank`, rounded down, at step `steps - tfinal` and after.

    Source: Zhang et al. (2023), equation 9. There the cube is of 1 - (t - tinit - tfinal) / (T - tinit - tfinal), with
      which b(t) is neither continuous nor reaches its target; as in the authors' code it is 1 - (t - tinit) / (...).
    """
    first, last = _span(settings, steps)
    least, more = layers * settings["target_rank"], layers * (settings["rank"] - settings["target_rank"])
    left = jnp.clip((last - jnp.asarray(step, jnp.float32)) / max(last - first, 1), 0.0, 1.0)
    return least + jnp.floor(more * left**3).astype(jnp.int32)


def _span(settings: Settings, steps: int) -> tuple[int, int]:
    """The steps between which the budget shrinks."""
    return round(settings["tinit"] * steps), steps - round(settings["tfinal"] * steps)


class Pruning(NamedTuple):
    """State of an optimizer whose triplets are pruned.

    Args:
      inner: the optimizer's own.
      done: number of updates, int32 scalar.
      sensitivity: running mean of |w · gradient| of each entry, shaped like the triplets' leaves.
      uncertainty: running mean of how far that is from its mean.
      keep: which triplets the last pruning left, shaped like the `lora_e` leaves.
    """

    inner: Any
    done: jax.Array
    sensitivity: dict[str, Any]
    uncertainty: dict[str, Any]
    keep: dict[str, Any]


def wrap(settings: Settings, steps: int) -> Wrapper:
    """Sets the least important triplets' Λ to zero after each update that ends on a pruning step.

    Args:
      settings: `rank`, `target_rank`, `tinit`, `tfinal`, `every`, `beta1`, `beta2`.
      steps: length of the run.

    Returns:
      A wrapper of an optax transformation; its updates are final: added to the leaves they give exact zeros. Pruning
      happens at every `every`-th step between tinit and `steps - tfinal`, where what was pruned may grow again until
      the next, and at step `steps - tfinal`, from which on what is gone stays gone. Exactly `budget` triplets are
      left, of equally important ones those that come first by path and place.

    Source: Zhang et al. (2023), equations 8 and 10 to 12 and algorithm 1. The importance of a triplet is its Λ's plus
      the means of its column's and row's; w is taken before the update, where the authors' code takes it after.
    """
    first, last = _span(settings, steps)

    def wrapper(inner: optax.GradientTransformation) -> optax.GradientTransformation:
        def init(params: Any) -> Pruning:
            parts = _triplets(params)
            zeros = {path: jnp.zeros_like(leaf) for path, leaf in parts.items()}
            keep = {path: jnp.ones(leaf.shape, jnp.bool_) for path, leaf in parts.items() if path.endswith("/lora_e")}
            count = jnp.zeros((), jnp.int32)
            means = tree.unflatten(zeros)
            return Pruning(inner.init(params), count, means, jax.tree.map(jnp.copy, means), tree.unflatten(keep))

        def update(grads: Any, state: Pruning, params: Any = None) -> tuple[Any, Pruning]:
            updates, inner_state = inner.update(grads, state.inner, params)
            count, leaves, slopes = state.done + 1, _triplets(params), _triplets(grads)
            sensitivity, uncertainty = _observed(settings, state, leaves, slopes)
            keep = tree.flatten(state.keep)
            if keep:
                layers = sum(leaf.size for leaf in keep.values()) // settings["rank"]
                left = _most_important(sensitivity, uncertainty, budget(settings, steps, layers, count))
                prunes = ((first < count) & (count < last) & (count % settings["every"] == 0)) | (count == last)
                keep = {path: jnp.where(prunes, left[path], keep[path]) for path in keep}
                moves = tree.flatten(updates)
                for path, stays in keep.items():
                    gone = (prunes | (count >= last)) & ~stays
                    moves[path] = jnp.where(gone, -leaves[path], moves[path])
                updates = tree.unflatten(moves)
            seen = (tree.unflatten(each) for each in (sensitivity, uncertainty, keep))
            return updates, Pruning(inner_state, count, *seen)

        return optax.GradientTransformation(init, update)

    return wrapper


def _triplets(nested: Any) -> dict[str, jax.Array]:
    """The leaves of all triplets by path."""
    leaves = tree.flatten(nested)
    modules = [path.removesuffix("/lora_e") for path in leaves if path.endswith("/lora_e")]
    return {
        f"{module}/{name}": leaves[f"{module}/{name}"] for module in modules for name in ("lora_a", "lora_b", "lora_e")
    }


def _observed(
    settings: Settings, state: Pruning, leaves: dict[str, jax.Array], slopes: dict[str, jax.Array]
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Sensitivity and uncertainty after one more gradient."""
    beta1, beta2 = settings["beta1"], settings["beta2"]
    mean, spread = tree.flatten(state.sensitivity), tree.flatten(state.uncertainty)
    now = {path: jnp.abs(leaf * slopes[path]) for path, leaf in leaves.items()}
    mean = {path: beta1 * mean[path] + (1 - beta1) * now[path] for path in now}
    return mean, {path: beta2 * spread[path] + (1 - beta2) * jnp.abs(now[path] - mean[path]) for path in now}


def _most_important(
    sensitivity: dict[str, jax.Array], uncertainty: dict[str, jax.Array], most: jax.Array
) -> dict[str, jax.Array]:
    """Which triplets are among the `most` most important of all layers, by path of their `lora_e`."""
    entry = {path: sensitivity[path] * uncertainty[path] for path in sensitivity}
    importance = {
        path: entry[path]
        + jnp.mean(entry[f"{path.removesuffix('e')}a"], axis=-2)
        + jnp.mean(entry[f"{path.removesuffix('e')}b"], axis=-1)
        for path in entry
        if path.endswith("/lora_e")
    }
    all_N, shapes = pack(list(importance.values()), "*")
    place_N = jnp.argsort(jnp.argsort(-all_N, stable=True))
    return dict(zip(importance, unpack(place_N < most, shapes, "*"), strict=True))


def merge(settings: Settings, leaves: Mapping[str, jax.Array], sides: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The leaves with `(α/r) P Λ Q` added to every adapted kernel."""
    factor = by_rank(settings)
    return on_kernels(
        leaves,
        sides,
        "lora_e",
        lambda kernel, own: kernel + factor * _scaled(own["lora_a"], own["lora_e"]) @ own["lora_b"],
    )


def _scaled(a_IR: jax.Array, e_R: jax.Array) -> jax.Array:
    return jnp.einsum("ir,r->ir", a_IR, e_R)


def rules(settings: Settings, anatomy: Anatomy) -> Rules:
    """All adapters and the head move.

    Raises:
      ConfigError: the ranks grow instead of shrinking, or there are no steps left in which to shrink them.
    """
    if settings["target_rank"] > settings["rank"]:
        raise ConfigError("target_rank", f"expected at most the rank {settings['rank']}, got {settings['target_rank']}")
    if settings["tinit"] + settings["tfinal"] > 1:
        shares = f"{settings['tinit']:.15g} + {settings['tfinal']:.15g}"
        raise ConfigError("tinit", f"expected tinit + tfinal to be at most 1, got {shares}")
    return ADAPTERS


ADALORA = Method(
    name="adalora",
    paper="Zhang et al., 2023",
    trains="low-rank updates whose ranks are shared out among the layers its pattern names, and the head",
    fields=FIELDS,
    defaults=Defaults((5e-4, 1e-3, 2e-3), schedule="linear"),
    rules=rules,
    interceptor=interceptor,
    penalty=penalty,
    wrap=wrap,
    merge=merge,
)

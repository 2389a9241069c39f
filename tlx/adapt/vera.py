"""VeRA: one pair of random matrices for all layers; each layer trains two vectors.

Shape suffixes: I inputs, O outputs, R rank.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.adapt.anatomy import Base
from tlx.adapt.hooks import Pass
from tlx.adapt.method import ADAPTERS, Defaults, Interceptor, Method, Settings
from tlx.adapt.sidepath import TARGET, Site, beside, target_of
from tlx.fields import Field
from tlx.models.registry import Model
from tlx.partition import FROZEN

FIELDS = {
    "rank": Field(256, "rank r of the shared matrices; may exceed a layer's width", low=1, high=8192),
    "d_start": Field(0.1, "what the vector over the ranks starts at", low=1e-6, high=1e2),
    "target": TARGET,
}


def grow(settings: Settings, base: Base, key: jax.Array) -> dict[str, Any]:
    """The shared matrices, frozen.

    Args:
      settings: `rank`, `target`.
      base: the tree; only its model matters.
      key: not used: the matrices are the same for every seed.

    Returns:
      `vera/a` [I, R] from U(±√(6/I)) and `vera/b` [R, O] from U(±√(6/R)), float32, as large as the largest target.

    Source: Kopiczko et al. (2023), section 3.2: Kaiming's uniform with gain √2, from a fixed key. The authors draw the
      numbers with PyTorch, so they are others than ours.
    """
    sizes = dense_sizes(base.anatomy.model, target_of(settings, base.anatomy.model))
    if not sizes:
        return {}
    inputs, outputs = (max(side) for side in zip(*sizes, strict=True))
    rank = settings["rank"]
    key_a, key_b = jax.random.split(jax.random.key(0))
    bound_a, bound_b = float((6 / inputs) ** 0.5), float((6 / rank) ** 0.5)
    a_IR = jax.random.uniform(key_a, (inputs, rank), jnp.float32, -bound_a, bound_a)
    b_RO = jax.random.uniform(key_b, (rank, outputs), jnp.float32, -bound_b, bound_b)
    return {"adapters": {"vera": {"a": a_IR, "b": b_RO}}}


@functools.cache
def dense_sizes(model: Model, target: str) -> tuple[tuple[int, int], ...]:
    """Inputs and outputs of the dense layers whose path a pattern matches, found without any arithmetic."""
    found: list[tuple[int, int]] = []

    def note(site: Site) -> jax.Array:
        (inputs,), (outputs,) = site.shapes
        found.append((inputs, outputs))
        return site.y

    with nn.intercept_methods(beside(Pass(model, 1.0, {}, False), target, note, layers=(nn.Dense,))):
        jax.eval_shape(lambda: model.module.apply(model.init(0), model.example()))
    return tuple(found)


def interceptor(settings: Settings, context: Pass) -> Interceptor:
    """Adds `scale · b ⊙ ((d ⊙ (x A)) B)` to the output of every dense layer whose path the target matches.

    Args:
      settings: `d_start`, `rank`, `target`.
      context: its `scale` is a factor on the whole update.

    Returns:
      An interceptor for `nn.intercept_methods`; a layer's vectors are `vera_d` [R] and `vera_b` [O], of which the
      second starts at zero, so that training starts at the frozen model's output. Of the shared matrices a layer sees
      the first I rows of A and the first O columns of B.

    Source: Kopiczko et al. (2023), equation 2.
    """

    def add(site: Site) -> jax.Array:
        (inputs,), (outputs,) = site.shapes
        d_R = site.leaf("vera_d", lambda: jnp.full((settings["rank"],), settings["d_start"], jnp.float32))
        b_O = site.leaf("vera_b", lambda: jnp.zeros((outputs,), jnp.float32))
        shared, dtype = context.adapters["vera"], site.y.dtype
        # The vectors act on activations, not on the matrices, so that a batch of adapters shares those.
        h = jnp.einsum("...r,r->...r", site.x.astype(dtype) @ shared["a"][:inputs].astype(dtype), d_R.astype(dtype))
        side = jnp.einsum("...o,o->...o", h @ shared["b"][:, :outputs].astype(dtype), b_O.astype(dtype))
        return site.plus(1.0, side)

    return beside(context, target_of(settings, context.model), add, layers=(nn.Dense,))


def merge(settings: Settings, leaves: Mapping[str, jax.Array], sides: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The leaves with `A diag(d) B diag(b)` added to every adapted kernel."""

    def update(d_R: jax.Array, b_O: jax.Array) -> jax.Array:
        inputs, outputs = leaves[path].shape[-2:]
        return jnp.einsum("ir,r,ro,o->io", sides["vera/a"][:inputs], d_R, sides["vera/b"][:, :outputs], b_O)

    merged = dict(leaves)
    for module in [at.removesuffix("/vera_d") for at in sides if at.endswith("/vera_d")]:
        path = f"{module}/kernel"
        # A kernel of three axes is a stack of layers that are scanned.
        each: Callable[..., jax.Array] = jax.vmap(update) if leaves[path].ndim == 3 else update
        merged[path] = leaves[path] + each(sides[f"{module}/vera_d"], sides[f"{module}/vera_b"])
    return merged


VERA = Method(
    name="vera",
    paper="Kopiczko et al., 2023",
    trains="two vectors for each dense layer its pattern names, around shared random matrices, and the head",
    fields=FIELDS,
    defaults=Defaults((1e-3, 4e-3, 1e-2), schedule="linear"),
    rules=lambda settings, anatomy: (("adapters/vera/[ab]", FROZEN), *ADAPTERS),
    grow=grow,
    interceptor=interceptor,
    merge=merge,
)

"""PiSSA: LoRA that starts at the largest singular values of the kernel, which then move.

Shape suffixes: I inputs, O outputs, R rank.
"""

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.adapt.hooks import Pass
from tlx.adapt.lora import by_rank
from tlx.adapt.method import ADAPTERS, Defaults, Interceptor, Method, Settings
from tlx.adapt.sidepath import RANK, TARGET, Site, beside, on_kernels, target_of
from tlx.fields import Field
from tlx.partition import FROZEN


def principal(kernel_IO: jax.Array, rank: int, factor: float) -> tuple[jax.Array, jax.Array]:
    """The best approximation of a kernel by `factor · A B`.

    Args:
      kernel_IO: any float dtype.
      rank: size R of the axis that A and B share.
      factor: of their product; more than 0.

    Returns:
      A = U √(S/factor) [I, R] and B = √(S/factor) Vᵀ [R, O] of the R largest singular values S, float32.
    """
    u_IR, s_R, v_RO = jnp.linalg.svd(kernel_IO.astype(jnp.float32), full_matrices=False)
    root_R = jnp.sqrt(s_R[:rank] / factor)
    return jnp.einsum("ir,r->ir", u_IR[:, :rank], root_R), jnp.einsum("r,ro->ro", root_R, v_RO[:rank])


def interceptor(settings: Settings, context: Pass) -> Interceptor:
    """Adds `scale · (α/r) · (x A B - x A₀ B₀)` to the output of every dense layer whose path the target matches.

    Args:
      settings: `rank`, `alpha`, `target`.
      context: its `scale` is a factor on the whole update.

    Returns:
      An interceptor for `nn.intercept_methods`. `lora_a`, `lora_b` start at the frozen `lora_a0`, `lora_b0`, the
      kernel's principal part, so that training starts at the frozen model's output.

    Raises:
      ConfigError: `rank` exceeds the smaller side of a target's kernel.

    Source: Meng et al. (2024), equations 2 to 4. The paper stores W - (α/r) A₀ B₀ in place of the kernel; the sum is
      the same function and has the same gradients, but here the base model's leaves stay as they are.
    """
    rank, factor = settings["rank"], by_rank(settings)

    def add(site: Site) -> jax.Array:
        site.check_rank(rank)
        start = functools.cache(lambda: principal(site.kernel, rank, factor))
        a, b = site.leaf("lora_a", lambda: start()[0]), site.leaf("lora_b", lambda: start()[1])
        a0, b0 = site.leaf("lora_a0", lambda: start()[0]), site.leaf("lora_b0", lambda: start()[1])
        return site.plus(factor, site.product(a, b) - site.product(a0, b0))

    return beside(context, target_of(settings, context.model), add, layers=(nn.Dense,))


def merge(settings: Settings, leaves: Mapping[str, jax.Array], sides: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The leaves with `(α/r) (A B - A₀ B₀)` added to every adapted kernel."""
    factor = by_rank(settings)

    def moved(kernel_IO: jax.Array, own: dict[str, jax.Array]) -> jax.Array:
        return kernel_IO + factor * (own["lora_a"] @ own["lora_b"] - own["lora_a0"] @ own["lora_b0"])

    return on_kernels(leaves, sides, "lora_a0", moved)


PISSA = Method(
    name="pissa",
    paper="Meng et al., 2024",
    trains="the principal singular directions of the layers its pattern names, and the head",
    fields={
        "rank": RANK,
        "alpha": Field(8.0, "the update is scaled by alpha / rank", low=1e-4, high=1e4),
        "target": TARGET,
    },
    defaults=Defaults((2e-5, 1e-4, 2e-4)),
    rules=lambda settings, anatomy: (("adapters/.*/lora_[ab]0", FROZEN), *ADAPTERS),
    interceptor=interceptor,
    merge=merge,
)

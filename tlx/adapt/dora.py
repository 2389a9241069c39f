"""DoRA: direction and magnitude of each output's weights apart; a low-rank side path turns the one, a vector scales
the other.

Shape suffixes: I inputs, O outputs, R rank.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.adapt.hooks import Pass
from tlx.adapt.lora import FIELDS, by_rank, factors
from tlx.adapt.method import ADAPTERS, Defaults, Interceptor, Method, Settings
from tlx.adapt.sidepath import Site, beside, on_kernels, target_of


def norms(kernel: jax.Array, outputs: int = 1) -> jax.Array:
    """The Euclidean norm of the weights that make each output, in float32.

    Args:
      kernel: input axes, then output axes.
      outputs: how many output axes there are.

    Returns:
      An array of the output axes.
    """
    return jnp.sqrt(jnp.sum(jnp.square(kernel.astype(jnp.float32)), axis=tuple(range(kernel.ndim - outputs))))


def interceptor(settings: Settings, context: Pass) -> Interceptor:
    """Replaces the kernel W of every layer whose path the target matches by m ⊙ V/‖V‖ with V = W + (α/r) A B.

    Args:
      settings: `rank`, `alpha`, `dropout`, `target`.
      context: its `scale` draws the line from W, at 0, to the replaced kernel, at 1.

    Returns:
      An interceptor for `nn.intercept_methods`; A and B as for LoRA, and the magnitudes m [O], `lora_magnitude`, which
      start at ‖W‖ per output, so that training starts at the frozen model's output.

    Raises:
      ConfigError: `rank` exceeds the smaller side of a target's kernel, or a target is a grouped convolution.

    Source: Liu et al. (2024), equation 5, with the norm taken for a constant by the gradient, as in their section 4.3.
      Dropout acts on the low-rank path alone; in the authors' code it acts on what W sees, too. W is the model's own:
      what another method composed with this one adds to the same layer is scaled by m but not counted in the norm.
    """
    factor = by_rank(settings)

    def turn(site: Site) -> jax.Array:
        outputs = len(site.shapes[1])
        a, b = factors(site, settings["rank"])
        magnitude = site.leaf("lora_magnitude", lambda: norms(site.kernel, outputs))
        direction = site.kernel.astype(jnp.float32) + factor * jnp.tensordot(a, b, 1)
        gain = magnitude / jax.lax.stop_gradient(norms(direction, outputs))
        has_bias = not isinstance(site.module, nn.Embed) and site.module.use_bias
        bare = site.y - _spread(site.module.get_variable("params", "bias"), site.y) if has_bias else site.y
        side = factor * site.product(a, b, settings["dropout"])
        return site.plus(1.0, _spread(gain - 1.0, bare) * bare + _spread(gain, side) * side)

    return beside(context, target_of(settings, context.model), turn)


def merge(settings: Settings, leaves: Mapping[str, jax.Array], sides: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The leaves with every adapted kernel replaced by m ⊙ V/‖V‖."""
    factor = by_rank(settings)

    def turned(kernel: jax.Array, own: dict[str, jax.Array]) -> jax.Array:
        magnitude = own["lora_magnitude"]
        direction = kernel + factor * jnp.tensordot(own["lora_a"], own["lora_b"], 1)
        return _spread(magnitude / norms(direction, magnitude.ndim), kernel) * direction

    return on_kernels(leaves, sides, "lora_magnitude", turned)


def _spread(vector: jax.Array, like: jax.Array) -> jax.Array:
    return jnp.broadcast_to(vector.astype(like.dtype), like.shape)


DORA = Method(
    name="dora",
    paper="Liu et al., 2024",
    trains="low-rank directions and the magnitudes of the layers its pattern names, and the head",
    fields=FIELDS,
    defaults=Defaults((1e-4, 2e-4, 4e-4), schedule="linear"),
    rules=lambda settings, anatomy: ADAPTERS,
    interceptor=interceptor,
    merge=merge,
)

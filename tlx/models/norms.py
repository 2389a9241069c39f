"""Norms over the channels of each token, by name.

Shape suffixes: D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

NORMS = ("layer", "rms")


class RMSNorm(nn.Module):
    """Divides by the root of the mean square; no mean is taken off and nothing is added.

    Args:
      epsilon: added to the mean square.

    Source: Zhang and Sennrich (2019), equation 4. The quotient is taken in float32 and rounded to the input's dtype
      before it is scaled, as in Llama; this matters in bfloat16 alone.
    """

    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] to the same."""
        scale_D = self.param("scale", nn.initializers.ones, x.shape[-1:])
        wide = x.astype(jnp.float32)
        wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.epsilon)
        return jnp.broadcast_to(scale_D, x.shape) * wide.astype(x.dtype)


def norm(kind: str, epsilon: float, name: str) -> nn.Module:
    """A norm for use in a compact module.

    Args:
      kind: one of `NORMS`.
      epsilon: added to the variance or mean square.
      name: of the submodule.
    """
    if kind == "rms":
        return RMSNorm(epsilon, name=name)
    # The fast variance, E[x²] - E[x]², may be off by more than a small epsilon.
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, name=name)

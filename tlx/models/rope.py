"""Rotary positions: queries and keys turned by angles in proportion to their position (Su et al., 2021).

Shape suffixes: B sequences, N heads, T tokens, K width of a head, F its half.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from tlx.fields import Field

FIELDS = {
    "rope_theta": Field(10000.0, "base of the wavelengths of rotary positions", low=1.0, high=1e12),
    "rope_scaling": Field(
        "none",
        "what stretches wavelengths for longer texts by rope_factor. linear: all of them; llama3: the long ones",
        choices=("none", "linear", "llama3"),
    ),
    "rope_factor": Field(1.0, "what wavelengths are stretched by", low=1.0, high=1e6),
    "rope_low": Field(1.0, "llama3: wavelengths above rope_original / rope_low are stretched in full", low=1e-6),
    "rope_high": Field(4.0, "llama3: wavelengths below rope_original / rope_high are left alone", low=1e-6),
    "rope_original": Field(8192, "llama3: length of the texts before stretching, in tokens", low=1, high=10**8),
}


@dataclass(frozen=True)
class Rope:
    """How fast each pair of channels turns; the arguments are those of `FIELDS`."""

    theta: float = 10000.0
    scaling: str = "none"
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    def frequencies(self, width: int) -> np.ndarray:
        """Radians a position for each pair of channels.

        Args:
          width: K of a head, even.

        Returns:
          [F], float32.

        Source: Su et al. (2021), section 3.2.2: theta ** (-2f / K). `linear` is Chen et al. (2023), equation 4;
          `llama3` is what Dubey et al. (2024) released with Llama 3.1: frequencies between the two bounds are a mean
          of the stretched and the original one, weighted by where in between they lie.
        """
        # In single precision from the start, as the weights were trained with angles of that precision.
        exponent_F = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
        plain_F = np.float32(1.0) / np.float32(self.theta) ** exponent_F
        stretched_F = plain_F / np.float32(self.factor)
        if self.scaling == "none":
            return plain_F
        if self.scaling == "linear":
            return stretched_F
        turns_F = self.original * plain_F / (2 * math.pi)
        share_F = np.clip((turns_F - self.low) / (self.high - self.low), 0.0, 1.0)
        return ((1.0 - share_F) * stretched_F + share_F * plain_F).astype(np.float32)

    def turned(self, x_BNTK: jax.Array, position_BT: jax.Array) -> jax.Array:
        """Queries or keys turned to their positions.

        Args:
          x_BNTK: channel f of the first half of a head and channel f of the second make one pair.
          position_BT: positions, float32.

        Returns:
          [B, N, T, K] in the dtype it came in.

        Source: Su et al. (2021), equation 34, whose pairs are neighbours; these are those of Hugging Face's files.
        """
        angle_BTF = jnp.einsum("bt,f->btf", position_BT, jnp.asarray(self.frequencies(x_BNTK.shape[-1])))
        angle_B1TF = rearrange(angle_BTF, "b t f -> b 1 t f")
        cos_B1TF, sin_B1TF = (turn(angle_B1TF).astype(x_BNTK.dtype) for turn in (jnp.cos, jnp.sin))
        one_BNTF, two_BNTF = jnp.split(x_BNTK, 2, axis=-1)
        turned = (one_BNTF * cos_B1TF - two_BNTF * sin_B1TF, two_BNTF * cos_B1TF + one_BNTF * sin_B1TF)
        return jnp.concatenate(turned, axis=-1)

"""The two sublayers every transformer here is made of.

Shape suffixes: B examples, T tokens that ask, S tokens that are asked, D width, N heads, K width of a head,
F hidden width of the MLP.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tlx.errors import ConfigError

# The roles that are the same in every transformer: patterns over module paths.
TARGETS = {
    "low_rank": r".*/(query|value)",
    "scaled_outputs": r".*/(key|value)",
    "scaled_inputs": r".*/down",
    "attention": r".*/attention",
    "mlp": r".*/mlp",
    "keys": r".*/attention/key",
    "values": r".*/attention/value",
    "blocks": r"block_\d+|blocks",
}


def check_heads(settings: dict[str, Any]) -> None:
    """Whether the heads share the width evenly.

    Raises:
      ConfigError: they do not.
    """
    if settings["width"] % settings["heads"]:
        raise ConfigError("heads", f"{settings['heads']} heads do not divide the width {settings['width']}")


class Attention(nn.Module):
    """Multi-head self-attention with separate query, key and value projections.

    Args:
      heads: number of heads; divides the width.
      dropout: rate, on the attention weights and on the output.
      kernel_init: of all four projections.

    Source: Vaswani et al. (2017), equation 1 and section 3.2.2.
    """

    heads: int
    dropout: float = 0.0
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x_BTD: jax.Array, mask_BS: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Every token asks every token.

        Args:
          x_BTD: tokens.
          mask_BS: true or 1 where a token may be asked, or None where all may. Longer than T when an interceptor
            made the outputs of `key` and `value` longer.
          train: whether to drop.

        Returns:
          [B, T, D].
        """
        width = x_BTD.shape[-1]

        def project(name: str) -> jax.Array:
            y_BSD = nn.Dense(width, kernel_init=self.kernel_init, name=name)(x_BTD)
            return rearrange(y_BSD, "b s (n k) -> b n s k", n=self.heads)

        q_BNTK, k_BNSK, v_BNSK = project("query"), project("key"), project("value")
        scale = float((width // self.heads) ** -0.5)
        score_BNTS = jnp.einsum("bntk,bnsk->bnts", q_BNTK * scale, k_BNSK)
        if mask_BS is not None:
            # The lowest finite number, not -inf: where nothing may be asked the weights are even, not NaN.
            allowed_B11S = rearrange(mask_BS.astype(jnp.bool_), "b s -> b 1 1 s")
            score_BNTS = jnp.where(allowed_B11S, score_BNTS, jnp.finfo(score_BNTS.dtype).min)
        weight_BNTS = nn.Dropout(self.dropout, name="weight_dropout")(
            jax.nn.softmax(score_BNTS), deterministic=not train
        )
        mixed_BTD = rearrange(jnp.einsum("bnts,bnsk->bntk", weight_BNTS, v_BNSK), "b n t k -> b t (n k)")
        y_BTD = nn.Dense(width, kernel_init=self.kernel_init, name="out")(mixed_BTD)
        return nn.Dropout(self.dropout, name="dropout")(y_BTD, deterministic=not train)


class Mlp(nn.Module):
    """Two-layer perceptron with a GELU.

    Args:
      hidden: width F of the hidden layer.
      gelu_exact: the GELU by the error function, not by its approximation with tanh.
      dropout: rate, on the output.
      kernel_init: of both layers.
    """

    hidden: int
    gelu_exact: bool = False
    dropout: float = 0.0
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x_BTD: jax.Array, train: bool = False) -> jax.Array:
        """[B, T, D] to the same; `train` is whether to drop."""
        h_BTF = nn.Dense(self.hidden, kernel_init=self.kernel_init, name="up")(x_BTD)
        h_BTF = nn.gelu(h_BTF, approximate=not self.gelu_exact)
        y_BTD = nn.Dense(x_BTD.shape[-1], kernel_init=self.kernel_init, name="down")(h_BTF)
        return nn.Dropout(self.dropout, name="dropout")(y_BTD, deterministic=not train)

"""Ladder side tuning: a narrow transformer that climbs beside the frozen one and reads every block's output.

Shape suffixes: B examples, T tokens, D width of the model, E width of the ladder.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx import tree
from tlx.adapt import tokens
from tlx.adapt.anatomy import Anatomy
from tlx.adapt.hooks import Pass
from tlx.adapt.method import ADAPTERS, Defaults, Interceptor, Method, Settings
from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.models.transformer import Attention, Mlp

FIELDS = {"reduction": Field(8, "width of the model over that of the ladder", low=1, high=4096)}
TEMPERATURE = 0.1
MLP_RATIO = 4


class Entry(nn.Module):
    """From the model's width to the ladder's."""

    width: int

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """[B, T, D] to [B, T, E]."""
        return nn.Dense(self.width, name="down")(x_BTD)


class Rung(nn.Module):
    """Mixes a block's output into the ladder and runs a narrow pre-norm block.

    Args:
      heads: attention heads; divide the ladder's width.
    """

    heads: int

    @nn.compact
    def __call__(self, side_BTE: jax.Array, x_BTD: jax.Array, mask_BT: jax.Array | None) -> jax.Array:
        """The ladder so far [B, T, E], the block's output [B, T, D] and mask [B, T] to the ladder's next state."""
        width = side_BTE.shape[-1]
        gate = nn.sigmoid(self.param("gate", nn.initializers.zeros, (1,))[0] / TEMPERATURE)
        h_BTE = gate * nn.Dense(width, name="down")(x_BTD) + (1.0 - gate) * side_BTE
        h_BTE = h_BTE + Attention(self.heads, name="attention")(nn.LayerNorm(name="norm1")(h_BTE), mask_BT)
        return h_BTE + Mlp(MLP_RATIO * width, name="mlp")(nn.LayerNorm(name="norm2")(h_BTE))


class Exit(nn.Module):
    """From the ladder's last state to the features a head sees.

    Args:
      features: their number.
      first: whether they come from the first token, as where the model has a class token, or from the mean.
    """

    features: int
    first: bool

    @nn.compact
    def __call__(self, side_BTE: jax.Array, mask_BT: jax.Array | None) -> jax.Array:
        """[B, T, E] to [B, D]."""
        h_BTE = nn.LayerNorm(name="norm")(side_BTE)
        flow = h_BTE if mask_BT is None else {"hidden": h_BTE, "mask": mask_BT}
        return nn.Dense(self.features, name="up")(h_BTE[:, 0] if self.first else tokens.mean(flow))


def interceptor(settings: Settings, context: Pass) -> Interceptor:
    """Runs the ladder beside the blocks and hands its features to the head.

    Args:
      settings: `reduction`.
      context: its `scale` s blends the features, (1 - s)·base + s·ladder, so that 0 is the base model.

    Returns:
      An interceptor; `ladder` lives beside the embedding (`down`), each block (`gate`, `down`, `attention`, `mlp`,
      two norms) and the pooling (`norm`, `up`). Between these flows a dict of the model's own `base` and of
      `side` [B, T, E]. The model's leaves are only read forwards: what is trained comes after all of them.

    Raises:
      ConfigError: the model has no attention, or makes more than one prediction an example, or the reduction does
        not divide its width.

    Source: Sung et al. (2022), section 3.2: h_i = block_i(μ_i·down_i(x_i) + (1 - μ_i)·h_(i-1)) with
      μ_i = sigmoid(gate / 0.1), h_0 = down_0(embedding), and the head on up(h_L). The blocks are drawn afresh, where
      the paper prunes them out of the model. They have as many heads as divide both the ladder's width and the
      number of the model's heads.
    """
    model = context.model
    tokens.role(model, "tokens")
    blocks = tokens.role(model, "blocks") if tokens.role(model, "attention") else ""
    Anatomy(model).check_pooled()
    first, pool, heads = model.stages[0], model.stages[-2], dict(model.settings)["heads"]

    def climb(
        layer: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: nn.module.InterceptorContext,
    ) -> Any:
        if call.method_name != "__call__":
            return layer(*args, **kwargs)
        module, path = call.module, "/".join(call.module.path)
        if path == first:
            base = layer(*args, **kwargs)
            x_BTD = tokens.hidden(base)
            return {"base": base, "side": _run(module, Entry(_width(settings, x_BTD), parent=None), x_BTD)}
        if tree.matches(blocks, path):
            base, side_BTE = layer(args[0]["base"], *args[1:], **tokens.whole(kwargs)), args[0]["side"]
            rung = Rung(math.gcd(heads, side_BTE.shape[-1]), parent=None)
            return {"base": base, "side": _run(module, rung, side_BTE, tokens.hidden(base), _mask(base))}
        if path == pool:
            flow, side_BTE = args[0]["base"], args[0]["side"]
            base_BD = layer(flow, *args[1:], **kwargs)
            exit_ = Exit(base_BD.shape[-1], model.class_tokens > 0, parent=None)
            side_BD = _run(module, exit_, side_BTE, _mask(flow))
            share = jnp.asarray(context.scale, base_BD.dtype)
            return (1.0 - share) * base_BD + share * side_BD
        return layer(*args, **kwargs)

    return climb


def _width(settings: Settings, x_BTD: jax.Array) -> int:
    width, reduction = x_BTD.shape[-1], settings["reduction"]
    if width % reduction:
        raise ConfigError("reduction", f"expected a divisor of the width {width}, got {reduction}")
    return width // reduction


def _mask(flow: Any) -> jax.Array | None:
    return flow["mask"] if isinstance(flow, dict) else None


def _run(module: nn.Module, part: nn.Module, x: jax.Array, *others: Any) -> Any:
    """A part of the ladder whose leaves live beside a module of the model."""
    leaves = tokens.leaf(module, "ladder", lambda key: part.init(key, x, *others)["params"])
    return part.apply({"params": jax.tree.map(lambda leaf: leaf.astype(x.dtype), leaves)}, x, *others)


LADDER = Method(
    name="ladder",
    paper="Sung et al., 2022",
    trains="a narrow transformer that reads every block's output, and the head",
    fields=FIELDS,
    defaults=Defaults((3e-4, 1e-3, 3e-3), schedule="linear"),
    rules=lambda settings, anatomy: ADAPTERS,
    interceptor=interceptor,
    starts_elsewhere="the head reads the ladder's features, not the model's",
    alone="runs a network of its own beside every block",
)

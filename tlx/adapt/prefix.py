"""Prefix tuning: trainable keys and values in front of those of every attention layer.

Shape suffixes: B examples, T tokens, P prefix tokens, D width, H hidden width of the reparametrisation.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tlx import tree
from tlx.adapt import tokens
from tlx.adapt.anatomy import Anatomy, Base
from tlx.adapt.hooks import Pass
from tlx.adapt.method import ADAPTERS, Defaults, Interceptor, Method, Settings
from tlx.fields import Field

PTUNING_FIELDS = {
    "length": Field(20, "number of prefix tokens in each layer", low=1, high=10000),
    "offset_positions": Field(True, "whether the tokens' positions begin after the prefix, where the model has any"),
    "target": Field("", "regular expression over paths of attention sublayers; empty for all"),
}
FIELDS = {
    **PTUNING_FIELDS,
    "reparam": Field(
        512,
        "hidden width of the network that makes all prefixes; 0 to train them directly",
        low=0,
        high=65536,
    ),
}
SIDES = {"prefix_key": "keys", "prefix_value": "values"}


def interceptor(settings: Settings, context: Pass) -> Interceptor:
    """Lets every token attend to P further keys and values, which are leaves.

    Args:
      settings: `length`, `offset_positions`, `target` and, if it has that field, `reparam`.
      context: its `scale` is a factor on the prefixes' values; at 0 no token attends to them and positions are
        not shifted, which is the base model.

    Returns:
      An interceptor; `prefix_key` and `prefix_value`, [P, D], live beside the layers that make keys and values.
      With `reparam` H each is the last layer of a network, `kernel` [H, D] and `bias` [D], whose input and first
      layer all share: see `grow`.

    Raises:
      ConfigError: the model has no attention or too few positions.

    Source: Li and Liang (2021), equations 3 and 4 and section 4.3, P = MLP(P'), for an encoder; Liu et al. (2021),
      P-tuning v2, without the MLP. Prefixes are drawn from N(0, 1) and the network as in PyTorch, both as Hugging
      Face PEFT does, and positions are shifted as there.
    """
    model, length = context.model, settings["length"]
    attention = tokens.role(model, "attention")
    target = settings["target"] or attention
    sides = {name: tokens.role(model, role) for name, role in SIDES.items()}
    shifted = model.targets.get("positions") if settings["offset_positions"] else None

    def join(
        layer: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: nn.module.InterceptorContext,
    ) -> Any:
        if call.method_name != "__call__":
            return layer(*args, **kwargs)
        path = "/".join(call.module.path)
        if shifted and tree.matches(shifted, path):
            tokens.check_room(model, length, args[0].shape[-1])
            return layer(args[0] + jnp.where(context.scale == 0, 0, length), *args[1:], **kwargs)
        if tree.matches(attention, path) and tree.matches(target, path):
            x_BTD, mask_BT, *others = args
            return layer(x_BTD, _lengthened(mask_BT, x_BTD, length, context.scale), *others, **kwargs)
        y = layer(*args, **kwargs)
        for name, role in sides.items():
            if tree.matches(role, path) and tree.matches(target, path.rpartition("/")[0]):
                prefix_PD = _prefix(settings, context, call.module, name, y.shape[-1])
                if name == "prefix_value":
                    prefix_PD = prefix_PD * context.scale
                return tokens.inserted(y, tokens.each(prefix_PD, y), 0)
        return y

    return join


def _lengthened(mask_BT: jax.Array | None, x_BTD: jax.Array, length: int, scale: jax.Array | float) -> jax.Array | None:
    if mask_BT is None and isinstance(scale, float) and scale != 0:
        return None
    if mask_BT is None:
        mask_BT = jnp.ones(x_BTD.shape[:2], x_BTD.dtype)
    on = jnp.asarray(scale != 0).astype(mask_BT.dtype)
    return jnp.concatenate([jnp.broadcast_to(on, (len(x_BTD), length)), mask_BT], axis=1)


def _prefix(settings: Settings, context: Pass, module: nn.Module, name: str, width: int) -> jax.Array:
    hidden = settings.get("reparam", 0)
    if not hidden:
        return tokens.leaf(module, name, lambda key: jax.random.normal(key, (settings["length"], width)))
    last = tokens.leaf(module, name, lambda key: _dense(key, hidden, width))
    return _prefixes(_shared(context.adapters), last)


def _shared(adapters: dict[str, Any]) -> dict[str, Any]:
    return next(leaves["prefix"] for leaves in (adapters, *adapters.values()) if "prefix" in leaves)


def _prefixes(shared: dict[str, Any], last: dict[str, jax.Array]) -> jax.Array:
    """The prefixes [..., P, D] that the network makes; layers in a row have a leading axis of their own."""
    first = shared["first"]
    h_PH = jnp.tanh(shared["embedding"] @ first["kernel"] + rearrange(first["bias"], "h -> 1 h"))
    return jnp.einsum("ph,...hd->...pd", h_PH, last["kernel"]) + rearrange(last["bias"], "... d -> ... 1 d")


def _dense(key: jax.Array, inputs: int, outputs: int) -> dict[str, jax.Array]:
    bound, keys = float(inputs**-0.5), jax.random.split(key)
    return {
        "kernel": jax.random.uniform(keys[0], (inputs, outputs), jnp.float32, -bound, bound),
        "bias": jax.random.uniform(keys[1], (outputs,), jnp.float32, -bound, bound),
    }


def grow(settings: Settings, base: Base, key: jax.Array) -> dict[str, Any]:
    """What the prefixes of all layers share, under `prefix`; nothing without `reparam`.

    Args:
      settings: `length`, `target`, `reparam`.
      base: the tree that is adapted.
      key: randomness.

    Returns:
      P' [P, D] as `embedding` and the network's `first` layer, D to H. They lie in the first stage that has prefixes,
      so that what is below it stays as it is, or outside of the stages where the blocks are one scanned stage, as all
      that lies there has an axis for the blocks.
    """
    kernels = _key_kernels(settings, base.anatomy)
    if not settings["reparam"] or not kernels:
        return {}
    first = min(kernels, key=base.anatomy.stages.index)
    *blocks, _, width = kernels[first].shape
    keys = jax.random.split(key)
    embedding_PD = jax.random.normal(keys[0], (settings["length"], width))
    shared = {"prefix": {"embedding": embedding_PD, "first": _dense(keys[1], width, settings["reparam"])}}
    return {"adapters": shared if blocks else {first: shared}}


def _key_kernels(settings: Settings, anatomy: Anatomy) -> dict[str, Any]:
    """By stage, a kernel that makes keys in a layer with prefixes."""
    role, target = tokens.role(anatomy.model, "keys"), settings["target"] or ".*"
    found = {}
    for path, leaf in anatomy.leaves.items():
        module = path.removeprefix("params/").removesuffix("/kernel")
        if tree.matches(role, module) and tree.matches(target, module.rpartition("/")[0]):
            found[module.partition("/")[0]] = leaf
    return found


def drop_reparam(adapters: dict[str, Any]) -> dict[str, Any]:
    """The adapters of `reparam=0` that compute what those of a network do.

    Args:
      adapters: the `adapters` collection of a trained `prefix`.

    Returns:
      `prefix_key` and `prefix_value` [P, D] beside each layer, nothing else.

    Source: Li and Liang (2021), section 4.3: the network is dropped after training.
    """
    leaves = tree.flatten(adapters)
    made = {
        path: _prefixes(_shared(adapters), {name: leaves[f"{path}/{name}"] for name in ("kernel", "bias")})
        for path in sorted(path.rpartition("/")[0] for path in leaves if path.endswith("/kernel"))
        if path.rpartition("/")[2] in SIDES
    }
    return tree.unflatten(made)


PREFIX = Method(
    name="prefix",
    paper="Li and Liang, 2021",
    trains="keys and values in front of those of every attention layer, and the head",
    fields=FIELDS,
    # 5e-5 is the paper's, for a head that was trained before.
    defaults=Defaults((5e-5, 5e-4, 5e-3), schedule="linear"),
    rules=lambda settings, anatomy: ADAPTERS,
    interceptor=interceptor,
    grow=grow,
    starts_elsewhere="every token attends to prefixes that are drawn at random",
)
PTUNING_V2 = Method(
    name="ptuning_v2",
    paper="Liu et al., 2021",
    trains="keys and values in front of those of every attention layer, and the head",
    fields=PTUNING_FIELDS,
    defaults=Defaults((5e-3, 7e-3, 1e-2), schedule="linear"),
    rules=lambda settings, anatomy: ADAPTERS,
    interceptor=interceptor,
    starts_elsewhere="every token attends to prefixes that are drawn at random",
)

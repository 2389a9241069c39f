"""LoRA: a trainable low-rank side path around frozen dense layers.

Shape suffixes: I inputs, O outputs, R rank.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx import tree
from tlx.adapt.method import Interceptor, Method, Settings
from tlx.errors import ConfigError
from tlx.fields import Field

FIELDS = {
    "rank": Field(4, "rank r of the update", low=1, high=1024),
    "alpha": Field(8.0, "the update is scaled by alpha / rank", low=0.0, high=1e4),
    "target": Field(r".*/(query|value)", "regular expression over paths of dense layers"),
}


def interceptor(settings: Settings, scale: jax.Array | float) -> Interceptor:
    """Adds `scale · (α/r) · (x A) B` to the output of every dense layer whose path the target matches.

    Args:
      settings: `rank`, `alpha`, `target`.
      scale: factor on the whole update; 1 in training, may be traced.

    Returns:
      An interceptor for `nn.intercept_methods`; A [I, R] and B [R, O] live in the `adapters` collection
      under the path of the layer they stand beside.

    Raises:
      ConfigError: `rank` exceeds the smaller side of a target's kernel.

    Source: Hu et al. (2021), equation 3. A is drawn from U(±1/√I), as in the authors' code, not from the
      Gaussian of their text; B is zero, so training starts at the frozen model's output.
    """
    rank = settings["rank"]
    factor = settings["alpha"] / rank

    def add_side_path(
        layer: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        module = context.module
        path = "/".join(module.path)
        is_dense = isinstance(module, nn.Dense) and context.method_name == "__call__"
        if not is_dense or not tree.matches(settings["target"], path):
            return layer(*args, **kwargs)
        x = args[0]
        inputs, outputs = x.shape[-1], module.features
        if rank > min(inputs, outputs):
            raise ConfigError("rank", f"expected at most {min(inputs, outputs)} for {path!r}, got {rank}")
        bound = float(inputs**-0.5)
        a_IR = module.variable(
            "adapters",
            "lora_a",
            lambda: jax.random.uniform(module.make_rng("adapters"), (inputs, rank), x.dtype, -bound, bound),
        ).value
        b_RO = module.variable("adapters", "lora_b", lambda: jnp.zeros((rank, outputs), x.dtype)).value
        return layer(*args, **kwargs) + (scale * factor) * ((x @ a_IR) @ b_RO)

    return add_side_path


def merge(params: dict[str, Any], adapters: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The plain tree that computes what the adapted one does: W + (α/r) A B for every target.

    Args:
      params: nested dict holding the frozen kernels [I, O].
      adapters: nested dict of `lora_a`, `lora_b` under the same paths.
      settings: `rank` and `alpha` of the adapters.

    Returns:
      A tree shaped like `params`; the sum is taken in float32.
    """
    leaves = tree.flatten(params)
    sides = tree.flatten(adapters)
    for path in sorted({path.rsplit("/", 1)[0] for path in sides}):
        kernel_IO = leaves[f"{path}/kernel"]
        a_IR, b_RO = sides[f"{path}/lora_a"], sides[f"{path}/lora_b"]
        update_IO = a_IR.astype(jnp.float32) @ b_RO.astype(jnp.float32) * (settings["alpha"] / settings["rank"])
        leaves[f"{path}/kernel"] = (kernel_IO.astype(jnp.float32) + update_IO).astype(kernel_IO.dtype)
    return tree.unflatten(leaves)


LORA = Method(
    name="lora",
    paper="Hu et al., 2021",
    fields=FIELDS,
    rules=lambda settings: (
        ("adapters/.*", "adapter"),
        ("params/head/.*", "head"),
        ("params/.*", "frozen"),
    ),
    interceptor=interceptor,
)

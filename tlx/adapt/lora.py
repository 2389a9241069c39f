"""LoRA and two ways of scaling it: a trainable low-rank side path around frozen layers.

Shape suffixes: I inputs, O outputs, R rank.
"""

import math
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from tlx.adapt.anatomy import Anatomy
from tlx.adapt.hooks import Pass
from tlx.adapt.method import ADAPTERS, HEAD_ONLY, Defaults, Interceptor, Method, Settings
from tlx.adapt.sidepath import ALPHA, DROPOUT, RANK, TARGET, Site, beside, on_kernels, target_of
from tlx.fields import Field

FIELDS = {"rank": RANK, "alpha": ALPHA, "dropout": DROPOUT, "target": TARGET}


def factors(site: Site, rank: int) -> tuple[jax.Array, jax.Array]:
    """A and B of a layer, float32: one of them random, the other zero.

    Args:
      site: the layer's call.
      rank: size R of the axis they share.

    Returns:
      A from U(±1/√I) over the I numbers that one output sums, and B zero. Beside an embedding A is zero and B from
      N(0, 1): a sum over one-hot inputs has a single term.

    Raises:
      ConfigError: `rank` exceeds the smaller side of the kernel.
    """
    site.check_rank(rank)
    inputs, outputs = site.shapes
    shape_a, shape_b = (*inputs, rank), (rank, *outputs)
    if isinstance(site.module, nn.Embed):
        a = site.leaf("lora_a", lambda: jnp.zeros(shape_a, jnp.float32))
        return a, site.leaf("lora_b", lambda: jax.random.normal(site.key(), shape_b, jnp.float32))
    bound = float(math.prod(inputs) ** -0.5)
    a = site.leaf("lora_a", lambda: jax.random.uniform(site.key(), shape_a, jnp.float32, -bound, bound))
    return a, site.leaf("lora_b", lambda: jnp.zeros(shape_b, jnp.float32))


def side_path(settings: Settings, context: Pass, factor: float) -> Interceptor:
    """Adds `scale · factor · (drop(x) A) B` to the output of every layer whose path the target matches.

    Args:
      settings: `rank`, `dropout`, `target`.
      context: its `scale` is a factor on the whole update.
      factor: of the update.

    Returns:
      An interceptor for `nn.intercept_methods`; A [I, R] and B [R, O] live in the `adapters` collection under the
      path of the layer they stand beside. Beside a convolution A convolves as the layer does, to R channels.

    Raises:
      ConfigError: `rank` exceeds the smaller side of a target's kernel, or a target is a grouped convolution.

    Source: Hu et al. (2021), equation 3. A is drawn from U(±1/√I), as in the authors' code, not from the
      Gaussian of their text; B is zero, so training starts at the frozen model's output. Embeddings and convolutions
      as in their code, but for the latter's B, which is a 1x1 kernel here.
    """

    def add(site: Site) -> jax.Array:
        a, b = factors(site, settings["rank"])
        return site.plus(factor, site.product(a, b, settings["dropout"]))

    return beside(context, target_of(settings, context.model), add)


def merged(leaves: Mapping[str, jax.Array], sides: Mapping[str, jax.Array], factor: float) -> dict[str, jax.Array]:
    """The leaves with `factor · A B` added to every adapted kernel.

    Args:
      leaves: parameters by path, float32.
      sides: `lora_a`, `lora_b` by path.
      factor: of the update.

    Returns:
      All leaves by path.
    """
    return on_kernels(
        leaves, sides, "lora_a", lambda kernel, own: kernel + factor * jnp.tensordot(own["lora_a"], own["lora_b"], 1)
    )


def by_rank(settings: Settings) -> float:
    """LoRA's factor α/r."""
    return float(settings["alpha"] / settings["rank"])


def by_root_of_rank(settings: Settings) -> float:
    """The factor α/√r, with which the size of the update does not depend on the rank.

    Source: Kalajdzievski (2023), "A rank stabilization scaling factor for fine-tuning with LoRA", theorem 3.2.
    """
    return float(settings["alpha"] / math.sqrt(settings["rank"]))


def faster_b(settings: Settings, anatomy: Anatomy) -> dict[str, float]:
    """LoRA+'s factor on the learning rate of B.

    Source: Hayou et al. (2024), "LoRA+", section 4: the rate of B is λ times that of A. The rate of its own that the
      authors' code gives to embeddings is left out.
    """
    return {"adapter@lora_b": settings["ratio"]}


LORA = Method(
    name="lora",
    paper="Hu et al., 2021",
    trains="low-rank side paths of the layers its pattern names, and the head",
    fields=FIELDS,
    defaults=Defaults((1e-4, 2e-4, 5e-4), schedule="linear"),
    rules=lambda settings, anatomy: ADAPTERS,
    interceptor=lambda settings, context: side_path(settings, context, by_rank(settings)),
    merge=lambda settings, leaves, sides: merged(leaves, sides, by_rank(settings)),
)

RSLORA = Method(
    name="rslora",
    paper="Kalajdzievski, 2023",
    trains="LoRA's side paths, scaled so that a high rank learns as fast as a low one, and the head",
    fields={**FIELDS, "alpha": Field(8.0, "the update is scaled by alpha / √rank", low=0.0, high=1e4)},
    defaults=Defaults((1e-4, 2e-4, 5e-4), schedule="linear"),
    rules=lambda settings, anatomy: ADAPTERS,
    interceptor=lambda settings, context: side_path(settings, context, by_root_of_rank(settings)),
    merge=lambda settings, leaves, sides: merged(leaves, sides, by_root_of_rank(settings)),
)

LORA_PLUS = Method(
    name="lora_plus",
    paper="Hayou et al., 2024",
    trains="LoRA's side paths, with a higher learning rate for B than for A, and the head",
    fields={**FIELDS, "ratio": Field(16.0, "learning rate of B over that of A", low=1.0, high=1e4)},
    defaults=Defaults((2e-5, 5e-5, 1e-4), schedule="linear"),
    rules=lambda settings, anatomy: (
        ("adapters/.*/lora_a", "adapter@lora_a"),
        ("adapters/.*/lora_b", "adapter@lora_b"),
        *HEAD_ONLY,
    ),
    lr_scale=faster_b,
    interceptor=lambda settings, context: side_path(settings, context, by_rank(settings)),
    merge=lambda settings, leaves, sides: merged(leaves, sides, by_rank(settings)),
)

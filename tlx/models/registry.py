"""Models by name: the one way from a config's text to a module."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax

from tlx.fields import Fields
from tlx.models import vit


@dataclass(frozen=True)
class Kind:
    """A registered architecture.

    Args:
      module: called with `num_classes` and the settings, gives a linen module with `stages()` and
        `__call__(x, first, last, train)`.
      fields: its settings.
      check: refuses settings that do not fit one another or the images.
      loops_on_cpu: whether its step may stand inside `lax.scan` on a CPU (convolutions may not).
    """

    module: Callable[..., nn.Module]
    fields: Fields
    check: Callable[[dict[str, Any], tuple[int, ...]], None]
    loops_on_cpu: bool = True


MODELS: dict[str, Kind] = {"vit": Kind(vit.ViT, vit.FIELDS, vit.check)}


@dataclass(frozen=True)
class Model:
    """An architecture with its settings and the shapes it is used at.

    Args:
      name: key of `MODELS`.
      settings: a value for each of its fields.
      num_classes: outputs of the head.
      image_HWC: shape of one input.
    """

    name: str
    settings: tuple[tuple[str, Any], ...]
    num_classes: int
    image_HWC: tuple[int, int, int]

    @property
    def module(self) -> nn.Module:
        """The linen module."""
        return MODELS[self.name].module(num_classes=self.num_classes, **dict(self.settings))

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of its stages, input first."""
        return self.module.stages()

    def init(self, seed: jax.Array | int) -> dict[str, Any]:
        """Fresh variables; each leaf depends on the seed and its own path only.

        Args:
          seed: integer, may be traced.

        Returns:
          `{"params": ...}`, and `"batch_stats"` where the model keeps any.
        """
        image_1HWC = jax.numpy.zeros((1, *self.image_HWC), jax.numpy.float32)
        return dict(self.module.init(jax.random.key(seed), image_1HWC))

"""Pixels with the mean and spread that weights were trained on."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from tlx.data.ops.op import Op, setting
from tlx.data.preprocess import normalised
from tlx.models.inputs import check_images, prepared

# Shape suffixes: B examples, H rows, W columns, C channels.


@dataclass(frozen=True)
class Normalise(Op):
    """Pixels from 0 to 1, less a mean, divided by a standard deviation.

    Not needed for tlx's own models of images: they take float32 in [-1, 1] and apply the `mean` and `std` of their own
    settings, which come with a checkpoint. With the default statistics, 0.5 and 0.5, this op gives just that range. Any
    other statistics are for a model whose own are left at 0.5, or they would be applied twice.
    """

    name: ClassVar[str] = "normalise"
    does: ClassVar[str] = "subtracts a mean and divides by a spread; tlx's models do so themselves"

    mean: tuple[float, ...] = setting((0.5,), "of pixels from 0 to 1; one number, or one for each channel")
    std: tuple[float, ...] = setting((0.5,), "likewise; as many numbers as there are means")

    def check(self) -> None:
        """Refuses statistics that do not belong together."""
        check_images(self._statistics(), (1, 1, max(1, len(self.mean))))

    @property
    def changes_range(self) -> bool:
        """Whether pixels are not in [-1, 1] afterwards."""
        return set(self.mean) | set(self.std) != {0.5}

    def image(self, x_BHWC: jax.Array, key_B: jax.Array) -> jax.Array:
        """float32 images of the same size; gray gets as many channels as there are means."""
        check_images(self._statistics(), x_BHWC.shape[1:])
        return prepared(normalised(x_BHWC), self.mean, self.std, resize=0)

    def _statistics(self) -> dict[str, Any]:
        return {"mean": self.mean, "std": self.std, "resize": 0}

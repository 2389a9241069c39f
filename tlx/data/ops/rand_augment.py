"""RandAugment: a few changes of fixed strength, drawn anew for every image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from tlx.data.ops import blends, tables
from tlx.data.ops.op import Op, setting
from tlx.data.ops.pixels import from_levels, levels
from tlx.data.ops.warp import rotation, warped

# Shape suffixes: B examples, H rows, W columns, C channels, L = 256 levels.

CHANGES = (
    "identity",
    "autocontrast",
    "equalize",
    "rotate",
    "solarize",
    "color",
    "posterize",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)


@dataclass(frozen=True)
class RandAugment(Op):
    """Each image goes through a few of fourteen changes, all of one strength.

    Draws, for each example and layer: which of `CHANGES`, uniform; whether it goes the one way or the other, for those
    that have two.

    At magnitude 10: 30° of rotation, 0.3 of shear, a shift by 0.45 of a side, a factor of 0.1 or 1.9 for colour,
    contrast, brightness and sharpness, 4 bits left by posterise, and all levels solarised; in proportion below, down to
    no effect at 0. Autocontrast and equalise have no strength.

    Source: Cubuk et al. (2019), section 3, with the ranges of Cubuk et al. (2018), table 6. Ours: factors grow
    away from 1 with the magnitude, where theirs go from 0.1 to 1.9, and solarise and posterise likewise.
    """

    name: ClassVar[str] = "rand_augment"
    does: ClassVar[str] = "a few random changes of colour and geometry"
    paper: ClassVar[str] = "Cubuk et al. 2019"
    random: ClassVar[bool] = True

    layers: int = setting(2, "changes of each image, one after the other", low=1, high=14)
    magnitude: float = setting(9.0, "strength of every change, 10 for the strongest", low=0.0, high=10.0)
    fill: float = setting(0.5, "gray of what comes in from outside, as a share of white", low=0.0, high=1.0)

    def image(self, x_BHWC: jax.Array, key_B: jax.Array) -> jax.Array:
        """Images of the same shape and type, of whole levels."""

        def augment(level_HWC: jax.Array, key: jax.Array) -> jax.Array:
            for of_layer in jax.random.split(key, self.layers):
                of_change, of_way = jax.random.split(of_layer)
                change = jax.random.randint(of_change, (), 0, len(CHANGES))
                way = jnp.where(jax.random.bernoulli(of_way), 1.0, -1.0)
                level_HWC = changed(level_HWC, change, way, self.magnitude, self.fill)
            return level_HWC

        return from_levels(jax.vmap(augment)(levels(x_BHWC), key_B), x_BHWC.dtype)


def changed(
    level_HWC: jax.Array, change: jax.Array | int, way: jax.Array | float, magnitude: float, fill: float = 0.5
) -> jax.Array:
    """An image after one of the changes.

    Every change is a table of levels, a blend with a poorer image or a warp. All three are done, two of them to no
    effect, which is much less than to do all fourteen changes.

    Args:
      level_HWC: float32, whole numbers from 0 to 255.
      change: position in `CHANGES`; may be traced.
      way: 1 or -1: counter-clockwise or not, to the left or upwards or not, more or less.
      magnitude: from 0 to 10.
      fill: gray of what comes in from outside, as a share of white.

    Returns:
      Whole levels [H, W, C].
    """
    strength = magnitude / 10

    def chosen(name: str) -> jax.Array:
        return jnp.asarray(change) == CHANGES.index(name)

    # Without these barriers XLA does each stage again for every reader of its pixels, and takes four times as long.
    level_HWC = jax.lax.optimization_barrier(tables.looked_up(level_HWC, _table(level_HWC, chosen, strength)))
    poorer_HWC, blends_in = level_HWC, jnp.array(False)
    for name, poor in _POORER.items():
        poorer_HWC = jnp.where(chosen(name), poor(level_HWC), poorer_HWC)
        blends_in |= chosen(name)
    factor = jnp.where(blends_in, 1 + way * 0.9 * strength, 1.0)
    level_HWC = jax.lax.optimization_barrier(blends.blended(poorer_HWC, level_HWC, factor))
    rows, columns = level_HWC.shape[:2]
    return warped(level_HWC, _source(rows, columns, chosen, way * strength), round(255 * fill))


_POORER: dict[str, Callable[[jax.Array], jax.Array]] = {
    "color": blends.gray,
    "contrast": blends.mean_gray,
    "brightness": jnp.zeros_like,
    "sharpness": blends.smoothed,
}


def _table(level_HWC: jax.Array, chosen: Callable[[str], jax.Array], strength: float) -> jax.Array:
    """New levels of the changes that are tables, int32 [C, 256]."""
    channels = level_HWC.shape[-1]
    count_CL = tables.counts(level_HWC)
    made = {
        "autocontrast": tables.stretched(count_CL),
        "equalize": tables.equalised(count_CL),
        "solarize": tables.solarised(channels, 256 * (1 - strength)),
        "posterize": tables.posterised(channels, 8 - round(4 * strength)),
    }
    return jnp.select([chosen(name) for name in made], list(made.values()), tables.identity(channels))


def _source(rows: int, columns: int, chosen: Callable[[str], jax.Array], signed: jax.Array | float) -> jax.Array:
    """The matrix of the changes that are warps, for a strength with a sign."""
    still_23 = jnp.eye(2, 3)
    moves = {
        "shear_x": ((0, 1), 0.3),
        "shear_y": ((1, 0), 0.3),
        "translate_x": ((0, 2), 0.45 * columns),
        "translate_y": ((1, 2), 0.45 * rows),
    }
    made = {name: still_23.at[place].set(most * signed) for name, (place, most) in moves.items()}
    made["rotate"] = rotation(30 * signed, rows, columns)
    return jnp.select([chosen(name) for name in made], list(made.values()), still_23)

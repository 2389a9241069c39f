"""Fractals: pictures without any meaning, as a source that costs nothing."""

from tlx.data.builders.canvas import Ink
from tlx.data.builders.drawn import Drawn
from tlx.data.builders.ifs import fractals


class Fractals(Drawn):
    """Classes of attractors of random affine maps, turned, scaled, moved, and covered with noise."""

    ABOUT = "Attractors of random affine maps: a class is the maps, an example is some of the points in another pose."

    def ink(self, split: int) -> Ink:
        """Draws the examples of a split."""
        return fractals(self.builder_config.settings, split)

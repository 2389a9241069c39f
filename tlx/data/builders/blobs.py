"""Blobs: images of another kind than glyphs, as a source that ought not to help."""

from tlx.data.builders.bumps import bumps
from tlx.data.builders.canvas import Ink
from tlx.data.builders.drawn import Drawn


class Blobs(Drawn):
    """Classes of soft round bumps, turned, scaled, moved, and covered with noise."""

    ABOUT = "Made-up clouds: a class is a few random round bumps, an example is them in another pose."

    def ink(self, split: int) -> Ink:
        """Draws the examples of a split."""
        return bumps(self.builder_config.settings, split)

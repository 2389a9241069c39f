"""Glyphs, the workhorse of small studies: as hard, as many and as much alike as the knobs say."""

from tlx.data.builders.canvas import Ink
from tlx.data.builders.drawn import Drawn
from tlx.data.builders.strokes import strokes


class Glyphs(Drawn):
    """Classes of straight strokes, turned, scaled, moved, and covered with noise."""

    ABOUT = "Made-up letters: a class is a few random straight strokes, an example is them in another pose and width."

    def ink(self, split: int) -> Ink:
        """Draws the examples of a split."""
        return strokes(self.builder_config.settings, split)

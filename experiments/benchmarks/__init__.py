"""How fast tlx is, as ratios between two ways of doing the same work on the same machine at the same time."""

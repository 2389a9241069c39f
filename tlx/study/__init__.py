"""A study: a grid of cells, planned, run and recorded."""

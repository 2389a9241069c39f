"""Plain linen modules, by name."""

"""Preprocessing inside the compiled program: every random change of an example is one of these ops."""

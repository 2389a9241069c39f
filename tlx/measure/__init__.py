"""Measures of transfer and their uncertainty: pure functions of numpy arrays."""

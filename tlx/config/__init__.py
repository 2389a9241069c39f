"""From a config file and overrides to a complete, checked ConfigDict."""

from tlx.config.loading import load, restored
from tlx.config.schema import INHERIT, INHERIT_NUMBER, RECIPE

__all__ = ["INHERIT", "INHERIT_NUMBER", "RECIPE", "load", "restored"]

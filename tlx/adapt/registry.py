"""Methods by name: the one way from a config's text to a method."""

from tlx.adapt.freeze import FREEZE
from tlx.adapt.full import FULL
from tlx.adapt.head import HEAD
from tlx.adapt.lora import LORA
from tlx.adapt.method import Method

METHODS: dict[str, Method] = {method.name: method for method in (FULL, FREEZE, HEAD, LORA)}

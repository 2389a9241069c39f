"""Typed settings: what a model or a method may be told, and how a wrong value is refused."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlx.errors import ConfigError, suggest

_KINDS = {int: "an integer", float: "a number", str: "a string", bool: "true or false", tuple: "a tuple"}


@dataclass(frozen=True)
class Field:
    """One setting.

    Args:
      default: the value when the config is silent; its type is the setting's type.
      doc: what it means, with its unit.
      low: smallest allowed value, or None.
      high: largest allowed value, or None.
      choices: the allowed values of a string, or empty for any.
      each: for a tuple, the rule for each of its items.
      may_be_empty: whether a tuple may have no items.
      unset: a number beside the allowed ones that leaves the choice to somebody else, or None.
    """

    default: Any
    doc: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    each: "Field | None" = None
    may_be_empty: bool = False
    unset: float | None = None

    def check(self, name: str, value: Any) -> Any:
        """The value, converted to the setting's type.

        Args:
          name: dotted path for the message.
          value: what the config holds.

        Returns:
          `value` as int, float, str, bool or tuple.

        Raises:
          ConfigError: wrong type, out of range, or not one of the choices.
        """
        kind = type(self.default)
        if kind is tuple and isinstance(value, list):
            value = tuple(value)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) <= sys.float_info.max else math.inf
        if type(value) is not kind or (kind is float and not math.isfinite(value)):
            raise ConfigError(name, f"expected {self.expected()}, got {value!r}")
        if kind is tuple:
            return self._check_items(name, value)
        if self.choices and value not in self.choices:
            raise ConfigError(name, f"unknown value {value!r}{suggest(value, self.choices)}")
        if self.unset is not None and value == self.unset:
            return value
        too_low = self.low is not None and value < self.low
        too_high = self.high is not None and value > self.high
        if too_low or too_high:
            raise ConfigError(name, f"expected {self.expected()}, got {value!r}")
        return value

    def _check_items(self, name: str, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value and not self.may_be_empty:
            raise ConfigError(name, "expected at least one item, got an empty tuple")
        if self.each is None:
            return value
        items = tuple(self.each.check(f"{name}[{i}]", item) for i, item in enumerate(value))
        for i, item in enumerate(items):
            if item in items[:i]:
                raise ConfigError(f"{name}[{i}]", f"{item!r} stands here twice")
        return items

    def expected(self) -> str:
        """The rule in words, e.g. `an integer ≥ 1`."""
        words = _KINDS[type(self.default)]
        if self.low is not None and self.high is not None:
            unset = f" or {self.unset:g}" if self.unset is not None else ""
            return f"{words} from {self.low:.15g} to {self.high:.15g}{unset}"
        if self.low is not None:
            return f"{words} ≥ {self.low:.15g}"
        if self.high is not None:
            return f"{words} ≤ {self.high:.15g}"
        return words


Fields = Mapping[str, Field]


def check_fields(where: str, fields: Fields, given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of one block: defaults filled in, each value checked.

    Args:
      where: dotted path of the block, e.g. `config.model`.
      fields: the block's settings.
      given: what the config holds.

    Returns:
      A value for every field.

    Raises:
      ConfigError: an unknown name or a wrong value.
    """
    for name in given:
        if name not in fields:
            raise ConfigError(f"{where}.{name}", f"no such field{suggest(name, fields)}")
    return {
        name: field.check(f"{where}.{name}", given[name]) if name in given else field.default
        for name, field in fields.items()
    }

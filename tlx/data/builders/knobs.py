"""How a made-up data set is named: `glyphs`, `glyphs/blur`, or with knobs, `glyphs?classes=12&noise=0.1`."""

import re
from dataclasses import dataclass
from typing import Any

from tlx.atomic import digest_json
from tlx.data.builders.presets import DEFAULT, FAMILIES, Family
from tlx.errors import ConfigError, TlxError, suggest
from tlx.fields import Field, check_fields

_WHOLE, _DECIMAL = re.compile(r"\d+"), re.compile(r"\d+(\.\d+)?(e-?\d+)?")
_DIGITS = 16  # of a digest: enough that no two settings meet


@dataclass(frozen=True)
class Variant:
    """One data set of a family.

    Args:
      family: key of `FAMILIES`.
      settings: a value for every knob.
    """

    family: str
    settings: dict[str, Any]

    @property
    def preset(self) -> str:
        """The name of these very settings, or empty."""
        presets = FAMILIES[self.family].presets
        return next((name for name in presets if _settings(self.family, name) == self.settings), "")

    @property
    def name(self) -> str:
        """The one way to write it: `glyphs/blur`, or the knobs that are not at their defaults, sorted."""
        if self.preset:
            return self.family if self.preset == DEFAULT else f"{self.family}/{self.preset}"
        return f"{self.family}?" + "&".join(
            f"{knob}={_written(value)}" for knob, value in sorted(self._changed.items())
        )

    @property
    def config(self) -> str:
        """What TFDS calls it, and the folder is called: its preset, or a digest of the knobs that were turned."""
        return self.preset or digest_json({"family": self.family, "settings": self._changed})[:_DIGITS]

    @property
    def _changed(self) -> dict[str, Any]:
        usual = _settings(self.family, DEFAULT)
        return {knob: value for knob, value in self.settings.items() if value != usual[knob]}


def names(family: str) -> list[str]:
    """The registered names of a family, its default first."""
    return [family, *(f"{family}/{preset}" for preset in FAMILIES[family].presets if preset != DEFAULT)]


def parse(name: str) -> Variant | None:
    """What a made-up data set's name says.

    Args:
      name: `FAMILY`, `FAMILY/PRESET`, and either with `?KNOB=VALUE&KNOB=VALUE` after it, which change the preset.

    Returns:
      The data set, or None if the name is of no family and has no knobs.

    Raises:
      TlxError: there is no such preset or knob, a knob has a wrong value or stands there twice.
    """
    base, mark, query = name.partition("?")
    key, _, preset = base.partition("/")
    if key not in FAMILIES:
        if mark and ":" not in base:
            raise TlxError(f"dataset {name!r}: {base!r} has no knobs; those with some: {', '.join(FAMILIES)}")
        return None
    if base not in (*names(key), f"{key}/{DEFAULT}"):
        raise TlxError(f"dataset {name!r}: there is no such dataset{suggest(base, names(key))}")
    given = _knobs(name, FAMILIES[key], query) if mark else {}
    return Variant(key, _settings(key, preset or DEFAULT) | given)


def folder(name: str) -> str:
    """Where a data set goes below the folder of all data sets; for one that is not made up, its name.

    Raises:
      TlxError: as `parse`.
    """
    variant = parse(name)
    return f"{variant.family}/{variant.config}" if variant else name


def _settings(family: str, preset: str) -> dict[str, Any]:
    kind = FAMILIES[family]
    return check_fields(family, kind.fields, kind.presets[preset])


def _knobs(name: str, family: Family, query: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in query.split("&"):
        knob, equals, text = part.partition("=")
        if not equals:
            raise TlxError(f"dataset {name!r}: expected KNOB=VALUE after the question mark, got {part!r}")
        if knob not in family.fields:
            raise TlxError(f"dataset {name!r}: there is no knob {knob!r}{suggest(knob, family.fields)}")
        if knob in found:
            raise TlxError(f"dataset {name!r}: knob {knob!r} stands here twice")
        field = family.fields[knob]
        try:
            found[knob] = field.check(knob, _value(field, text))
        except ConfigError as error:
            raise TlxError(f"dataset {name!r}: {error}") from None
    return found


def _value(field: Field, text: str) -> Any:
    """A text as the field's type, where it is written as one; else itself, for the field to refuse."""
    kind = type(field.default)
    if kind is bool:
        return {"true": True, "false": False}.get(text, text)
    if kind is int and _WHOLE.fullmatch(text):
        return int(text)
    if kind is float and _DECIMAL.fullmatch(text):
        return float(text)
    return text


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)

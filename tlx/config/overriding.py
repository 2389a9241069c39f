"""Overrides of single fields, `--config.a.b=value`, in ml_collections' syntax."""

from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from tlx.config.schema import KINDS, METHOD_FIELDS
from tlx.errors import ConfigError, suggest


def split_override(text: str) -> tuple[str, str]:
    """Path and value of `--config.a.b=value`.

    Raises:
      ConfigError: it is of another form.
    """
    path, equals, value = text.removeprefix("--").partition("=")
    if not text.startswith("--config.") or not equals:
        raise ConfigError(text, "expected --config.FIELD=VALUE")
    return path, value


def override(config: ConfigDict, pairs: Sequence[tuple[str, str]]) -> ConfigDict:
    """The config with fields, or items of tuples, set.

    Args:
      config: changed in place, too.
      pairs: path and text.

    Raises:
      ConfigError: there is no such field.
    """
    for path, text in pairs:
        field, bracket, index = path.removesuffix("]").partition("[")
        block, name = lookup(config, field)
        value = block[name]
        if isinstance(value, ConfigDict):
            raise ConfigError(path, f"is a block; set one of its fields ({', '.join(sorted(value))})")
        if not bracket:
            value = _parse(value, text)
        elif isinstance(value, tuple) and index.isdecimal() and (i := int(index)) < len(value):
            value = (*value[:i], _parse(value[i], text), *value[i + 1 :])
        else:
            raise ConfigError(path, f"{field} has no item {index}")
        with block.ignore_type():
            block[name] = value
    return config


def swap_kind(config: ConfigDict, path: str, text: str) -> ConfigDict:
    """The config with another model or method, without the settings that only the one before it has."""
    block, name = lookup(config, path)
    kinds = KINDS["model"] if path == "config.model.name" else METHOD_FIELDS
    before = kinds.get(block[name], {})
    config = override(config, [(path, text)])
    for setting in before.keys() - kinds.get(block[name], {}).keys():
        if setting in block:
            del block[setting]
    return config


def lookup(config: ConfigDict, path: str) -> tuple[ConfigDict, str]:
    """The block a field stands in, and its name there."""
    block, name = config, ""
    node: Any = config
    walked, *names = path.split(".")
    for name in names:
        if not isinstance(node, ConfigDict) or name not in node:
            options = list(node) if isinstance(node, ConfigDict) else []
            raise ConfigError(f"{walked}.{name}", f"no such field{suggest(name, options)}")
        block, node, walked = node, node[name], f"{walked}.{name}"
    return block, name


def _parse(current: Any, text: str) -> Any:
    """What ml_collections makes of a text, or the text itself, for the field's own check to refuse."""
    values = flags.FlagValues()
    argv = ["tlx", f"--config.value={text}"]
    try:
        config_flags.DEFINE_config_dict("config", ConfigDict({"value": current}), flag_values=values, sys_argv=argv)
        values(argv)
    except Exception:
        # The parsers of absl and ml_collections raise half a dozen types; all mean the same.
        return text
    return values.config.value

"""A config file and overrides to a complete, checked ConfigDict."""

import difflib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tlx.config.filling import check_whole, complete_model, filled
from tlx.config.overriding import lookup, override, split_override, swap_kind
from tlx.errors import ConfigError, FileError, TlxError


def load(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """A config, complete and checked.

    Args:
      spec: `PATH` or `PATH:ARGUMENT` of a Python file with `get_config(argument)`.
      overrides: `--config.a.b=value`, in ml_collections' syntax.

    Returns:
      The locked config, every field present.

    Raises:
      FileError: no such file, or it has no `get_config`.
      ConfigError: a field that does not exist or a value that will not do.
    """
    pairs = [split_override(text) for text in overrides]
    # What names a method or a model decides which fields there are, so it is set before they are filled in.
    kinds = [pair for pair in pairs if re.fullmatch(r"config\.(model|adapt\..+\.method)\.name", pair[0])]
    config = _read(spec)
    # A checkpoint decides what the model is, so it too is set before the rest is filled in.
    checkpoints = [pair for pair in pairs if re.fullmatch(r"config\.sources\.[^.]+\.(checkpoint|start)", pair[0])]
    for path, text in checkpoints:
        source, _, field = path.rpartition(".")
        block, name = lookup(config, source)
        if isinstance(block[name], ConfigDict):
            block[name][field] = text
    config.model = complete_model(config.to_dict())
    for path, text in kinds:
        config = swap_kind(config, path, text)
    # The learning rates of an entry that names none follow from its arm, an op's fields from its being named.
    arms = [pair for pair in pairs if re.fullmatch(r"config\.(adapt\.[^.]+\.arm|preprocess\.ops)", pair[0])]
    config = override(filled(config, rates=False), arms)
    config = override(filled(config), [pair for pair in pairs if pair not in (*kinds, *arms, *checkpoints)])
    config = filled(config)
    check_whole(config)
    config.lock()
    return config


def restored(plain: Mapping[str, Any]) -> ConfigDict:
    """The config of a study that was run, from the plain values its manifest holds.

    Args:
      plain: `manifest["config"]`.

    Returns:
      The locked config.

    Raises:
      ConfigError: it is from another version of tlx, or was edited: a field that does not exist or a bad value.
    """
    config = filled(ConfigDict(dict(plain)))
    check_whole(config)
    config.lock()
    return config


def _read(spec: str) -> ConfigDict:
    name, _, argument = spec.partition(":")
    path = Path(name)
    if not path.is_file():
        siblings = [str(p) for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        close = difflib.get_close_matches(name, siblings, n=1)
        raise FileError(name, "no such config file" + (f" (did you mean {close[0]!r}?)" if close else ""))
    module_spec = importlib.util.spec_from_file_location("tlx_user_config", path)
    if module_spec is None or module_spec.loader is None:
        raise FileError(name, "expected a Python file with get_config(argument)")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise FileError(name, "defines no get_config(argument)")
        config = module.get_config(argument)
        if isinstance(config, ConfigDict):
            return ConfigDict(_plain("config", config.to_dict()))
    except TlxError:
        raise
    except (Exception, SystemExit) as error:
        raise FileError(name, f"{type(error).__name__}: {error}".splitlines()[0]) from error
    raise FileError(name, f"get_config returned {type(config).__name__}, expected a ml_collections.ConfigDict")


def _plain(where: str, value: Any) -> Any:
    """The value, if it is a block of named values, a sequence, a text or a number."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ConfigError(where, f"expected a name for each field, got {key!r}")
            _plain(f"{where}.{key}", item)
    elif isinstance(value, tuple | list):
        for i, item in enumerate(value):
            _plain(f"{where}[{i}]", item)
    elif value is not None and not isinstance(value, str | int | float):
        raise ConfigError(where, f"expected a plain value, got one of type {type(value).__name__}")
    return value

"""What a method is: fields, rules, and an optional interceptor."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax

from tlx.fields import Fields
from tlx.partition import Rules

Settings = Mapping[str, Any]
Interceptor = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any], nn.module.InterceptorContext], Any]


@dataclass(frozen=True)
class Method:
    """A way of adapting, as data.

    Args:
      name: what `method.name` says.
      paper: author, year.
      fields: its settings.
      rules: settings to `(pattern, label)` pairs over the paths of parameters and adapters.
      interceptor: settings and a traced adapter scale to an interceptor that adds adapters around
        existing modules, or None where nothing is added.
    """

    name: str
    paper: str
    fields: Fields
    rules: Callable[[Settings], Rules]
    interceptor: Callable[[Settings, jax.Array | float], Interceptor] | None = None

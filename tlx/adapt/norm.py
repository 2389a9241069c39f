"""Norm tuning: the scales and biases of norms move."""

import re

from tlx.adapt.anatomy import Anatomy
from tlx.adapt.method import Defaults, Method, Settings
from tlx.errors import ConfigError
from tlx.partition import FROZEN, Rules


def rules(settings: Settings, anatomy: Anatomy) -> Rules:
    """The norms and the head; a norm is what has a `scale`.

    Args:
      settings: none.
      anatomy: the model's leaves.

    Returns:
      Rules over its parameters.

    Raises:
      ConfigError: the model has no norm.

    Source: Frankle et al. (2020), who train the norms of a random network; Zhao et al. (2023) those of a
      pretrained one. Whether batch norm also updates its running statistics is a setting of its own.
    """
    body = [path for path in anatomy.leaves if path.startswith("params/") and not path.startswith("params/head/")]
    norms = [re.escape(path.removesuffix("/scale")) for path in body if path.endswith("/scale")]
    if not norms:
        raise ConfigError("name", f"{anatomy.model.name!r} has no norm with a scale")
    return (("params/head/.*", "head"), (f"({'|'.join(norms)})/(scale|bias)", "train"), ("params/.*", FROZEN))


NORM = Method(
    name="norm",
    paper="Frankle et al., 2020",
    trains="scales and biases of norms, and the head",
    fields={},
    defaults=Defaults((1e-4, 1e-3, 1e-2)),
    rules=rules,
)

"""BitFit: the biases move."""

import re

from tlx import tree
from tlx.adapt.anatomy import Anatomy
from tlx.adapt.method import Defaults, Method, Settings
from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.partition import FROZEN, Rules


def rules(settings: Settings, anatomy: Anatomy) -> Rules:
    """The biases that are asked for and the head.

    Args:
      settings: `biases`.
      anatomy: the model's leaves.

    Returns:
      Rules over its parameters.

    Raises:
      ConfigError: the model has no such bias, or the pattern matches other leaves.

    Source: Ben-Zaken et al. (2021), section 3. The biases of norms are among "all", as there. Their smaller variant
      is the pattern `.*/(query|up)/bias`.
    """
    body = [path for path in anatomy.leaves if path.startswith("params/") and not path.startswith("params/head/")]
    wanted = r".*/bias" if settings["biases"] == "all" else settings["biases"]
    found = [path for path in body if tree.matches(wanted, path)]
    if not found:
        what = "bias outside its head" if settings["biases"] == "all" else f"parameter {wanted!r} outside its head"
        raise ConfigError("biases", f"{anatomy.model.name!r} has no {what}")
    for path in found:
        if path.rpartition("/")[2] != "bias":
            raise ConfigError("biases", f"{wanted!r} matches {path!r}, which is no bias")
    return (("params/head/.*", "head"), ("|".join(map(re.escape, found)), "train"), ("params/.*", FROZEN))


BITFIT = Method(
    name="bitfit",
    paper="Ben-Zaken et al., 2021",
    trains="the biases, those of norms too, and the head",
    fields={"biases": Field("all", "all, or a regular expression over the paths of biases")},
    defaults=Defaults((1e-4, 1e-3, 1e-2)),
    rules=rules,
)

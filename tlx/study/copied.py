"""Which stages of a transferred tree start from the source: all before the head, or the first ones alone."""

import re

from tlx import tree
from tlx.adapt.anatomy import Anatomy
from tlx.adapt.ranges import holding
from tlx.errors import ConfigError
from tlx.models.registry import Model
from tlx.study.spec import TRANSFER, Entry


def above(model: Model, copied: int) -> tuple[str, ...]:
    """Patterns of the leaves that start fresh although they are not the head's.

    Args:
      model: the architecture.
      copied: stages that start from the source, of those that hold parameters, counted from the input; 0 for all.

    Returns:
      One pattern over paths of parameters and running statistics, or none.

    Source: Yosinski et al. (2014), section 3: the first n layers of a network are copied, the others are drawn anew.
    """
    fresh = holding(Anatomy(model))[copied:] if copied else ()
    return (rf"\w+/({'|'.join(map(re.escape, fresh))})/.*",) if fresh else ()


def is_fresh_below(model: Model, copied: int, depth: int) -> bool:
    """Whether a stage below a depth holds leaves that do not come from the source.

    Args:
      model: the architecture.
      copied: as for `above`.
      depth: index of a stage.
    """
    anatomy = Anatomy(model)
    below = [path for path in anatomy.leaves if anatomy.idle_above(path, depth)]
    return any(tree.matches(pattern, path) for pattern in above(model, copied) for path in below)


def check_copied(entry: Entry, model: Model) -> None:
    """Whether as many stages can be copied as an entry says.

    Args:
      entry: names the arm and the number.
      model: the architecture.

    Raises:
      ConfigError: of the field `copied`: there are fewer stages, or no source to copy from.
    """
    if entry.copied and entry.arm != TRANSFER:
        raise ConfigError("copied", f"expected 0, as arm {entry.arm!r} has no source, got {entry.copied}")
    stages = holding(Anatomy(model))
    if entry.copied > len(stages):
        held = f"{model.name!r} has {', '.join(stages)} before its head"
        raise ConfigError("copied", f"expected at most {len(stages)}, as {held}, got {entry.copied}")

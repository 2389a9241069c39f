"""Which stages move: all but the first ones, only the last ones, or those of one name."""

import re
from collections.abc import Collection

from tlx import tree
from tlx.adapt.anatomy import Anatomy, stage_of
from tlx.adapt.method import Defaults, Method, Settings
from tlx.errors import ConfigError, suggest
from tlx.fields import Field
from tlx.partition import FROZEN, Rules


def holding(anatomy: Anatomy) -> tuple[str, ...]:
    """The stages before the head that hold parameters, input first; a mean over positions holds none."""
    owners = {stage_of(path, anatomy.stages) for path in anatomy.leaves if path.startswith("params/")}
    return tuple(stage for stage in anatomy.stages[:-1] if stage in owners)


def only(anatomy: Anatomy, moving: Collection[str], head: str = "head") -> Rules:
    """Rules under which no other stages move than these and the head.

    Args:
      anatomy: the model's stages.
      moving: some of the stages that hold parameters, the head not among them.
      head: the head's label.

    Returns:
      Rules of which each decides a leaf.
    """
    rules = [("params/head/.*", head)]
    if moving:
        rules.append((f"params/({'|'.join(map(re.escape, moving))})/.*", "train"))
    if len(moving) < len(holding(anatomy)):
        rules.append(("params/.*", FROZEN))
    return tuple(rules)


def _counted(settings: Settings, anatomy: Anatomy) -> tuple[int, tuple[str, ...]]:
    stages, k = holding(anatomy), settings["k"]
    if k > len(stages):
        held = f"{anatomy.model.name!r} has {', '.join(stages)} before its head"
        raise ConfigError("k", f"expected at most {len(stages)}, as {held}, got {k}")
    return k, stages


def _freeze_first(settings: Settings, anatomy: Anatomy) -> Rules:
    k, stages = _counted(settings, anatomy)
    return only(anatomy, stages[k:])


def _top(settings: Settings, anatomy: Anatomy) -> Rules:
    k, stages = _counted(settings, anatomy)
    return only(anatomy, stages[len(stages) - k :])


def _surgical(settings: Settings, anatomy: Anatomy) -> Rules:
    stages = holding(anatomy)
    wanted = settings["stage"] or re.escape(stages[0])
    found = [stage for stage in stages if tree.matches(wanted, stage)]
    if not found:
        known = suggest(wanted, stages)
        raise ConfigError("stage", f"{anatomy.model.name!r} has no stage {wanted!r} with parameters{known}")
    return only(anatomy, found, "head" if settings["with_head"] else FROZEN)


FREEZE_FIRST = Method(
    name="freeze_first",
    paper="Yosinski et al., 2014",
    trains="all but the first stages, which are computed once",
    fields={"k": Field(1, "stages that stay, counted from the input; the embedding is one", low=0, high=1000)},
    defaults=Defaults((1e-4, 3e-4, 1e-3), weight_decay=0.01),
    rules=_freeze_first,
)

TOP = Method(
    name="top",
    paper="Jia et al., 2022",
    trains="the last stages and the head; the stages below are computed once",
    fields={"k": Field(1, "stages that move beside the head, counted from it down", low=0, high=1000)},
    defaults=Defaults((1e-4, 3e-4, 1e-3), weight_decay=0.01),
    rules=_top,
)

SURGICAL = Method(
    name="surgical",
    paper="Lee et al., 2023",
    trains="the stages of one name, and the head",
    fields={
        "stage": Field("", "name of a stage, or a regular expression over their names; empty for the first stage"),
        "with_head": Field(True, "whether the head moves as well"),
    },
    defaults=Defaults((1e-5, 1e-4, 1e-3), weight_decay=0.01),
    rules=_surgical,
)

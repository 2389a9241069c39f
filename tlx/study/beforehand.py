"""A finished cell as it began and as it ended, from what was kept of it."""

from dataclasses import dataclass, replace
from typing import Any

from tlx import artifact, tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.merging import merge
from tlx.errors import ConfigError
from tlx.study.cells import Cell
from tlx.study.context import Context
from tlx.study.plan import Unit
from tlx.study.starts import initial_variables


@dataclass(frozen=True)
class Ends:
    """A cell before its first step and after its last.

    Args:
      adapted: the model and its methods.
      before: `params`, `adapters` and `batch_stats`.
      after: the same leaves.
    """

    adapted: Adapted
    before: dict[str, Any]
    after: dict[str, Any]


def ends_of(unit: Unit, cell: Cell, context: Context) -> Ends:
    """Both ends of a cell that was run with `config.artifacts`.

    Args:
      unit: names the model and the method.
      cell: finished, and kept.
      context: of the study.

    Returns:
      Its leaves; the adapters before the first step are those the run drew.

    Raises:
      CheckpointError: what was kept is damaged, or belongs to other leaves than those the source has now.
    """
    start, _ = initial_variables(unit, cell.seed, context)
    before = {name: start[name] for name in artifact.OWN if start.get(name)}
    after = artifact.load(context.folders.work / "artifacts" / cell.id, start).variables
    return Ends(unit.task.adapted, before, after)


def plain_leaves(adapted: Adapted, variables: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The leaves of a model, adapters folded in where the method can.

    Args:
      adapted: the model and its methods.
      variables: `params`, `adapters` and `batch_stats`.

    Returns:
      `params` and `batch_stats`; and whether they are all of the model, which they are not beside adapters that cannot
      be folded in.
    """
    try:
        return merge(adapted, variables).variables, True
    except ConfigError:
        return {name: leaves for name, leaves in variables.items() if name != "adapters"}, False


def with_head(ends: Ends, adapted: Adapted, head: dict[str, Any]) -> Ends | str:
    """The same trunk, before and after, under a head of another data set.

    Args:
      ends: of a cell.
      adapted: the same methods on the model of the other data set.
      head: its leaves.

    Returns:
      Both ends; or why there are none.
    """
    wider = _shapes(adapted, adapted.model.num_classes + 1)
    own = _shapes(adapted, adapted.model.num_classes)
    if any(wider.get(path) != shape for path, shape in own.items() if path.startswith("adapters/")):
        return "the method has a part of its own in the head"
    sides = []
    for leaves in (ends.before, ends.after):
        made = {**leaves, "params": {**leaves["params"], "head": head}}
        given = {path: tuple(leaf.shape) for path, leaf in tree.flatten(made).items()}
        if odd := sorted(path for path in own.keys() | given.keys() if own.get(path) != given.get(path)):
            return f"{odd[0]!r} has another shape in the source's model"
        sides.append(made)
    return Ends(adapted, sides[0], sides[1])


def _shapes(adapted: Adapted, classes: int) -> dict[str, tuple[int, ...]]:
    leaves = replace(adapted, model=replace(adapted.model, num_classes=classes)).abstract()
    flat = tree.flatten({name: leaves[name] for name in artifact.OWN if leaves.get(name)})
    return {path: tuple(leaf.shape) for path, leaf in flat.items()}

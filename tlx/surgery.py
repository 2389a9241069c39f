"""From a source tree to a target tree: every leaf is copied, reset on purpose, or an error."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tlx import tree
from tlx.errors import RuleError, suggest

# Leaves that a line names one by one.
FEW = 6


@dataclass(frozen=True)
class Report:
    """What became of every leaf.

    Args:
      copied: paths taken from the source.
      reset: paths of the target that keep their fresh values.
      left_out: paths of the source that the target does not take.
      copied_params: number of parameters copied.
      total_params: number of parameters of the target.
    """

    copied: tuple[str, ...]
    reset: tuple[str, ...]
    left_out: tuple[str, ...]
    copied_params: int
    total_params: int

    def as_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for a record."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def line(self) -> str:
        """One line for the terminal."""
        share = self.copied_params / self.total_params
        return (
            f"copied {len(self.copied)} leaves ({share:.1%} of {self.total_params:,} parameters), "
            f"reset {_listed(self.reset)}, left out {_listed(self.left_out)}"
        )


def _listed(paths: Sequence[str]) -> str:
    """A few paths, or what many lie under."""
    if len(paths) <= FEW:
        return ", ".join(paths) or "none"
    return f"{len(paths)} of {', '.join(dict.fromkeys(path.split('/')[1] for path in paths))}"


def transplant(source: Any, fresh: Any, reset: Sequence[str]) -> tuple[dict[str, Any], Report]:
    """The target tree with the source's values wherever no rule says otherwise.

    Args:
      source: nested dict of arrays.
      fresh: nested dict of arrays: the target as initialised.
      reset: patterns over paths; a matching leaf stays fresh, and is left out of the source.

    Returns:
      The target tree and the report; copied, reset and left-out paths together are both trees.

    Raises:
      RuleError: a leaf that only one tree has, a differing shape or dtype, or a pattern that matches nothing.
    """
    old, new = tree.flatten(source), tree.flatten(fresh)
    for pattern in reset:
        if not any(tree.matches(pattern, path) for path in [*old, *new]):
            raise RuleError(f"reset rule {pattern!r} matches no parameter")
    is_reset = {path: any(tree.matches(p, path) for p in reset) for path in [*old, *new]}
    leaves = {}
    for path, leaf in new.items():
        if is_reset[path]:
            leaves[path] = leaf
            continue
        if path not in old:
            hint = suggest(path, old.keys() - new.keys())
            raise RuleError(f"the source has no parameter {path!r}{hint}; reset it or rename it")
        if old[path].shape != leaf.shape:
            raise RuleError(f"{path!r} has shape {old[path].shape} in the source and {leaf.shape} in the target")
        if old[path].dtype != leaf.dtype:
            raise RuleError(f"{path!r} is {old[path].dtype} in the source and {leaf.dtype} in the target")
        leaves[path] = old[path]
    for path in old:
        if path not in new and not is_reset[path]:
            hint = suggest(path, new.keys() - old.keys())
            raise RuleError(f"the target has no parameter {path!r}{hint}; leave it out by a reset rule")
    copied = tuple(path for path in new if not is_reset[path])
    report = Report(
        copied=copied,
        reset=tuple(path for path in new if is_reset[path]),
        left_out=tuple(path for path in old if is_reset[path]),
        copied_params=sum(new[path].size for path in copied),
        total_params=tree.count(fresh),
    )
    return tree.unflatten(leaves), report

"""From the rules of one or several methods to one label a leaf, in every phase."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tlx import tree
from tlx.adapt.anatomy import Anatomy
from tlx.adapt.hooks import Phase
from tlx.adapt.method import HEAD, Method
from tlx.errors import ConfigError, RuleError, suggest
from tlx.models.registry import Model
from tlx.partition import FROZEN, label_tree

# A label that says more than these wins over them where methods are composed.
GENERIC = ("train", "head", "adapter")


def adapter_paths(variables: dict[str, Any]) -> list[str]:
    """Paths of the adapters among all leaves."""
    return [path for path in tree.flatten(variables) if path.startswith("adapters/")]


def label_parts(
    parts: Sequence[tuple[Method, dict[str, Any]]], own: Sequence[Sequence[str]], anatomy: Anatomy
) -> dict[str, str]:
    """The label of every parameter and adapter: it moves if any method moves it that does more than modify others.

    Args:
      parts: the methods and their settings.
      own: paths of each method's adapters, which its rules alone decide.
      anatomy: the model's leaves.

    Returns:
      Path to label.

    Raises:
      ConfigError: a setting that does not fit the model.
    """
    params = [path for path in anatomy.leaves if path.startswith("params/")]
    found: dict[str, list[str]] = {}
    named: dict[str, list[str]] = {}
    for i, ((method, settings), adapters) in enumerate(zip(parts, own, strict=True)):
        with blamed_on_part(method.name if i else ""):
            try:
                leaves = tree.unflatten(dict.fromkeys([*params, *adapters], 0))
                rules = method.rules(settings, anatomy)
                # There is nothing to say of a head without leaves of its own.
                labels = label_tree([rule for rule in rules if anatomy.has_head or rule != HEAD], leaves)
            except RuleError as error:
                raise blame(error, settings, anatomy.model) from None
        for path, label in labels.items():
            only_names = i > 0 and method.modifies and path not in adapters
            (named if only_names else found).setdefault(path, []).append(label)
    labels = {path: _strongest(claims, named.get(path, [])) for path, claims in sorted(found.items())}
    if not anatomy.has_head and set(labels.values()) == {FROZEN}:
        raise ConfigError("name", f"the method trains the head alone, but that of {anatomy.model.name!r} has no leaves")
    return labels


def _strongest(claims: list[str], names: list[str]) -> str:
    if not (moving := [label for label in claims if label != FROZEN]):
        return FROZEN
    return next((label for label in (*moving, *names) if label not in (*GENERIC, FROZEN)), moving[0])


def in_phase(labels: dict[str, str], phases: Sequence[Phase], phase: int) -> dict[str, str]:
    """The labels of one phase: leaves not yet open are frozen, those that joined later say when.

    Args:
      labels: of the whole run.
      phases: in order.
      phase: index of the one asked for.

    Returns:
      Path to label.

    Raises:
      ConfigError: a phase opens nothing that moves.
    """
    joins = {}
    for path, label in labels.items():
        if label != FROZEN:
            opened = [i for i, one in enumerate(phases) if any(tree.matches(p, path) for p in one.opens)]
            joins[path] = opened[0] if opened else len(phases)
    if phases[0].opens and not any(joined == 0 for joined in joins.values()) and len(phases) > 1:
        raise ConfigError("name", f"its first phase opens {phases[0].opens}, none of which moves")
    in_it = {path: joined for path, joined in joins.items() if joined <= phase}
    return {
        path: f"{label}#{in_it[path]}" if in_it.get(path) else label if path in in_it else FROZEN
        for path, label in labels.items()
    }


def stat_labels(paths: Sequence[str], labels: dict[str, str], policy: str) -> dict[str, str]:
    """Which running statistics are updated.

    Args:
      paths: of the statistics, `batch_stats/MODULE/mean`.
      labels: of the parameters.
      policy: `auto`, `frozen_stats`, `update_stats` or `reset`.

    Returns:
      `stats` or `frozen` by path.
    """

    def updated(path: str) -> bool:
        if policy != "auto":
            return policy != "frozen_stats"
        module = path.removeprefix("batch_stats/").rpartition("/")[0]
        return any(labels.get(f"params/{module}/{leaf}", FROZEN) != FROZEN for leaf in ("scale", "bias"))

    return {path: "stats" if updated(path) else FROZEN for path in paths}


def no_target(method: Method, settings: dict[str, Any], model: Model) -> ConfigError:
    """The error of a method that found nothing to adapt."""
    if target := settings.get("target"):
        return ConfigError("target", f"{target!r} matches no layer of {model.name!r} that {method.name!r} adapts")
    field = "target" if "target" in settings else "name"
    return ConfigError(field, f"{method.name!r} finds no layer of {model.name!r} to adapt")


def blame(error: RuleError, settings: dict[str, Any], model: Model) -> ConfigError:
    """The error as one of the setting that holds the pattern it quotes."""
    patterns = {name: value for name, value in settings.items() if isinstance(value, str)}
    for name, value in settings.items():
        if isinstance(value, tuple):
            patterns |= {f"{name}[{i}]": item for i, item in enumerate(value)}
    field = next((field for field, pattern in patterns.items() if repr(pattern) in str(error)), "")
    if not field:
        # A rule of the method's own, which the settings leave nothing to decide.
        return ConfigError(next((name.partition("[")[0] for name in patterns), "name"), str(error))
    unmatched = "matches no parameter" in str(error)
    stages = [f"params/{stage}/.*" for stage in model.stages]
    return ConfigError(field, f"{error}{suggest(patterns[field], stages) if unmatched else ''}")


@contextmanager
def blamed_on_part(name: str) -> Iterator[None]:
    """Fields that errors name belong to the method of this name; the main one has none."""
    try:
        yield
    except ConfigError as error:
        raise (error.within(f"also.{name}") if name else error) from None

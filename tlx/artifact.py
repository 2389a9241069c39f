"""What a run trained, saved alone: megabytes beside a base of gigabytes, and of use on that base only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from tlx import tree
from tlx.adapt.adapted import STATS, Adapted
from tlx.adapt.registry import METHODS
from tlx.checkpoint import load_artifact, save_artifact
from tlx.errors import CheckpointError, ConfigError, RuleError
from tlx.fields import check_fields
from tlx.models.registry import MODELS, Model

# Collections of a model; `reference` holds what only training needs.
OWN = ("params", "adapters", "batch_stats")


@dataclass(frozen=True)
class Artifact:
    """An adapted model, read back.

    Args:
      adapted: the model and its methods, rebuilt from what the file says.
      variables: all leaves, base and trained.
      lineage: where the base came from, as it was saved.
    """

    adapted: Adapted
    variables: dict[str, Any]
    lineage: dict[str, Any]


def save(folder: Path, adapted: Adapted, variables: dict[str, Any], lineage: Mapping[str, Any] | None) -> None:
    """Save the leaves that belong to the adaptation: what moved, all adapters and the head.

    Args:
      folder: does not exist, or holds the same artifact.
      adapted: the model and its methods.
      variables: all leaves, after training.
      lineage: where the base came from.

    Raises:
      CheckpointError: another artifact is there.
      FileError: the system refuses.
    """
    own, base = _divide(adapted, variables)
    meta = {
        "kind": "adaptation",
        "model": describe_model(adapted.model),
        "method": {"name": adapted.method, "settings": plain(dict(adapted.settings))},
        "also": [{"name": name, "settings": plain(dict(settings))} for name, settings in adapted.also],
        "batch_stats": adapted.stats,
        "source_classes": adapted.source_classes,
        "base": tree.digest(base),
        "lineage": dict(lineage or {}),
    }
    save_artifact(folder, own, meta)


def load(folder: Path, base: dict[str, Any]) -> Artifact:
    """Put saved leaves back on the base they belong to.

    Args:
      folder: from `save`.
      base: leaves of the base model; a head of its own is left out.

    Returns:
      The adapted model.

    Raises:
      CheckpointError: the folder is missing or damaged, says something this program does not know, or belongs to
        another base.
    """
    restored = load_artifact(folder)
    try:
        adapted = _adapted(restored.meta)
        own = tree.flatten(restored.tree)
        shapes = {path: leaf for path, leaf in tree.flatten(adapted.abstract()).items() if path.split("/")[0] in OWN}
        expected, _ = _divide(adapted, tree.unflatten(shapes))
    except (ConfigError, RuleError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(folder, f"is no adaptation this version can read: {error}") from None
    wanted = {path: (leaf.shape, leaf.dtype) for path, leaf in tree.flatten(expected).items()}
    if wanted != {path: (leaf.shape, leaf.dtype) for path, leaf in own.items()}:
        odd = sorted({*wanted} ^ {*own}) or sorted(p for p in wanted if wanted[p] != (own[p].shape, own[p].dtype))
        raise CheckpointError(folder, f"its leaves are not those of its method; the first to differ is {odd[0]!r}")
    given = tree.flatten(base)
    missing = [path for path in shapes if path not in own and path not in given]
    rest = {path: given[path] for path in shapes if path not in own and path in given}
    if missing or tree.digest(tree.unflatten(rest)) != restored.meta["base"]:
        why = f"it has no {missing[0]!r}" if missing else "its leaves have another digest"
        raise CheckpointError(folder, f"belongs to another base: {why}")
    return Artifact(adapted, jax.tree.map(jax.numpy.asarray, tree.unflatten({**rest, **own})), restored.meta["lineage"])


def describe_model(model: Model) -> dict[str, Any]:
    """An architecture in plain values, for JSON; `model_from` reads it back."""
    return {
        "name": model.name,
        "settings": plain(dict(model.settings)),
        "num_classes": model.num_classes,
        "input_shape": list(model.input_shape),
    }


def model_from(folder: Path, described: Any) -> Model:
    """The architecture that a saved tree says it belongs to.

    Args:
      folder: where it says so, for the message.
      described: from `describe_model`.

    Raises:
      CheckpointError: it is none that this version knows.
    """
    try:
        return _model(described)
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(folder, f"describes no model this version can read: {error}") from None


def _divide(adapted: Adapted, variables: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What belongs to the adaptation, its head always, and what to the base."""
    labels = {**adapted.labels(), **adapted.stat_labels()}
    leaves = {path: leaf for path, leaf in tree.flatten(variables).items() if path.split("/")[0] in OWN}
    own = {path for path in leaves if path.startswith(("adapters/", "params/head/")) or labels[path] != "frozen"}
    return (
        tree.unflatten({path: leaf for path, leaf in leaves.items() if path in own}),
        tree.unflatten({path: leaf for path, leaf in leaves.items() if path not in own}),
    )


def _adapted(meta: Mapping[str, Any]) -> Adapted:
    model = _model(meta["model"])
    parts = []
    for part in (meta["method"], *meta["also"]):
        checked = check_fields("method", METHODS[part["name"]].fields, part["settings"])
        parts.append((part["name"], tuple(sorted(checked.items()))))
    if meta["batch_stats"] not in STATS:
        raise ConfigError("batch_stats", f"unknown value {meta['batch_stats']!r}")
    (name, own), *also = parts
    classes = meta.get("source_classes", 0)
    if type(classes) is not int or classes < 0:
        raise ConfigError("source_classes", f"expected an integer ≥ 0, got {classes!r}")
    return Adapted(model, name, own, tuple(also), meta["batch_stats"], classes)


def _model(described: Mapping[str, Any]) -> Model:
    kind = MODELS[described["name"]]
    settings = check_fields("model", kind.fields, described["settings"])
    shape = tuple(described["input_shape"])
    kind.check(settings, shape)
    return Model(described["name"], tuple(sorted(settings.items())), described["num_classes"], shape)


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON would give them back: tuples are lists."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}

"""The columns of records as a frame: what each is called, holds and comes from."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tlx.measure.pairing import Pair, at

DAMAGED, FAILED, MISSING = "damaged", "failed", "missing"
STATUSES = ("ok", "diverged", FAILED, DAMAGED, MISSING)


@dataclass(frozen=True)
class Facts:
    """What is known of one cell.

    Args:
      folder: it was read from.
      study: its name.
      id: content id.
      planned: whether `study.json` names it.
      status: one of `STATUSES`.
      cell: its place in the grid.
      record: its result, empty without one.
      timing: what it took, empty if unknown.
      reason: why it has no result, or why its record cannot be used; None for the others.
      pair: with its scratch cell; None for scratch itself, and without a record.
    """

    folder: str
    study: str
    id: str
    planned: bool
    status: str
    cell: Mapping[str, Any]
    record: Mapping[str, Any]
    timing: Mapping[str, Any]
    reason: str | None
    pair: Pair | None


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
      name: stable.
      dtype: of pandas, one that has a mark for what is missing.
      doc: what it holds, with its unit.
      of: finds it; None where there is none.
    """

    name: str
    dtype: Literal["string", "boolean", "Int64", "float64"]
    doc: str
    of: Callable[[Facts], Any]


def _recorded(field: str) -> Callable[[Facts], Any]:
    return lambda facts: at(facts.record, field)


def _settings(facts: Facts) -> str | None:
    method = facts.cell["method"]
    if not isinstance(method, Mapping):
        return None
    rest = {key: value for key, value in method.items() if key != "name"}
    return json.dumps(rest, sort_keys=True, ensure_ascii=False)


def _rate(facts: Facts) -> Any:
    rate = at(facts.record, "selected.lr")
    return at(facts.record, "selected.l2") if rate is None else rate


def _rate_kind(facts: Facts) -> str | None:
    return next((kind for kind in ("lr", "l2") if kind in facts.record.get("selected", {})), None)


def _drawn(facts: Facts) -> str | None:
    """Chosen hyper-parameters besides the rate."""
    chosen = facts.record.get("selected", {})
    rest = {key: value for key, value in chosen.items() if key not in ("lr", "l2", "by", "edge")}
    return json.dumps(rest, sort_keys=True) if rest else None


def _diverged(facts: Facts) -> int | None:
    trials = facts.record.get("trials")
    return None if trials is None else sum(trial.get("status") == "diverged" for trial in trials)


def _tried(facts: Facts) -> int | None:
    return len(facts.record["trials"]) if "trials" in facts.record else None


def _search(facts: Facts) -> str | None:
    if not facts.record:
        return None
    return at(facts.record, "config.search.kind") or "grid"


def _trained_share(facts: Facts) -> float | None:
    some, all_of_them = at(facts.record, "cost.trainable_params"), at(facts.record, "cost.total_params")
    return some / all_of_them if some is not None and all_of_them else None


def _scratch(field: str) -> Callable[[Facts], Any]:
    """Of the scratch record that the cell may be compared with."""

    def found(facts: Facts) -> Any:
        pair = facts.pair
        return None if pair is None or pair.scratch is None or pair.refusal else at(pair.scratch, field)

    return found


_IDENTITY = (
    Column("folder", "string", "the folder it was read from, as given", lambda facts: facts.folder),
    Column("study", "string", "name of the study", lambda facts: facts.study),
    Column("id", "string", "content id of the cell", lambda facts: facts.id),
    Column(
        "status",
        "string",
        "ok, diverged, failed (it raised an error), damaged (its record cannot be used) or missing (not run yet)",
        lambda facts: facts.status,
    ),
    Column("planned", "boolean", "whether study.json names the cell; not so of older configs", lambda f: f.planned),
    Column("source", "string", "what the weights come from; missing for random ones", lambda f: f.cell["source"]),
    Column("target", "string", "what is measured", lambda f: f.cell["target"]),
    Column("entry", "string", "the way of adapting, as the config calls it", lambda f: f.cell["entry"]),
    Column("arm", "string", "scratch, random-frozen or transfer", lambda f: f.cell["arm"]),
    Column("method", "string", "registered method", lambda f: at(f.cell, "method.name")),
    Column("settings", "string", "of the method, as JSON", _settings),
    Column("budget", "Int64", "target labels, of each class if per_class", lambda f: f.cell["budget"]),
    Column("per_class", "boolean", "whether the budget is of each class", _recorded("config.per_class")),
    Column("seed", "Int64", "of subset, initial head and batch order", lambda f: f.cell["seed"]),
)
_RECIPE = (
    Column("model", "string", "registered architecture", _recorded("config.model.name")),
    Column("steps", "Int64", "updates of a run", _recorded("config.recipe.steps")),
    Column("batch_size", "Int64", "examples of an update", _recorded("config.recipe.batch_size")),
    Column("search", "string", "how trials are chosen: grid, random, halving or optuna", _search),
    Column("trials", "Int64", "runs that were tried", _tried),
    Column("trials_diverged", "Int64", "those of them that diverged", _diverged),
    Column("rate", "float64", "the learning rate, or penalty λ, that was chosen", _rate),
    Column("rate_kind", "string", "lr or l2", _rate_kind),
    Column("drawn", "string", "what else was chosen where trials are drawn, as JSON", _drawn),
)
_RESULT = (
    Column("metric", "string", "what the scores are: accuracy or r2", _recorded("result.metric")),
    Column("val_score", "float64", "of the chosen trial, at most 1", _recorded("result.val_score")),
    Column("test_score", "float64", "at most 1", _recorded("result.test_score")),
    Column("test_loss", "float64", "nats, or a squared error", _recorded("result.test_loss")),
    Column("test_correct", "Int64", "test examples that were right", _recorded("result.test_correct")),
    Column("test_examples", "Int64", "size of the test split", _recorded("result.test_examples")),
    Column("gain", "float64", "test_score minus that of scratch", lambda f: f.pair.gain if f.pair else None),
    Column("scratch_id", "string", "the scratch cell it is compared with", _scratch("id")),
    Column("scratch_score", "float64", "its test score", _scratch("result.test_score")),
    Column("refusal", "string", "why they must not be compared", lambda f: f.pair.refusal or None if f.pair else None),
    Column("reason", "string", "why a cell failed, or what is wrong with its record", lambda facts: facts.reason),
)
_COST = (
    Column("trainable_params", "Int64", "parameters that are trained", _recorded("cost.trainable_params")),
    Column("total_params", "Int64", "all parameters", _recorded("cost.total_params")),
    Column("trainable_share", "float64", "the one by the other, 0 to 1", _trained_share),
    Column("optimizer_bytes", "Int64", "size of the optimizer's state", _recorded("cost.optimizer_bytes")),
    Column("step_flops", "float64", "floating-point operations of one step", _recorded("cost.step_flops")),
    Column("cached_flops", "float64", "those spent once per example", _recorded("cost.cached_flops")),
    Column("strategy", "string", "how it was run: loop, fused or solved", _recorded("cost.strategy")),
    Column("wall_s", "float64", "seconds for all its trials", lambda facts: facts.timing.get("wall_s")),
)
_ORIGIN = (
    Column("source_score", "float64", "the source's own test accuracy", _recorded("lineage.source_test_accuracy")),
    Column("checkpoint", "string", "digest of the source's weights", _recorded("lineage.checkpoint")),
    *(
        Column(f"{part}_{name}", "string", f"{name} of the {part} examples", _recorded(f"data.{part}.{name}"))
        for part in ("train", "validation", "test")
        for name in ("split", "digest")
    ),
    Column("subset_digest", "string", "of the positions of its labels", _recorded("data.subset.digest")),
    Column("subset_examples", "Int64", "labels it was trained on", _recorded("data.subset.examples")),
    Column("digest", "string", "of the record", _recorded("digest")),
    Column("numerics", "Int64", "raised when tlx changes the numbers it gives", _recorded("config.numerics")),
    *(
        Column(name, "string", f"version of {name}", _recorded(f"environment.{name}"))
        for name in ("tlx", "jax", "flax", "optax", "python")
    ),
    Column("backend", "string", "cpu, gpu or tpu", _recorded("environment.backend")),
    Column("device", "string", "kind of the device", _recorded("environment.device")),
    Column("devices", "Int64", "how many", _recorded("environment.devices")),
)
COLUMNS: tuple[Column, ...] = (*_IDENTITY, *_RECIPE, *_RESULT, *_COST, *_ORIGIN)

"""A factory of synthetic records, so that tests know every number by hand."""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tlx.records import Records
from tlx.report.places import Place, places

Record = dict[str, Any]


@dataclass
class Study:
    """Records, manifest and timings as the report takes them."""

    records: list[Record] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, dict[str, Any]] = field(default_factory=dict)


def _hex(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def make_record(
    entry: str = "full",
    arm: str = "transfer",
    budget: int = 20,
    seed: int = 0,
    correct: int = 320,
    source: str = "mnist",
    target: str = "digits",
    **changes: object,
) -> Record:
    """A record with `correct` of 400 test examples right; `changes` set dotted fields, e.g. `data__test__digest`."""
    start = source if arm == "transfer" else None
    cell = {
        "source": start,
        "target": target,
        "entry": entry,
        "arm": arm,
        "method": {"name": entry},
        "budget": budget,
        "seed": seed,
    }

    def part(name: str, examples: int) -> dict[str, Any]:
        return {"split": f"{name}[:{examples}]", "examples": examples, "digest": _hex(target, name)}

    record: Record = {
        "format": 2,
        "id": _hex(cell)[:16],
        "digest": _hex(cell, correct),
        "study": "quickstart",
        "status": "ok",
        "cell": cell,
        "config": {"model": {"name": "mlp"}, "recipe": {"steps": 100, "batch_size": 16}},
        "data": {
            "train": part("train", 1197),
            "validation": part("validation", 200),
            "test": part("test", 400),
            "subset": {
                "examples": budget,
                "per_class": [budget // 10] * 10,
                "digest": _hex(target, budget, seed),
            },
        },
        "trials": [
            {"lr": 0.001, "status": "ok", "val_score": 0.81, "val_loss": 0.6},
            {"lr": 0.01, "status": "diverged", "val_score": None, "val_loss": None},
        ],
        "selected": {"lr": 0.001, "by": "mean validation score over seeds"},
        "result": {
            "metric": "accuracy",
            "test_score": correct / 400,
            "test_loss": 0.7,
            "val_score": 0.81,
            "test_examples": 400,
            "test_correct": correct,
        },
        "curve": {"step": [50, 100], "train_loss": [1.0, 0.5]},
        "cost": {
            "trainable_params": 1550 if entry != "full" and arm == "transfer" else 155000,
            "total_params": 155000,
            "optimizer_bytes": 12400,
            "step_flops": 1.2e8,
            "cached_flops": 0,
            "strategy": "loop",
        },
        "surgery": {"copied": ["body/kernel"], "reset": ["head/kernel"], "left_out": []} if start else None,
        "lineage": {"source": source, "checkpoint": _hex(source), "source_test_accuracy": 0.95} if start else None,
        "environment": {"jax": "0.12.0.1", "device": "cpu"},
    }
    for path, value in changes.items():
        *way, last = path.split("__")
        place = record
        for name in way:
            place = place[name]
        place[last] = value
    return record


def diverge(record: Record) -> Record:
    """The same cell, diverged."""
    lost = copy.deepcopy(record)
    lost["status"] = "diverged"
    lost["result"] = {**dict.fromkeys(lost["result"]), "test_examples": 400, "metric": "accuracy"}
    return lost


def make_study(records: Sequence[Record], lost: Sequence[Record] = (), **manifest: object) -> Study:
    """A study of these records; `lost` are planned but have no record."""
    cells = [{"id": record["id"], "cell": record["cell"]} for record in (*records, *lost)]
    return Study(
        records=list(records),
        manifest={
            "format": 2,
            "study": "quickstart",
            "cells": cells,
            "command": "tlx run configs/quickstart.py",
            "config": {"study": "quickstart", "seeds": 5},
            **manifest,
        },
        timings={record["id"]: {"id": record["id"], "wall_s": 1.5, "compile_s": 0.25} for record in records},
    )


def simulate(
    entries: Mapping[str, float],
    budgets: Sequence[int],
    seeds: int,
    source: str = "mnist",
    target: str = "digits",
) -> list[Record]:
    """A plausible study: accuracy rises with labels, each entry starts from its own head start (share of 400)."""
    records = []
    for place, budget in enumerate(budgets):
        for name, start in {"scratch": 0.0, "random-frozen": -0.08, **entries}.items():
            arm = name if name in ("scratch", "random-frozen") else "transfer"
            for seed in range(seeds):
                noise = int(_hex(name, budget, seed, source, target)[:4], 16) / 65536 - 0.5
                share = 0.55 + 0.3 * (1 - 0.45**place) + start * 0.5**place + 0.06 * noise * 0.7**place
                correct = round(400 * min(max(share, 0.02), 0.995))
                records.append(make_record(name, arm, budget, seed, correct, source, target))
    return records


def makers() -> SimpleNamespace:
    """The makers under short names: `record`, `diverged`, `study` and `simulated`."""
    return SimpleNamespace(record=make_record, diverged=diverge, study=make_study, simulated=simulate)


def publish(study: Study, folder: Path) -> Path:
    """A work folder with these records, as a finished run leaves it."""
    kept = Records(folder)
    for record in study.records:
        content = {key: value for key, value in record.items() if key != "digest"}
        kept.publish(content, study.timings[record["id"]])
    kept.write_manifest(study.manifest)
    return folder


def places_of(**gains: Sequence[int]) -> list[Place]:
    """A study in which scratch has 200 right and each entry that many more, one for each seed."""
    seeds = max(len(values) for values in gains.values())
    records = [make_record("scratch", "scratch", seed=seed, correct=200) for seed in range(seeds)]
    for entry, values in gains.items():
        records += [make_record(entry, seed=seed, correct=200 + value) for seed, value in enumerate(values)]
    study = make_study(records)
    return places(study.records, study.manifest)

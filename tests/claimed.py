"""Studies of made-up records, for the tests of what is claimed about them."""

from pathlib import Path
from typing import Any

from tlx.records import Records, content_id

SEEDS = 4
# Correct answers out of 400 for seed 0; every later seed has 4 more.
CORRECT = {
    ("scratch", 20): 200,
    ("scratch", 1000): 340,
    ("random_frozen", 20): 160,
    ("random_frozen", 1000): 300,
    ("lora", 20): 280,
    ("lora", 1000): 360,
}
# What starts elsewhere than from a source.
ARMS = {"scratch": "scratch", "base": "scratch", "random_frozen": "random-frozen"}
ARMS |= {f"random{n}": "random-frozen" for n in (1, 2, 3, 4)}


def record(
    entry: str, budget: int, seed: int, correct: int, source: str = "mnist", target: str = "digits"
) -> dict[str, Any]:
    arm = ARMS.get(entry, "transfer")
    start = source if arm == "transfer" else None
    cell = {"source": start, "target": target, "entry": entry, "arm": arm, "budget": budget, "seed": seed}
    data = {name: {"split": name, "digest": name, "examples": 400} for name in ("train", "validation", "test")}
    return {
        "id": content_id(cell),
        "status": "ok",
        "cell": cell,
        "config": {"model": {}, "recipe": {}},
        "data": {**data, "subset": {"digest": f"{budget}-{seed}", "examples": budget}},
        "trials": [{"lr": 0.1}],
        "result": {"metric": "accuracy", "test_score": correct / 400, "test_examples": 400},
        "cost": {
            "trainable_params": 1,
            "total_params": 2,
            "optimizer_bytes": 3,
            "step_flops": 4.0,
            "cached_flops": 0.0,
        },
    }


def write_study(folder: Path, records: list[dict[str, Any]], missing: int = 0, name: str = "quickstart") -> Path:
    """A study's folder; the last `missing` records are planned but not there."""
    store = Records(folder)
    cells = [{"id": one["id"], "cell": one["cell"]} for one in records]
    store.write_manifest({"study": name, "command": "tlx run", "config": {}, "cells": cells})
    for one in records[: len(records) - missing]:
        store.publish(one, {"id": one["id"], "wall_s": 1.0})
    return folder


def grid(correct: dict[tuple[str, int], int] = CORRECT) -> list[dict[str, Any]]:
    return [
        record(entry, budget, seed, first + 4 * seed)
        for (entry, budget), first in correct.items()
        for seed in range(SEEDS)
    ]

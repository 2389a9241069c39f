import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from tlx.build import build
from tlx.config import load
from tlx.optim import Optimizer
from tlx.study.spec import ARMS, Execution, Recipe, Source, Study, Target

SMALL = str(Path(__file__).with_name("small.py"))


@pytest.fixture(scope="module")
def study() -> Study:
    return build(load(SMALL), "tlx run small.py")


def holds(value: Any, kind: type) -> bool:
    """Whether an object of some type stands anywhere in plain values and dataclasses."""
    if isinstance(value, kind):
        return True
    if dataclasses.is_dataclass(value):
        return any(holds(getattr(value, field.name), kind) for field in dataclasses.fields(value))
    if isinstance(value, dict):
        return any(holds(item, kind) for item in (*value, *value.values()))
    return isinstance(value, tuple | list) and any(holds(item, kind) for item in value)


def test_a_config_becomes_plain_values(study: Study) -> None:
    assert (study.name, study.model, study.command) == ("small", "vit", "tlx run small.py")
    assert study.model_settings == (("depth", 2), ("heads", 2), ("mlp_ratio", 4), ("patch", 7), ("width", 16))
    assert study.sources == (
        Source(
            name="upper",
            dataset="digits",
            train="train[:200]",
            test="test[:50]",
            recipe=Recipe(steps=4, batch_size=32, optimizer=Optimizer(), weight_decay=0.01, label_smoothing=0.0),
            learning_rate=2e-3,
            seed=0,
        ),
    )
    assert study.targets == (Target("lower", "digits", "train[700:800]", "train[900:950]", "test[50:]"),)
    assert study.budgets == (10, 20, 40) and study.seeds == (0, 1, 2)
    assert study.recipe == Recipe(4, 8, Optimizer(), 0.01, 0.0)
    assert study.execution == Execution("jit", -1, 1, "auto", 0, 0, 200, 30.0)
    assert not holds(study, ConfigDict)


def test_entries_come_baselines_first_then_by_name(study: Study) -> None:
    assert [(entry.name, entry.arm, entry.method) for entry in study.entries] == [
        ("scratch", "scratch", "full"),
        ("random_frozen", "random-frozen", "head"),
        ("full", "transfer", "full"),
        ("lora", "transfer", "lora"),
        ("probe", "transfer", "head"),
    ]
    assert [ARMS.index(entry.arm) for entry in study.entries] == [0, 1, 2, 2, 2]
    lora = study.entries[3]
    assert lora.settings == (("alpha", 8.0), ("rank", 4), ("target", ".*/(query|value)"))
    assert lora.learning_rates == (3e-3, 1e-2)


def test_every_field_of_the_config_reaches_its_place() -> None:
    overrides = {
        "train.optimizer": "sgd",
        "train.momentum": 0.5,
        "train.clip_norm": 2.0,
        "train.warmup": 0.25,
        "train.schedule": "constant",
        "train.weight_decay": 0.125,
        "train.label_smoothing": 0.0625,
        "train.steps": 7,
        "train.batch_size": 9,
        "sources.upper.clip_norm": 3.0,
        "sources.upper.seed": 11,
        "compile": "pmap",
        "mesh.data": 2,
        "plan.strategy": "loop",
        "plan.steps_per_call": 3,
        "plan.workers": 2,
        "plan.eval_batch": 50,
        "checkpoint.every_seconds": 1.5,
    }
    study = build(load(SMALL, [f"--config.{path}={value}" for path, value in overrides.items()]), "")
    moved = Optimizer(name="sgd", momentum=0.5, clip_norm=2.0, warmup=0.25, schedule="constant")
    assert study.recipe == Recipe(7, 9, moved, 0.125, 0.0625)
    assert study.sources[0].recipe.optimizer == Optimizer(clip_norm=3.0)
    assert study.sources[0].seed == 11
    assert study.execution == Execution("pmap", 2, 1, "loop", 3, 2, 50, 1.5)
    assert build(load(SMALL, ["--config.mesh.fsdp=2"]), "").execution.fsdp == 2


def test_what_names_programs_and_caches_is_hashable() -> None:
    frozen = "--config.adapt.full.method.frozen=('params/embed/.*','params/block_0/.*')"
    study = build(load(SMALL, ["--config.adapt.full.method.name=freeze", frozen]), "")
    parts = (study.recipe, *study.sources, *study.targets, *study.entries, study.model_settings, study.execution)
    assert len({hash(part) for part in parts}) == len(parts)
    (full,) = (entry for entry in study.entries if entry.name == "full")
    assert full.settings == (("frozen", ("params/embed/.*", "params/block_0/.*")),)
    again = build(load(SMALL, ["--config.adapt.full.method.name=freeze", frozen]), "")
    assert again.entries == study.entries and hash(again.entries) == hash(study.entries)


def test_the_config_is_kept_as_json_would_give_it_back(study: Study) -> None:
    assert json.loads(json.dumps(study.config)) == study.config
    assert study.config["budgets"] == [10, 20, 40]
    assert study.config["adapt"]["lora"]["method"]["rank"] == 4
    assert study.config["train"]["clip_norm"] == 1.0, "defaults included"

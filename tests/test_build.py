import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from tlx.adapt.adapted import Adapted
from tlx.build import build
from tlx.config import load
from tlx.models.registry import MODELS, Model
from tlx.optim import Optimizer
from tlx.runners.room import Needs
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
    named = {"depth": 2, "heads": 2, "patch": 7, "width": 16}
    rest = {name: field.default for name, field in MODELS["vit"].fields.items()}
    assert dict(study.model_settings) == {**rest, **named}
    assert [name for name, _ in study.model_settings] == sorted(dict(study.model_settings))
    assert study.sources == (
        Source(
            name="upper",
            checkpoint="",
            dataset="digits",
            train="train[:200]",
            test="test[:50]",
            recipe=Recipe(steps=4, batch_size=32, label_smoothing=0.0),
            optimizer=Optimizer(),
            weight_decay=0.01,
            learning_rate=2e-3,
            seed=0,
        ),
    )
    assert study.targets == (Target("lower", "digits", "train[700:800]", "train[900:950]", "test[50:]"),)
    assert study.budgets == (10, 20, 40) and study.seeds == (0, 1, 2)
    assert study.recipe == Recipe(4, 8, 0.0)
    assert study.execution == Execution("jit", -1, 1, "auto", 0, 0, 200, 0, 30.0, False)
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
    assert lora.settings == (("alpha", 8.0), ("dropout", 0.0), ("rank", 4), ("target", ""))
    assert lora.learning_rates == (3e-3, 1e-2)
    assert (lora.also, lora.batch_stats) == ((), "auto")


def test_an_entry_is_a_model_seen_through_its_methods(study: Study) -> None:
    lora = dataclasses.replace(study.entries[3], also=(("norm", ()),), batch_stats="frozen_stats")
    model = Model(study.model, study.model_settings, 10, (28, 28, 1))
    assert lora.adapted(model) == Adapted(model, "lora", lora.settings, (("norm", ()),), "frozen_stats")


def test_every_field_of_the_config_reaches_its_place() -> None:
    overrides = {
        "train.optimizer": "sgd",
        "train.momentum": 0.5,
        "train.clip_norm": 2.0,
        "train.warmup": 0.25,
        "train.schedule": "constant",
        "train.accumulate": 3,
        "train.ema": 0.75,
        "train.weight_decay": 0.125,
        "train.label_smoothing": 0.0625,
        "train.steps": 7,
        "train.batch_size": 9,
        "sources.upper.clip_norm": 3.0,
        "sources.upper.schedule": "linear",
        "sources.upper.accumulate": 2,
        "sources.upper.ema": 0.5,
        "sources.upper.weight_decay": 0.5,
        "sources.upper.seed": 11,
        "adapt.lora.batch_stats": "update_stats",
        "artifacts": "true",
        "loggers": "('mlflow',)",
        "compile": "pmap",
        "mesh.data": 2,
        "plan.strategy": "loop",
        "plan.steps_per_call": 3,
        "plan.workers": 2,
        "plan.eval_batch": 50,
        "plan.actors": 5,
        "plan.cpus": 6,
        "plan.gpus": 7,
        "plan.tpus": 8,
        "checkpoint.every_seconds": 1.5,
    }
    study = build(load(SMALL, [f"--config.{path}={value}" for path, value in overrides.items()]), "")
    moved = Optimizer("sgd", momentum=0.5, clip_norm=2.0, warmup=0.25, schedule="constant", accumulate=3, ema=0.75)
    assert study.recipe == Recipe(7, 9, 0.0625)
    assert {entry.optimizer for entry in study.entries} == {moved}
    assert {entry.weight_decay for entry in study.entries} == {0.125}
    assert [entry.batch_stats for entry in study.entries] == ["auto", "auto", "auto", "update_stats", "auto"]
    assert study.sources[0].optimizer == Optimizer(clip_norm=3.0, schedule="linear", accumulate=2, ema=0.5)
    assert (study.sources[0].weight_decay, study.sources[0].seed) == (0.5, 11)
    needs, loggers = Needs(5, 6, 7, 8), ("mlflow",)
    expected = Execution("pmap", 2, 1, "loop", 3, 2, 50, 0, 1.5, True, needs=needs, loggers=loggers)
    assert study.execution == expected
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

"""The only bridge from a ConfigDict to plain arguments."""

from typing import Any

from ml_collections import ConfigDict

from tlx.adapt.registry import METHODS
from tlx.config import INHERIT, INHERIT_NUMBER
from tlx.optim import Optimizer
from tlx.runners.room import Needs
from tlx.study.sampler import version
from tlx.study.spec import (
    ARMS,
    OPTUNA,
    RANGES,
    Entry,
    Execution,
    Preprocess,
    Recipe,
    Search,
    Source,
    Study,
    Target,
    Text,
)


def build(config: ConfigDict, command: str = "") -> Study:
    """The study a config describes.

    Args:
      config: complete and checked, from `config.load`.
      command: what the user typed, empty where that was long ago.

    Returns:
      Plain values; nothing below this module knows of configs.
    """
    return Study(
        name=config.name,
        model=config.model.name,
        model_settings=_settings(config.model),
        sources=tuple(_source(name, config.sources[name]) for name in config.sources),
        targets=tuple(Target(name, **config.targets[name].to_dict()) for name in config.targets),
        entries=tuple(sorted((_entry(name, config) for name in config.adapt), key=_by_arm)),
        budgets=config.budgets,
        per_class=config.per_class,
        seeds=config.seeds,
        recipe=_recipe(config.train),
        execution=_execution(config),
        config=plain(config.to_dict()),
        command=command,
        text=Text(**config.text.to_dict()),
        preprocess=_preprocess(config.preprocess),
        evaluations=config.train.evaluations,
        search=Search(**config.search.to_dict(), sampler=version() if config.search.kind == OPTUNA else ""),
    )


def plain(value: Any) -> Any:
    """The same value with tuples as lists, as JSON would give it back."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


def _preprocess(block: ConfigDict) -> Preprocess:
    ops = tuple((name, _settings(block[name])) for name in block.ops)
    return Preprocess(block.resize, block.crop, ops)


def _settings(block: ConfigDict) -> tuple[tuple[str, Any], ...]:
    return tuple((key, value) for key, value in sorted(block.items()) if key not in ("name", "also"))


def _recipe(block: ConfigDict) -> Recipe:
    return Recipe(
        steps=block.steps,
        batch_size=block.batch_size,
        label_smoothing=block.label_smoothing,
        precision=block.precision,
    )


def _optimizer(block: ConfigDict, name: str, schedule: str, warmup: float) -> Optimizer:
    return Optimizer(
        name=name,
        momentum=block.momentum,
        clip_norm=block.clip_norm,
        warmup=warmup,
        schedule=schedule,
        accumulate=block.accumulate,
        ema=block.ema,
    )


def _source(name: str, block: ConfigDict) -> Source:
    return Source(
        name=name,
        checkpoint=block.checkpoint,
        dataset=block.dataset,
        train=block.train,
        test=block.test,
        classes=block.classes,
        feed=block.feed,
        start=block.start,
        objective=block.objective,
        also=block.also,
        weights=block.weights,
        pack=block.pack,
        recipe=_recipe(block),
        optimizer=_optimizer(block, block.optimizer, block.schedule, block.warmup),
        weight_decay=block.weight_decay,
        learning_rate=block.lr,
        seed=block.seed,
    )


def _entry(name: str, config: ConfigDict) -> Entry:
    block, train = config.adapt[name], config.train
    own = METHODS[block.method.name].defaults

    def chosen(field: str, default: Any) -> Any:
        """The entry's own, or config.train's, or the method's."""
        return next(value for value in (block[field], train[field], default) if value not in (INHERIT, INHERIT_NUMBER))

    optimizer, schedule = chosen("optimizer", own.optimizer), chosen("schedule", own.schedule)
    return Entry(
        name=name,
        arm=block.arm,
        method=block.method.name,
        settings=_settings(block.method),
        also=tuple((key, _settings(item)) for key, item in sorted(block.method.get("also", {}).items())),
        batch_stats=block.batch_stats,
        optimizer=_optimizer(train, optimizer, schedule, chosen("warmup", own.warmup)),
        weight_decay=chosen("weight_decay", own.weight_decay),
        learning_rates=block.lr,
        label_smoothing=train.label_smoothing if block.label_smoothing == INHERIT_NUMBER else block.label_smoothing,
        dropout=None if block.dropout == INHERIT_NUMBER else block.dropout,
        scale=block.scale,
        length=block.length,
        **{field: block[field] for field in RANGES.values()},
        copied=block.copied,
    )


def _by_arm(entry: Entry) -> tuple[int, str]:
    """Baselines first; a ConfigDict keeps no order of its own."""
    return ARMS.index(entry.arm), entry.name


def _execution(config: ConfigDict) -> Execution:
    return Execution(
        compile=config["compile"],
        data=config.mesh.data,
        fsdp=config.mesh.fsdp,
        strategy=config.plan.strategy,
        steps_per_call=config.plan.steps_per_call,
        workers=config.plan.workers,
        eval_batch=config.plan.eval_batch,
        members=config.plan.members,
        every_seconds=config.checkpoint.every_seconds,
        artifacts=config.artifacts,
        features=config.plan.features,
        needs=Needs(config.plan.actors, config.plan.cpus, config.plan.gpus, config.plan.tpus),
        loggers=config.loggers,
        estimators=config.estimators,
    )

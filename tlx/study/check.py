"""What can be known to fail is refused before anything is trained, by the field to change."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np

from tlx.adapt.adapted import Adapted
from tlx.adapt.registry import METHODS
from tlx.data.builders import spelled
from tlx.data.protocol import subset_per_class
from tlx.data.source import shared_examples
from tlx.errors import ConfigError, FileError, TlxError
from tlx.models.inputs import in_words
from tlx.models.registry import MODELS
from tlx.partition import FROZEN
from tlx.sharding import Placement
from tlx.study.cells import Released, SourceData, TargetData
from tlx.study.copied import check_copied
from tlx.study.objective import trained_model, trained_ops
from tlx.study.plan import model_of
from tlx.study.spec import RANDOM_FROZEN, SCORE, SCRATCH, TRANSFER, Entry, Execution, Study


@contextmanager
def blamed_on(field: str) -> Iterator[None]:
    """Errors that name neither a field nor a file are this field's.

    Args:
      field: dotted path, e.g. `config.targets.digits.train`.
    """
    try:
        yield
    except (ConfigError, FileError):
        raise
    except TlxError as error:
        raise ConfigError(field, str(error)) from None


@contextmanager
def within(block: str) -> Iterator[None]:
    """Fields that errors name are this block's.

    Args:
      block: dotted path, e.g. `config.model`.
    """
    try:
        yield
    except ConfigError as error:
        raise error.within(block) from None


def check_devices(execution: Execution) -> None:
    """Whether there are as many devices as the mesh has places.

    Raises:
      ConfigError: there are fewer.
    """
    there = jax.device_count()
    for field, wanted in (("fsdp", execution.fsdp), ("data", execution.fsdp * execution.data)):
        if wanted > there:
            raise ConfigError(f"config.mesh.{field}", f"the mesh has {wanted} places, but there are {there} devices")


def check_study(
    study: Study,
    sources: Mapping[str, SourceData | Released],
    targets: Mapping[str, TargetData],
    placement: Placement,
) -> None:
    """Whether model, methods, budgets and batches fit the data and the devices.

    Args:
      study: the spec.
      sources: examples by source name.
      targets: examples by target name.
      placement: the devices.

    Raises:
      ConfigError: something does not fit.
    """
    _check_ops(study, targets)
    _check_model(study, sources, targets)
    _check_objectives(study, sources)
    _check_methods(study, sources, targets)
    _check_scores(study, targets)
    _check_splits(study, targets)
    recipes = {"config.train.batch_size": study.recipe}
    trained = [source for source in study.sources if not source.checkpoint]
    recipes |= {f"config.sources.{source.name}.batch_size": source.recipe for source in trained}
    for field, recipe in recipes.items():
        if recipe.batch_size % placement.devices:
            raise ConfigError(field, f"{recipe.batch_size} examples cannot be split over {placement.devices} devices")
    parts = {"config.train.accumulate": (study.recipe, study.entries[0].optimizer.accumulate)}
    parts |= {f"config.sources.{s.name}.accumulate": (s.recipe, s.optimizer.accumulate) for s in trained}
    for field, (recipe, accumulate) in parts.items():
        if recipe.batch_size % (accumulate * placement.devices):
            each = recipe.batch_size // placement.devices
            raise ConfigError(field, f"the {each} examples a device gets cannot be taken in {accumulate} equal parts")


def _check_ops(study: Study, targets: Mapping[str, TargetData]) -> None:
    """Whether the ops can be done to the examples, and leave training batches in the shape that all others have."""
    settings = dict(study.model_settings)
    for data in targets.values():
        shape, classes = data.train.input_shape, data.train.num_classes
        ops = study.pipeline(classes or 1)
        with within("config.preprocess"):
            trained, scored = ops.input_shape(shape), study.pipeline().input_shape(shape)
        if makers := [op.name for op in ops.ops if op.labels]:
            raise ConfigError(
                "config.preprocess.ops",
                f"{makers[0]!r} makes labels of tokens, and cells are scored by class; sources have objectives",
            )
        if ops.normalises and any(number != 0.5 for name in ("mean", "std") for number in settings.get(name, ())):
            raise ConfigError("config.preprocess.ops", "'normalise' does what config.model.mean and std do already")
        if trained != scored:
            raise ConfigError(
                "config.preprocess.ops",
                f"training batches are {in_words(trained)}, others {in_words(scored)}; these need an op or a crop",
            )
        if ops.mixes and study.execution.compile == "pmap":
            raise ConfigError("config.compile", "'pmap' parts the examples that some ops mix; use 'jit'")


def _check_scores(study: Study, targets: Mapping[str, TargetData]) -> None:
    """Whether what is done to classes alone is left undone where scores are predicted."""
    for target in study.targets:
        if target.predict != SCORE:
            continue
        where = f"config.targets.{target.name}.predict"
        if study.per_class:
            raise ConfigError("config.per_class", f"expected false, as {where} is 'score'")
        if study.pipeline(1).mixes:
            raise ConfigError(where, "scores cannot be mixed as classes are by an op of config.preprocess")
        for entry in study.entries:
            for name in (entry.method, *dict(entry.also)):
                if METHODS[name].calibrate and METHODS[name].examples != "source":
                    raise ConfigError(
                        f"config.adapt.{entry.name}.method.name", f"{name!r} looks at the target's classes"
                    )
        if np.ptp(targets[target.name].train.label_N) == 0:
            raise ConfigError(where, "all scores of the train split are the same")


def _check_model(study: Study, sources: Mapping[str, SourceData | Released], targets: Mapping[str, TargetData]) -> None:
    shapes = {f"config.targets.{name}": model_of(study, data.train).input_shape for name, data in targets.items()}
    shapes |= {
        f"config.sources.{name}": model_of(study, data.train).input_shape
        for name, data in sources.items()
        if isinstance(data, SourceData)
    }
    first, *others = shapes
    for field in others:
        if shapes[field] != shapes[first]:
            ours, theirs = in_words(shapes[field]), in_words(shapes[first])
            raise ConfigError(f"{field}.dataset", f"{ours}, but {first} has {theirs}")
    with within("config.model"):
        MODELS[study.model].check(dict(study.model_settings), shapes[first])


def _check_objectives(study: Study, sources: Mapping[str, SourceData | Released]) -> None:
    """Whether what sources learn goes with what is done to their batches."""
    for source in study.sources:
        data = sources[source.name]
        if isinstance(data, SourceData):
            model = trained_model(study, source, data)
            with within("config.preprocess"):
                trained_ops(study, data, model)
            with within("config.model"):
                model.kind.check(dict(model.settings), model.input_shape)


def _check_methods(
    study: Study, sources: Mapping[str, SourceData | Released], targets: Mapping[str, TargetData]
) -> None:
    without = {
        f"config.sources.{name}": "is a checkpoint alone" if isinstance(data, Released) else "learns without labels"
        for name, data in sources.items()
        if isinstance(data, Released) or data.op
    }
    for data in targets.values():
        for entry in study.entries:
            with within(f"config.adapt.{entry.name}.method"):
                _check_examples(entry, without)
                adapted = entry.adapted(model_of(study, data.train))
                labels = adapted.labels()
                _check_compares(entry, adapted)
            with within(f"config.adapt.{entry.name}"):
                check_copied(entry, adapted.model)
            _check_solved(study, entry, adapted, data)
            freezes = any(label == FROZEN for path, label in labels.items() if path.startswith("params/"))
            if entry.arm == (SCRATCH if freezes else RANDOM_FROZEN):
                does = "freezes some leaves" if freezes else "freezes nothing"
                raise ConfigError(f"config.adapt.{entry.name}.arm", f"{entry.arm!r}, but {entry.method!r} {does}")


def _check_examples(entry: Entry, without: Mapping[str, str]) -> None:
    """Whether there are examples of the source for a method that wants some."""
    names = [name for name in (entry.method, *dict(entry.also)) if METHODS[name].examples == "source"]
    if names and without:
        where, why = next(iter(without.items()))
        raise ConfigError("name", f"{names[0]!r} needs examples of the source, and {where} {why}")


def _check_compares(entry: Entry, adapted: Adapted) -> None:
    """Whether what a method compares with or combines is there."""
    if "reference" in adapted.abstract() and entry.arm != TRANSFER:
        raise ConfigError("name", f"{entry.method!r} holds on to a source, which arm {entry.arm!r} has none of")
    if sum(method.combine is not None for method, _ in adapted.parts) > 1:
        raise ConfigError("also", "two methods that combine trials; one must decide what is scored")


def _check_solved(study: Study, entry: Entry, adapted: Adapted, data: TargetData) -> None:
    """Whether features are the same at every step, and the head linear in them, where it is solved for."""
    if not any(method.solve for method, _ in adapted.parts):
        return
    where, name = f"config.adapt.{entry.name}", entry.method
    if drawing := [op.name for op in study.pipeline(data.train.num_classes or 1).ops if op.random]:
        why = f"{name!r} needs features that stay the same, and {drawing[0]!r} of config.preprocess.ops draws"
        raise ConfigError(f"{where}.method.name", f"{why}; use 'head'")
    if adapted.cut() < len(adapted.model.stages) - 1:
        why = f"{name!r} needs features that stay the same, and {entry.batch_stats!r} changes statistics below the head"
        raise ConfigError(f"{where}.batch_stats", f"{why}; use 'frozen_stats'")
    if not adapted.anatomy.has_linear_head:
        why = f"{name!r} needs a head of one linear layer on one vector an example"
        raise ConfigError(f"{where}.method.name", f"{why}, which that of {adapted.model.name!r} is not; use 'head'")


def check_overlap(study: Study, data_dir: Path | str) -> None:
    """Whether what is learned from, chosen on and scored on are different examples.

    Args:
      study: the spec.
      data_dir: where its data sets are prepared.

    Raises:
      ConfigError: two splits share examples.
    """
    for target in study.targets:
        where = f"config.targets.{target.name}"
        seen = [(f"{where}.train", target.dataset, target.train)]
        seen += [(f"config.sources.{s.name}.train", name, s.train) for s in study.sources for name in s.datasets]
        held_out = [(f"{where}.validation", target.validation), (f"{where}.test", target.test)]
        pairs = [(*held, *other) for held in held_out for other in seen]
        pairs.append((*held_out[1], held_out[0][0], target.dataset, target.validation))
        for field, split, other_field, dataset, other in pairs:
            if _is_same(dataset, target.dataset) and (both := shared_examples(target.dataset, split, other, data_dir)):
                raise ConfigError(field, f"{split!r} shares {both} examples with {other_field}, {other!r}")


def _is_same(dataset: str, other: str) -> bool:
    """Whether two names are of one data set; names of files are as they are."""
    return dataset == other or (":" not in dataset + other and spelled(dataset) == spelled(other))


def _check_splits(study: Study, targets: Mapping[str, TargetData]) -> None:
    for target in study.targets:
        data = targets[target.name]
        size = len(data.train.label_N)
        for i, budget in enumerate(study.budgets):
            if study.per_class:
                with blamed_on(f"config.budgets[{i}]"):
                    subset_per_class(data.train.label_N, budget, data.train.num_classes, 0)
            elif budget > size:
                raise ConfigError(
                    f"config.budgets[{i}]", f"{budget} labels, but {target.train!r} of {target.name!r} has {size}"
                )

"""What can be known to fail is refused before anything is trained, by the field to change."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import jax

from tlx.adapt.adapted import Adapted
from tlx.errors import ConfigError, FileError, TlxError
from tlx.models.registry import MODELS
from tlx.sharding import Placement
from tlx.study.cells import SourceData, TargetData
from tlx.study.plan import model_of
from tlx.study.spec import Execution, Study


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
    study: Study, sources: Mapping[str, SourceData], targets: Mapping[str, TargetData], placement: Placement
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
    _check_model(study, sources, targets)
    _check_methods(study, targets)
    _check_splits(study, targets)
    recipes = {"config.train.batch_size": study.recipe}
    recipes |= {f"config.sources.{source.name}.batch_size": source.recipe for source in study.sources}
    for field, recipe in recipes.items():
        if recipe.batch_size % placement.devices:
            raise ConfigError(field, f"{recipe.batch_size} examples cannot be split over {placement.devices} devices")


def _check_model(study: Study, sources: Mapping[str, SourceData], targets: Mapping[str, TargetData]) -> None:
    for arrays in (*(data.train for data in sources.values()), *(data.train for data in targets.values())):
        with within("config.model"):
            MODELS[study.model].check(dict(study.model_settings), model_of(study, arrays).image_HWC)


def _check_methods(study: Study, targets: Mapping[str, TargetData]) -> None:
    for data in targets.values():
        for entry in study.entries:
            with within(f"config.adapt.{entry.name}.method"):
                Adapted(model_of(study, data.train), entry.method, entry.settings).labels()


def _check_splits(study: Study, targets: Mapping[str, TargetData]) -> None:
    for target in study.targets:
        data = targets[target.name]
        size = len(data.train.label_N)
        for i, budget in enumerate(study.budgets):
            if budget > size:
                raise ConfigError(
                    f"config.budgets[{i}]", f"{budget} labels, but {target.train!r} of {target.name!r} has {size}"
                )
        if data.train.digest in (data.validation.digest, data.test.digest):
            raise ConfigError(f"config.targets.{target.name}", "train is also the validation or test split")

"""Whether what an entry says of hyper-parameters that change no shape means something."""

from ml_collections import ConfigDict

from tlx.adapt.method import Method
from tlx.adapt.registry import METHODS
from tlx.errors import ConfigError
from tlx.fields import Fields
from tlx.models.registry import MODELS
from tlx.study.spec import HALVING, RANGES


def check_drawing(config: ConfigDict) -> None:
    """Whether every entry's dropout, scale and ranges have something to act on.

    Args:
      config: with every field present.

    Raises:
      ConfigError: they have not, or a range is drawn from where nothing is drawn.
    """
    for name in config.adapt:
        entry, where = config.adapt[name], f"config.adapt.{name}"
        for field in RANGES.values():
            _check_range(f"{where}.{field}", entry[field], config.search.trials)
        methods = [METHODS[method] for method in (entry.method.name, *entry.method.get("also", {}))]
        if any(method.solve for method in methods):
            _check_solved(where, entry)
        if entry.dropout >= 0 or entry.dropouts:
            _check_dropout(f"{where}.{'dropouts' if entry.dropouts else 'dropout'}", config.model.name)
        if entry.scale != 1 or entry.scales:
            _check_scale(f"{where}.{'scales' if entry.scales else 'scale'}", methods, config.artifacts)
        if entry.length != 1 or entry.lengths:
            _check_length(f"{where}.{'lengths' if entry.lengths else 'length'}", methods, config.search.kind)


def _check_range(where: str, ends: tuple[float, ...], trials: int) -> None:
    if ends and not trials:
        raise ConfigError(where, f"expected () where trials are not drawn, got {ends!r}")
    if len(ends) == 1:
        raise ConfigError(where, f"expected the two ends of a range to draw from, got {ends!r}")


def _check_solved(where: str, entry: ConfigDict) -> None:
    """Heads that are solved for have a penalty in place of a rate, and take no steps."""
    silent = {**dict.fromkeys(RANGES.values(), ()), "dropout": -1.0, "scale": 1.0, "length": 1.0}
    for field, value in silent.items():
        if entry[field] != value:
            raise ConfigError(
                f"{where}.{field}",
                f"expected {value!r} with method.name={entry.method.name!r}, whose penalties are {where}.lr, "
                f"got {entry[field]!r}",
            )


def _check_dropout(where: str, model: str) -> None:
    fields: Fields = MODELS[model].fields
    if "dropout" not in fields:
        raise ConfigError(where, f"config.model.name={model!r} has no dropout")


def _check_length(where: str, methods: list[Method], kind: str) -> None:
    if timed := [method.name for method in methods if method.phases or method.wrap]:
        raise ConfigError(where, f"{timed[0]!r} has times of its own within a run, so all of its runs are equally long")
    if kind == HALVING:
        raise ConfigError(where, "config.search.kind='halving' decides how long runs are")


def _check_scale(where: str, methods: list[Method], artifacts: bool) -> None:
    if combining := [method.name for method in methods if method.combine]:
        raise ConfigError(where, f"{combining[0]!r} combines trials, which must then have the same scale")
    if not any(method.interceptor or method.rewrite or method.around for method in methods):
        raise ConfigError(where, f"method.name={methods[0].name!r} adds nothing whose effect could be scaled")
    if artifacts:
        raise ConfigError(where, "an artifact has no scale of its own; leave config.artifacts=False")

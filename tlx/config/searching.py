"""Whether the search for hyper-parameters is one that every arm can have alike."""

from ml_collections import ConfigDict

from tlx.adapt.registry import METHODS
from tlx.errors import ConfigError
from tlx.study.spec import GRID, HALVING, OPTUNA, RANDOM


def check_search(config: ConfigDict, scratch: str) -> None:
    """Whether the fields of the search and every entry's rates go together.

    Args:
      config: with every field present.
      scratch: name of the entry that the others are compared with.

    Raises:
      ConfigError: they do not, or an arm would get more trials than another.
    """
    search = config.search
    if search.kind in (RANDOM, OPTUNA) and not search.trials:
        raise ConfigError(
            "config.search.trials", f"expected an integer ≥ 1 with config.search.kind={search.kind!r}, got 0"
        )
    if search.kind == GRID and search.trials:
        raise ConfigError(
            "config.search.trials", f"expected 0 with config.search.kind='grid', got {search.trials}; use 'random'"
        )
    if search.kind != GRID and search.extend:
        raise ConfigError(
            "config.search.extend", f"expected 0 with config.search.kind={search.kind!r}, got {search.extend}"
        )
    for entry in config.adapt:
        if METHODS[config.adapt[entry].method.name].solve:
            _check_solved(f"config.adapt.{entry}", config.adapt[entry], search.kind)
        if search.trials:
            _check_ranges(f"config.adapt.{entry}", config.adapt[entry], search.trials)
        else:
            _check_grid(f"config.adapt.{entry}", config.adapt[entry], config.adapt[scratch], scratch, search.extend)
    if search.kind == HALVING:
        steps = min([config.targets[name].steps or config.train.steps for name in config.targets])
        _check_halving(search, search.trials or len(config.adapt[scratch].lr), steps)


def _check_solved(where: str, entry: ConfigDict, kind: str) -> None:
    """Heads that are solved for take no steps."""
    if kind in (HALVING, OPTUNA):
        raise ConfigError(
            "config.search.kind",
            f"{kind!r} is for runs of steps, and {where}.method.name={entry.method.name!r} solves for its heads; "
            "use 'grid' or 'random'",
        )


def _check_ranges(where: str, entry: ConfigDict, trials: int) -> None:
    if len(entry.lr) < 2:
        raise ConfigError(f"{where}.lr", f"expected the two ends of a range to draw from, got {entry.lr!r}")
    # Numbers that are drawn have six digits, and no two of them may be the same.
    if max(entry.lr) < min(entry.lr) * (1 + 1e-4 * trials):
        raise ConfigError(f"{where}.lr", f"{entry.lr!r} is too narrow a range to draw {trials} trials from")


def _check_grid(where: str, entry: ConfigDict, scratch: ConfigDict, name: str, extend: int) -> None:
    if len(entry.lr) != len(scratch.lr):
        raise ConfigError(
            f"{where}.lr",
            f"{len(entry.lr)} learning rates, but config.adapt.{name}.lr has {len(scratch.lr)}; "
            "every arm gets the same number of trials",
        )
    if extend and len(entry.lr) < 2:
        raise ConfigError(f"{where}.lr", "config.search.extend needs two rates at least, to know how far to go")


def _check_halving(search: ConfigDict, trials: int, steps: int) -> None:
    if trials < search.eta:
        raise ConfigError("config.search.eta", f"one in {search.eta} is to go on, but each cell has {trials} trials")
    if steps < search.eta**search.rungs:
        most = max(rungs for rungs in range(search.rungs) if search.eta**rungs <= steps)
        raise ConfigError(
            "config.search.rungs",
            f"{search.rungs} rungs of config.search.eta={search.eta} in {steps} steps; at most {most}",
        )

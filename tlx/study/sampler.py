"""Trials that Optuna draws one after another, each after a look at those before."""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import replace

from tlx.errors import ConfigError
from tlx.study.search import Point, plain_point, rounded
from tlx.study.select import Validation, mean_score
from tlx.study.spec import RATIOS, Entry, Search

# Trials before the sampler looks at any result: Optuna's own number, or half of all where there are few.
_BLIND = 10
RATE = "lr"


def version() -> str:
    """The version of Optuna that is installed.

    Raises:
      ConfigError: there is none.
    """
    try:
        return importlib.metadata.version("optuna")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError("config.search.kind", "'optuna' needs Optuna; run pip install 'tlx[optuna]'") from None


def suggested(search: Search, entry: Entry, results: Sequence[Validation]) -> Point:
    """The next point, by a tree-structured Parzen estimator of the mean score over seeds.

    Args:
      search: names the seed, the same in every arm, and the number of trials.
      entry: names the ranges.
      results: of all trials so far, for all seeds, in the order in which their points were suggested.

    Returns:
      A point; the same for the same results, as the sampler is asked for the earlier ones again, in memory.

    Source:
      Bergstra et al. (2011); Akiba et al. (2019) for asking and telling.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    blind = min(_BLIND, max(search.trials // 2, 1))
    sampler = optuna.samplers.TPESampler(seed=search.seed, n_startup_trials=blind)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    space = {
        name: optuna.distributions.FloatDistribution(min(ends), max(ends), log=name in (RATE, *RATIOS))
        for name, ends in {RATE: entry.learning_rates, **entry.ranges}.items()
    }
    for one in (result for result in results if result.seed == results[0].seed):
        study.tell(study.ask(space), mean_score([result for result in results if result.point == one.point]))
    drawn = {name: rounded(value) for name, value in study.ask(space).params.items()}
    return replace(plain_point(entry, drawn.pop(RATE)), **drawn)

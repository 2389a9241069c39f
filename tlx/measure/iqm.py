"""The interquartile mean over runs and tasks: a summary that neither one lucky run nor one odd task decides."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tlx.measure.resampling import nested_draws, percentile_interval, portions
from tlx.measure.samples import Values, finite
from tlx.measure.stats import FEWEST, RESAMPLES, Interval, widened

_TRIMMED = 0.25


def interquartile_mean(scores_TR: Sequence[ArrayLike]) -> float:
    """The mean of the middle half of all runs of all tasks; a quarter, rounded down, is cut off at either end.

    Args:
      scores_TR: for each task its runs' scores, finite, at least one each; numbers of runs may differ, and a task
        with more of them then weighs more.

    Returns:
      The mean, in the unit of the scores.

    Raises:
      ValueError: if a score is not finite, a task has none, or there is no task.

    Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice", section 4.3.

    >>> interquartile_mean([[0.0, 0.5], [0.75, 9.0]])
    0.625
    """
    return float(stats.trim_mean(np.concatenate(_tasks(scores_TR)), _TRIMMED))


def iqm_interval(
    scores_TR: Sequence[ArrayLike],
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    over_tasks: bool = False,
    widen: bool = True,
) -> Interval:
    """The percentile interval of the interquartile mean by the stratified bootstrap.

    Runs are resampled within each task by itself, so that the interval is about these tasks and other runs. With
    `over_tasks` tasks are drawn first, and it is about other tasks of their kind as well.

    Measured at a nominal 95 %, normal and lognormal scores: with 5 to 20 runs of each of 4 or 10 tasks it covers 93
    to 95.5 %, of one task 93 to 98 %. With 3 runs it is 93 to 95 % on 10 tasks, 88 to 91 % on 4 and 75 % on one,
    where no resample leaves the range of the runs. Not widened, as rliable has it, it covers 80 to 88 % with 3 runs of
    4 or 10 tasks, 88 to 91 % with 5, and 92 to 94 % with 10. Over tasks that scatter twice as much as their 5 runs it
    covers 94 to 97 % with 5 to 50 tasks, 88 % with 3.

    Args:
      scores_TR: for each task its runs' scores, finite, at least one each.
      rng: decides the resamples, all of them: rliable draws from numpy's global state whatever seed it is given.
      level: coverage, 0 to 1.
      resamples: number of bootstrap samples.
      over_tasks: whether tasks are resampled, too.
      widen: whether the level is `stats.widened`; without it the interval is rliable's.

    Returns:
      The interquartile mean, `n` counting all runs. No interval where a task has fewer than 3 runs, or with
      `over_tasks` where there are fewer than 3 tasks.

    Raises:
      ValueError: if a score is not finite, a task has none, or there is no task.

    Source: Agarwal et al. 2021, section 4.2, and their library rliable.

    >>> found = iqm_interval([[0.25, 0.5, 0.75], [0.5, 0.5, 0.5]], np.random.default_rng(0))
    >>> found.mean, found.n, found.kind
    (0.5, 6, 'percentile')
    """
    tasks = _tasks(scores_TR)
    point = float(stats.trim_mean(np.concatenate(tasks), _TRIMMED))
    runs = sum(task.size for task in tasks)
    if (len(tasks) if over_tasks else min(task.size for task in tasks)) < FEWEST:
        return Interval(point, float("nan"), float("nan"), runs, "none")
    if over_tasks:
        wide, draw = widened(level, len(tasks)), _of_tasks
    else:
        wide, draw = widened(level, min(task.size for task in tasks), runs - len(tasks)), _of_runs
    width = len(tasks) * max(task.size for task in tasks)
    means = [draw(tasks, size, rng) for size in portions(resamples, width)]
    return percentile_interval(point, np.concatenate(means), runs, wide if widen else level)


def _of_runs(tasks: Sequence[Values], size: int, rng: np.random.Generator) -> Values:
    drawn = [task[rng.integers(0, task.size, (size, task.size))] for task in tasks]
    means: Values = stats.trim_mean(np.concatenate(drawn, axis=1), _TRIMMED, axis=1)
    return means


def _of_tasks(tasks: Sequence[Values], size: int, rng: np.random.Generator) -> Values:
    """Tasks that are drawn twice have runs of their own each time."""
    drawn_BN = np.sort(nested_draws(tasks, size, rng).reshape(size, -1), axis=1)  # NaN come last
    count_B1 = np.isfinite(drawn_BN).sum(axis=1, keepdims=True)
    cut_B1 = (_TRIMMED * count_B1).astype(int)
    place_N = np.arange(drawn_BN.shape[1])
    kept_BN = (place_N >= cut_B1) & (place_N < count_B1 - cut_B1)
    means: Values = np.mean(drawn_BN, axis=1, where=kept_BN)
    return means


def _tasks(scores_TR: Sequence[ArrayLike]) -> list[Values]:
    tasks = [finite(runs, 1, f"scores_TR[{place}]") for place, runs in enumerate(scores_TR)]
    if not tasks:
        raise ValueError("scores_TR: expected at least one task")
    return tasks

"""What tuning was worth: the best validation score to be expected of fewer trials than were made."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlx.measure.expected_best import expected_best_with_replacement, expected_best_without_replacement
from tlx.measure.pairing import Record
from tlx.report import wording
from tlx.report.summary import ARMS
from tlx.report.table import Table

NOTE = (
    "Validation scores in percent, not test scores: mean over seeds, as the choice is made by. Expected best of B "
    "trials, drawn without replacement from those that were made (Tang et al. 2020); the column of all trials is the "
    "best of them. Trials that diverged count as 0, those that were stopped early with what they had reached."
)
# What a record says of a trial besides its hyper-parameters.
_RESULTS = ("status", "val_score", "val_loss", "step")


@dataclass(frozen=True)
class Tuning:
    """The trials of one source, target, entry and budget.

    Args:
      source: None for the random starts.
      target: what is measured.
      entry: name of the arm or method.
      budget: number of target labels.
      scores: validation score of each trial, mean over the seeds that made it.
      seeds: with a record.
      diverged: trials without a score for some seed, which counts as 0.
      stopped: trials that were stopped early.
      without_replacement: expected best of 1, 2, … all trials, each made once.
      with_replacement: the same after Dodge et al., which lies lower.
    """

    source: str | None
    target: str
    entry: str
    budget: int
    scores: tuple[float, ...]
    seeds: int
    diverged: int
    stopped: int
    without_replacement: tuple[float, ...]
    with_replacement: tuple[float, ...]


def tunings(records: Iterable[Record]) -> list[Tuning]:
    """The trials of every way of adapting, on every target, at every budget.

    Args:
      records: of one study, any order.

    Returns:
      By target, then budget, then arm, source and entry; records without trials are left out.
    """
    groups: dict[tuple[str, int, int, str, str], list[Record]] = {}
    for record in records:
        cell = record["cell"]
        if record["trials"]:
            key = (cell["target"], cell["budget"], ARMS.index(cell["arm"]), cell["source"] or "", cell["entry"])
            groups.setdefault(key, []).append(record)
    return [_tuning(there) for _, there in sorted(groups.items(), key=lambda item: item[0])]


def tuning_table(found: Sequence[Tuning]) -> Table:
    """One line for each way, in groups by target and budget, columns for 1, 2, 4, … trials; `NOTE` explains it."""
    most = max((len(one.scores) for one in found), default=0)
    budgets = sorted({*(2**power for power in range(most.bit_length())), most} - {0})
    groups: dict[str, list[tuple[str, ...]]] = {}
    for one in found:
        best = [one.without_replacement[b - 1] if b <= len(one.scores) else None for b in budgets]
        name = one.entry if one.source is None else f"{one.entry} from {one.source}"
        line = (name, *(wording.UNKNOWN if value is None else f"{100 * value:.1f}" for value in best))
        groups.setdefault(f"{one.target}, {wording.labels(one.budget)}", []).append(line)
    head = ("Method", *(f"{budget} trial{'s' if budget > 1 else ''}" for budget in budgets))
    return Table(head, tuple((where, tuple(lines)) for where, lines in groups.items()))


def tuning_sentence(found: Sequence[Tuning]) -> str:
    """Whether all ways were tuned with as many trials."""
    counts = sorted({len(one.scores) for one in found})
    if not counts:
        return "No cell has made a trial."
    if len(counts) == 1:
        return f"Every way of adapting made {counts[0]} trial{'s' if counts[0] > 1 else ''} a cell."
    return f"Ways of adapting were not tuned alike: from {counts[0]} to {counts[-1]} trials a cell."


def _tuning(records: Sequence[Record]) -> Tuning:
    cell = records[0]["cell"]
    trials: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        for trial in record["trials"]:
            point = tuple(sorted((name, value) for name, value in trial.items() if name not in _RESULTS))
            trials.setdefault(point, []).append(trial)
    scores = [float(np.mean([trial["val_score"] or 0.0 for trial in made])) for made in trials.values()]
    budgets = np.arange(1, len(scores) + 1)
    return Tuning(
        source=cell["source"],
        target=cell["target"],
        entry=cell["entry"],
        budget=cell["budget"],
        scores=tuple(scores),
        seeds=len(records),
        diverged=sum(any(trial["val_score"] is None for trial in made) for made in trials.values()),
        stopped=sum(any(trial["status"] == "stopped" for trial in made) for made in trials.values()),
        without_replacement=tuple(expected_best_without_replacement(scores, budgets).tolist()),
        with_replacement=tuple(expected_best_with_replacement(scores, budgets).tolist()),
    )

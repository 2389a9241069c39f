"""Gains on the scales that other papers report."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlx.measure.gain import absolute_gain, error_reduction, logit_gain, relative_gain
from tlx.measure.pairing import Pair, Record, by_place
from tlx.measure.stats import Interval, interval
from tlx.report import wording
from tlx.report.grouped import grouped
from tlx.report.table import Table

NOTE = (
    "Relative: gain as a share of the score of scratch. Errors removed: as a share of those that scratch makes. "
    "Log-odds: difference of the logits of both accuracies, half an example added to each count. All paired by seed; "
    "pairs in which a scale is undefined are left out of it, and the others counted."
)

_Place = tuple[str | None, str, str, int]


@dataclass(frozen=True)
class Scaled:
    """One gain on several scales.

    Args:
      source: what the weights come from, None for random ones.
      target: what is measured.
      entry: name of the arm or method in the study.
      budget: number of target labels.
      absolute: score minus that of scratch.
      relative: the same as a share of the score of scratch.
      error_reduction: the same as a share of the errors of scratch.
      log_odds: difference of the logits of both accuracies; of no pair where the score is not an accuracy.
    """

    source: str | None
    target: str
    entry: str
    budget: int
    absolute: Interval
    relative: Interval
    error_reduction: Interval
    log_odds: Interval


def scaled_gains(records: Iterable[Record]) -> list[Scaled]:
    """Every gain on every scale.

    Args:
      records: of one study, any order.

    Returns:
      In the order in which they first come, of the pairs in which both have finished.

    Raises:
      PairingError: if two records are of the same cell.
    """
    return [_scaled(place, pairs) for place, pairs in by_place(records).items()]


def scales_table(found: Sequence[Scaled]) -> Table | None:
    """One line for each gain, in groups by source, target and budget; `NOTE` explains it. None without any."""
    head = ("Method", "Gain, points", "Relative, %", "Errors removed, %", "Log-odds")
    return Table(head, grouped(found, _line)) if found else None


def _scaled(place: _Place, pairs: Sequence[Pair]) -> Scaled:
    ours = [made.record["result"] for made in pairs]
    theirs = [made.scratch["result"] for made in pairs if made.scratch is not None]
    scores = [[result["test_score"] for result in arm] for arm in (ours, theirs)]
    counted = [i for i in range(len(pairs)) if None not in (ours[i]["test_correct"], theirs[i]["test_correct"])]
    counts = [[arm[i][name] for i in counted] for name in ("test_correct", "test_examples") for arm in (ours, theirs)]
    return Scaled(
        *place,
        absolute=_of(absolute_gain(*scores)),
        relative=_of(relative_gain(*scores)),
        error_reduction=_of(error_reduction(*scores)),
        log_odds=_of(logit_gain(*counts)),
    )


def _of(gain_S: NDArray[np.float64]) -> Interval:
    return interval(gain_S[np.isfinite(gain_S)])


def _line(one: Scaled) -> tuple[str, ...]:
    def counted(value: Interval, text: str) -> str:
        return f"{text} ({value.n} of {one.absolute.n} pairs)" if 0 < value.n < one.absolute.n else text

    return (
        one.entry,
        wording.gain(one.absolute),
        counted(one.relative, wording.gain(one.relative)),
        counted(one.error_reduction, wording.gain(one.error_reduction)),
        counted(one.log_odds, _log_odds(one.log_odds)),
    )


def _log_odds(value: Interval) -> str:
    if value.n == 0:
        return wording.UNKNOWN
    low, high = (f"{end + 0.0:.2f}" for end in (value.low, value.high))
    signed = f"{value.mean + 0.0:+.2f}"
    return signed if value.kind == "none" else f"{signed} [{low}, {high}]"

"""How much sooner each way of starting is as good as scratch, from validation scores on the way."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlx.errors import PairingError
from tlx.measure.bound import Bound, BoundInterval, Bounds, Weights, seed_interval
from tlx.measure.curves import Curve, area_gain, asymptotic_gain, jumpstart
from tlx.measure.pairing import Pair, Record, by_place
from tlx.measure.speed import (
    SHARE,
    break_even_tasks,
    compute_to_target,
    speed_ups,
    target_score,
    time_to_target,
    times_to_target,
)
from tlx.measure.stats import Interval, interval
from tlx.report import wording
from tlx.report.compute import pretraining_flops
from tlx.report.grouped import grouped
from tlx.report.table import Table

_Place = tuple[str | None, str, str, int]

NOTE = (
    f"Of mean validation scores over seeds: the target is {100 * SHARE:.0f} % of what scratch has at the end, reached "
    "at the first of three evaluations in a row at or above it; > and < where one arm never gets there, – where "
    "neither does. Speed-up: steps of scratch over steps. Jumpstart and asymptote: gain at the first and at the last "
    "evaluation. Area: gain in mean height over log steps. Break-even: tasks until the FLOPs saved on the way to the "
    "target, in one run, have made up for those of pre-training. Intervals cover 95 % over seeds."
)


@dataclass(frozen=True)
class Speed:
    """One way of starting and adapting beside scratch, on the way.

    Args:
      source: what the weights come from, None for random ones.
      target: what is measured.
      entry: name of the arm or method in the study.
      budget: number of target labels.
      score: validation score that both are to reach.
      scratch_steps: until scratch reaches it.
      steps: until this way reaches it.
      speed_up: how many times sooner, with its interval over seeds.
      jumpstart: gain at the first evaluation.
      area: gain in the area under the learning curve, over log steps.
      asymptote: gain at the last evaluation.
      break_even: tasks until pre-training has paid; None where its FLOPs are not known.
    """

    source: str | None
    target: str
    entry: str
    budget: int
    score: float
    scratch_steps: Bound
    steps: Bound
    speed_up: BoundInterval
    jumpstart: Interval
    area: Interval
    asymptote: Interval
    break_even: Bound | None


def curve_of(record: Record) -> Curve | None:
    """The validation scores of the chosen trial on the way; None where they were not kept.

    Args:
      record: whose `evaluations` hold `step` and `val_score`, lists of equal length.
    """
    kept = record.get("evaluations")
    if not kept or not kept["step"] or None in kept["val_score"]:
        return None
    return Curve(tuple(kept["step"]), tuple(kept["val_score"]))


def speeds(records: Iterable[Record]) -> list[Speed]:
    """Every way of starting whose records, and those of scratch, hold validation scores on the way.

    Args:
      records: of one study, any order.

    Returns:
      In the order in which they first come, of the pairs in which both have finished.

    Raises:
      PairingError: if two records are of the same cell, or two arms were evaluated at different steps.
    """
    given = list(records)
    before = pretraining_flops(given)
    found = []
    for place, pairs in by_place(given).items():
        told = [made for made in pairs if made.scratch and curve_of(made.record) and curve_of(made.scratch)]
        if told:
            found.append(_speed(place, told, before.get(place[0] or "")))
    return found


def speed_table(found: Sequence[Speed]) -> Table | None:
    """One line for each way, in groups by source, target and budget; `NOTE` explains it. None without any."""
    head = ("Method", "Steps", "Of scratch", "Speed-up", "Jumpstart", "Area", "Asymptote", "Break-even, tasks")
    return Table(head, grouped(found, _line)) if found else None


def _speed(place: _Place, pairs: Sequence[Pair], pretraining: float | None) -> Speed:
    both = [_curves(made) for made in pairs]
    steps = both[0][0].steps
    if any(curve.steps != steps for curves in both for curve in curves):
        raise PairingError(
            f"evaluations.step: the seeds of {place[2]!r} on {place[1]!r} were evaluated at different steps; "
            "run them with the same settings to compare them"
        )
    ours_SE, theirs_SE = (np.array([curves[arm].scores for curves in both]) for arm in (0, 1))

    def factors(weight_RS: Weights) -> Bounds:
        """The speed-up of weighted means over seeds, each to the target of its own mean of scratch."""
        share_RS = weight_RS / len(pairs)
        theirs_RE, ours_RE = share_RS @ theirs_SE, share_RS @ ours_SE
        target_R = target_score(theirs_RE)
        return speed_ups(times_to_target(steps, theirs_RE, target_R), times_to_target(steps, ours_RE, target_R))

    score = float(target_score(theirs_SE.mean(axis=0)))
    scratch_steps = time_to_target(steps, theirs_SE.mean(axis=0), score)
    mine = time_to_target(steps, ours_SE.mean(axis=0), score)
    return Speed(
        *place,
        score=score,
        scratch_steps=scratch_steps,
        steps=mine,
        speed_up=seed_interval(factors, len(pairs)),
        jumpstart=interval([jumpstart(*curves) for curves in both]),
        area=interval(_finite([area_gain(*curves) for curves in both])),
        asymptote=interval([asymptotic_gain(*curves) for curves in both]),
        break_even=_break_even(pairs, scratch_steps, mine, pretraining),
    )


def _curves(made: Pair) -> tuple[Curve, Curve]:
    assert made.scratch is not None
    ours, theirs = curve_of(made.record), curve_of(made.scratch)
    assert ours is not None and theirs is not None
    if ours.steps != theirs.steps:
        raise PairingError(
            f"evaluations.step: records {made.record['id']} and {made.scratch['id']} were evaluated at different "
            "steps; run both arms with the same settings to compare them"
        )
    return ours, theirs


def _break_even(pairs: Sequence[Pair], theirs: Bound, ours: Bound, pretraining: float | None) -> Bound | None:
    flops = [
        float(np.mean([record["cost"]["step_flops"] or math.nan for record in arm]))
        for arm in ([made.scratch for made in pairs if made.scratch], [made.record for made in pairs])
    ]
    if pretraining is None or not all(map(math.isfinite, flops)):
        return None
    return break_even_tasks(pretraining, compute_to_target(theirs, flops[0]), compute_to_target(ours, flops[1]))


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    return np.array([value for value in values if math.isfinite(value)])


def _line(one: Speed) -> tuple[str, ...]:
    return (
        one.entry,
        one.steps.text,
        one.scratch_steps.text,
        one.speed_up.text,
        wording.gain(one.jumpstart),
        wording.gain(one.area),
        wording.gain(one.asymptote),
        one.break_even.text if one.break_even else wording.UNKNOWN,
    )

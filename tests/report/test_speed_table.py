from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tlx.errors import PairingError
from tlx.measure.bound import Bound
from tlx.report.speed import curve_of, speed_table, speeds

STEPS = [10, 20, 30, 40, 50, 60]
SLOW = [0.1, 0.2, 0.3, 0.5, 0.5, 0.5]
QUICK = [0.4, 0.5, 0.5, 0.6, 0.6, 0.6]


def records(
    make: SimpleNamespace, slow: Sequence[float] = SLOW, quick: Sequence[float] = QUICK, seeds: int = 3
) -> list[dict[str, Any]]:
    made = []
    for seed in range(seeds):
        for entry, arm, scores in (("scratch", "scratch", slow), ("full", "transfer", quick)):
            record = make.record(entry, arm, seed=seed)
            record["evaluations"] = {"step": STEPS, "val_score": list(scores)}
            made.append(record)
    return made


def test_speed_by_hand(make: SimpleNamespace) -> None:
    (one,) = speeds(records(make))
    assert one.score == pytest.approx(0.495)
    assert (one.scratch_steps, one.steps) == (Bound(40.0), Bound(20.0))
    assert one.speed_up.text == "2"
    assert one.jumpstart.mean == pytest.approx(0.3) and one.asymptote.mean == pytest.approx(0.1)
    assert 0.1 < one.area.mean < 0.3
    assert one.break_even is None


def test_break_even_on_the_way_to_the_target(make: SimpleNamespace) -> None:
    """Twenty steps of 1.2e8 FLOPs are saved; pre-training for 1e10 takes five such tasks."""
    given = records(make)
    for record in given:
        if record["lineage"]:
            record["lineage"]["pretraining_flops"] = 1e10
    (one,) = speeds(given)
    assert one.break_even == Bound(5.0)
    made = speed_table([one])
    assert made is not None and made.groups[0][0] == "mnist → digits, 20 labels"
    line = made.groups[0][1][0]
    assert line[:4] == ("full", "20", "40", "2") and line[-1] == "5"
    assert line[4] == "+30.0 [30.0, 30.0]"
    assert made.head[:4] == ("Method", "Steps", "Of scratch", "Speed-up")


def test_who_never_gets_there(make: SimpleNamespace) -> None:
    (one,) = speeds(records(make, slow=QUICK, quick=SLOW))
    assert (one.steps, one.speed_up.text) == (Bound(60.0, ">"), "< 0.667")
    (one,) = speeds(records(make, slow=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    assert (one.scratch_steps, one.speed_up.text) == (Bound(60.0, ">"), "> 1.5")


def test_seeds_that_differ_open_an_interval(make: SimpleNamespace) -> None:
    given = records(make, seeds=5)
    for record in given:
        if record["cell"]["arm"] == "transfer":
            late = record["cell"]["seed"] % 2
            record["evaluations"]["val_score"] = [0.4, 0.5 - 0.04 * late, 0.5, 0.6, 0.6, 0.6]
    (one,) = speeds(given)
    assert one.speed_up.low is not None and one.speed_up.high is not None
    assert one.speed_up.low.value < one.speed_up.high.value


def test_records_without_scores_on_the_way_say_nothing(make: SimpleNamespace) -> None:
    plain = make.record()
    assert curve_of(plain) is None
    assert curve_of({**plain, "evaluations": {"step": [], "val_score": []}}) is None
    assert curve_of({**plain, "evaluations": {"step": [1, 2], "val_score": [0.5, None]}}) is None
    given = [make.record("scratch", "scratch"), plain]
    assert speeds(given) == [] and speed_table(speeds(given)) is None


def test_different_grids_are_refused(make: SimpleNamespace) -> None:
    given = records(make)
    given[0]["evaluations"] = {"step": [1, 2, 3], "val_score": [0.1, 0.2, 0.3]}
    with pytest.raises(PairingError, match="evaluations.step: records .* were evaluated at different steps"):
        speeds(given)
    given[1]["evaluations"] = given[0]["evaluations"]
    with pytest.raises(PairingError, match="evaluations.step: the seeds of 'full' on 'digits'"):
        speeds(given)

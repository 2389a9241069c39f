from types import SimpleNamespace
from typing import Any

import pytest

from tlx.measure.bound import Bound
from tlx.report.labels import ossifications, worth_table, worths

# Of 400 test examples, by labels: scratch rises by 0.2 with each factor of 10.
SCRATCH = {10: 80, 100: 160, 1000: 240}


def study(make: SimpleNamespace, correct: dict[int, int], seeds: int = 3, **where: Any) -> list[dict[str, Any]]:
    base = [make.record("scratch", "scratch", n, seed, right) for n, right in SCRATCH.items() for seed in range(seeds)]
    return base + [
        make.record(**{"budget": n, "seed": seed, "correct": right, **where})
        for n, right in correct.items()
        for seed in range(seeds)
    ]


def test_labels_by_hand(make: SimpleNamespace) -> None:
    found = worths(study(make, {10: 120, 100: 240, 1000: 260}))
    assert [(one.source, one.target, one.entry, one.budget, one.labels) for one in found] == [
        ("mnist", "digits", "full", n, n) for n in (10, 100, 1000)
    ]
    # 120 of 400 are half-way from 80 to 160: 10^1.5 labels
    assert found[0].equivalent.estimate.value == pytest.approx(10**1.5)
    assert found[0].gained.estimate.value == pytest.approx(10**1.5 - 10)
    assert found[0].multiplier.estimate.value == pytest.approx(10**0.5)
    assert found[1].equivalent.estimate == Bound(1000.0) and found[1].multiplier.text == "10"
    assert found[2].equivalent.text == "> 1,000" and found[2].gained.text == "> 0" and found[2].multiplier.text == "> 1"


def test_the_table_has_a_group_for_each_budget(make: SimpleNamespace) -> None:
    made = worth_table(worths(study(make, {10: 120, 1000: 60})))
    assert made is not None
    assert made.head == ("Method", "Worth, labels", "Gained, labels", "Multiplier", "Seeds")
    assert made.groups == (
        ("mnist → digits, 10 labels", (("full", "31.6", "21.6", "3.16", "3"),)),
        ("mnist → digits, 1000 labels", (("full", "< 10", "< -990", "< 0.01", "3"),)),
    )


def test_seeds_that_differ_open_an_interval(make: SimpleNamespace) -> None:
    records = study(make, {})
    records += [make.record("lora", budget=10, seed=seed, correct=n) for seed, n in enumerate((110, 120, 130))]
    (one,) = worths(records)
    assert one.equivalent.low is not None and one.equivalent.high is not None
    assert 10 < one.equivalent.low.value < 10**1.5 < one.equivalent.high.value < 100


def test_worth_is_counted_in_labels_not_in_labels_of_each_class(make: SimpleNamespace) -> None:
    records = study(make, {10: 120})
    for record in records:
        record["data"]["subset"]["examples"] = 10 * record["cell"]["budget"]
    (one,) = worths(records)
    assert (one.budget, one.labels) == (10, 100)
    assert one.equivalent.estimate.value == pytest.approx(10**2.5)


def test_random_starts_are_there_too_and_titled_by_the_target(make: SimpleNamespace) -> None:
    found = worths(study(make, {100: 80}, entry="random-frozen", arm="random-frozen"))
    made = worth_table(found)
    assert made is not None and made.groups[0][0] == "digits, 100 labels"
    assert found[0].multiplier.estimate == Bound(pytest.approx(0.1))
    assert ossifications(found) == []


def test_without_a_curve_there_is_no_table(make: SimpleNamespace) -> None:
    one_budget = [make.record("scratch", "scratch", 10), make.record("full", budget=10)]
    for records in ([], one_budget, [make.record("full", budget=n) for n in (10, 100)]):
        assert worths(records) == [] and worth_table(worths(records)) is None


def test_seeds_with_a_gap_are_left_out_and_counted(make: SimpleNamespace) -> None:
    records = study(make, {10: 120}, seeds=5)
    gap = next(i for i, r in enumerate(records) if r["cell"]["budget"] == 1000 and r["cell"]["seed"] == 4)
    records[gap] = make.diverged(records[gap])
    records = [record for record in records if (record["cell"]["arm"], record["cell"]["seed"]) != ("transfer", 0)]
    (one,) = worths(records)
    assert one.equivalent.n == 3
    made = worth_table([one])
    assert made is not None and made.groups[0][1][0][-1] == "3"


def test_arms_that_differ_are_left_out(make: SimpleNamespace) -> None:
    records = study(make, {10: 120})
    (whole,) = worths(records)
    records[-1]["data"]["test"]["digest"] = "another"
    (one,) = worths(records)
    assert one.equivalent.n == whole.equivalent.n - 1


def test_ossification_is_told_at_the_largest_budget(make: SimpleNamespace) -> None:
    frozen = worths(study(make, {10: 120, 1000: 200}))
    assert [(one.entry, one.budget) for one in ossifications(frozen)] == [("full", 1000)]
    assert ossifications(worths(study(make, {10: 60, 1000: 240}))) == []

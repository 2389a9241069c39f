import math
from types import SimpleNamespace
from typing import Any

import pytest

from tlx.measure.improvement import improvement_interval
from tlx.report.improvements import NOTE, improvement_table, improvements
from tlx.report.places import Place, places


def read(make: SimpleNamespace, records: list[dict[str, Any]], lost: tuple[dict[str, Any], ...] = ()) -> list[Place]:
    study = make.study(records, lost=lost)
    return places(study.records, study.manifest)


def runs(make: SimpleNamespace, entry: str, correct: list[int], **where: Any) -> list[dict[str, Any]]:
    arm = "scratch" if entry == "scratch" else "transfer"
    return [make.record(entry, arm, seed=seed, correct=n, **where) for seed, n in enumerate(correct)]


def test_both_ways_round(make: SimpleNamespace) -> None:
    records = runs(make, "scratch", [200, 210, 220, 230]) + runs(make, "lora", [225, 300, 310, 320])
    forth, back = improvements(read(make, records))
    assert (forth.first, forth.second, back.first, back.second) == ("scratch", "lora", "lora", "scratch")
    # 15 of 16 pairs
    assert back.probability.mean == 15 / 16 and forth.probability.mean == 1 / 16
    expected = improvement_interval([[225, 300, 310, 320]], [[200, 210, 220, 230]])
    assert back.probability.low == pytest.approx(expected.low)
    assert (back.verdict, forth.verdict) == ("significant and meaningful", "not significant")
    assert (back.budget, back.tasks_expected, back.probability.n) == (20, 1, 1)


def test_transfers_meet_on_the_same_source(make: SimpleNamespace) -> None:
    records = runs(make, "scratch", [100, 100, 100])
    # full is the better from either source, though lora from a beats full from b
    for source, best in (("a", 300), ("b", 200)):
        records += runs(make, "full", [best] * 3, source=source) + runs(make, "lora", [best - 20] * 3, source=source)
    found = {(one.first, one.second): one for one in improvements(read(make, records))}
    assert found["full", "lora"].probability.mean == 1.0 and found["full", "lora"].probability.n == 2
    # scratch has no source: all of lora's runs stand against its own, on one task
    assert found["lora", "scratch"].probability.n == 1 and found["lora", "scratch"].probability.mean == 1.0


def test_missing_tasks_are_counted(make: SimpleNamespace) -> None:
    records = runs(make, "scratch", [200, 210, 220, 230]) + runs(make, "scratch", [200, 210, 220, 230], target="usps")
    lora = runs(make, "lora", [300, 310, 320, 330]), runs(make, "lora", [300, 310, 320, 330], target="usps")
    found = improvements(read(make, records + lora[0], lost=tuple(lora[1])))
    assert (found[1].probability.n, found[1].tasks_expected) == (1, 2)
    rows = improvement_table(found).groups[0][1]
    assert rows[1] == ("lora", "1.00* [0.58, 1.00] (1/2)", "")
    nothing = improvements(read(make, records, lost=(*lora[0], *lora[1])))
    assert math.isnan(nothing[0].probability.mean) and nothing[0].verdict == "not significant"
    assert improvement_table(nothing).groups[0][1][0] == ("scratch", "", "–")


def test_table_by_budget(make: SimpleNamespace) -> None:
    records = runs(make, "scratch", [200, 210]) + runs(make, "lora", [205, 310])
    records += runs(make, "scratch", [200, 210], budget=100)
    table = improvement_table(improvements(read(make, records)))
    assert table.head == ("Method", "scratch", "lora")
    assert table.groups == (("20 labels", (("scratch", "", "0.25"), ("lora", "0.75", ""))),)
    assert "29 runs" in NOTE
    assert improvement_table(improvements([])).groups == ()

import math
from types import SimpleNamespace
from typing import Any

import pytest

from tlx.measure.iqm import interquartile_mean
from tlx.report.over_targets import middle_table, middles, rank_table, ranked
from tlx.report.places import Place, places


def grid(make: SimpleNamespace, targets: int, seeds: int, lost: int = 0, **starts: float) -> list[Place]:
    records: list[dict[str, Any]] = []
    for target in range(targets):
        records += make.simulated(starts, (20,), seeds, target=f"t{target}")
    study = make.study(records[: len(records) - lost], lost=records[len(records) - lost :])
    return places(study.records, study.manifest)


def test_middle_of_scores_and_gains(make: SimpleNamespace) -> None:
    found_places = grid(make, 3, 4, lora=0.2)
    found = middles(found_places)
    assert [one.way for one in found] == ["scratch", "random-frozen", "lora from mnist"]
    scratch, _, lora = found
    there = [place for place in found_places if place.row.entry == "lora"]
    assert lora.score.mean == pytest.approx(interquartile_mean([list(place.scores.values()) for place in there]))
    assert lora.gain is not None
    assert lora.gain.mean == pytest.approx(interquartile_mean([list(place.gains.values()) for place in there]))
    assert lora.gain.low < lora.gain.mean < lora.gain.high and lora.gain.kind == "percentile"
    assert (lora.targets, lora.targets_expected, lora.score.n, lora.runs_expected) == (3, 3, 12, 12)
    assert scratch.gain is None
    assert middles(found_places) == found


def test_nothing_is_averaged_over_a_missing_target(make: SimpleNamespace) -> None:
    lora = middles(grid(make, 3, 4, lost=4, lora=0.2))[-1]
    assert math.isnan(lora.score.mean) and lora.gain is not None and math.isnan(lora.gain.mean)
    assert (lora.targets, lora.targets_expected, lora.score.n, lora.runs_expected) == (2, 3, 8, 12)
    partly = middles(grid(make, 3, 4, lost=1, lora=0.2))[-1]
    assert partly.score.n == 11 and partly.score.kind == "percentile"
    few = middles(grid(make, 3, 2, lora=0.2))[-1]
    assert few.score.kind == "none" and not math.isnan(few.score.mean)


def test_one_target_is_not_many(make: SimpleNamespace) -> None:
    assert middles(grid(make, 1, 4, lora=0.2)) == []
    assert middle_table([]).groups == ()


def test_middle_table(make: SimpleNamespace) -> None:
    table = middle_table(middles(grid(make, 3, 4, lost=4, lora=0.2)))
    assert table.head == ("Method", "IQM of scores, %", "IQM of gains, points", "Targets", "Runs")
    ((heading, lines),) = table.groups
    assert heading == "20 labels"
    assert lines[-1] == ("lora from mnist", "–", "–", "2/3", "8/12")
    assert lines[0][2:] == ("", "3/3", "12/12")
    assert lines[0][1].endswith("]")


def test_metrics_are_kept_apart(make: SimpleNamespace) -> None:
    records = make.simulated({}, (20,), 3, target="a") + make.simulated({}, (20,), 3, target="b")
    for record in records:
        if record["cell"]["target"] == "b":
            record["result"]["metric"] = "r2"
    study = make.study(records)
    assert middles(places(study.records, study.manifest)) == []


def test_ranks_over_targets(make: SimpleNamespace) -> None:
    (found,) = ranked(grid(make, 6, 3, lora=0.25, full=0.1))
    assert found.ways == ("scratch", "random-frozen", "lora from mnist", "full from mnist")
    assert found.test.mean_ranks == (3.0, 4.0, 1.0, 2.0) and found.test.tasks == 6
    # 12 · 6 / 20 · (9 + 16 + 1 + 4 - 25) = 18
    assert found.test.statistic == pytest.approx(18)
    assert found.critical == pytest.approx(2.569 * math.sqrt(20 / 36), abs=2e-3)
    table = rank_table([found])
    heading, lines = table.groups[0]
    assert heading == ("20 labels: 6 targets, Friedman's p 0.00044, ranks differ from 1.91 apart (Nemenyi)")
    assert [line[0] for line in lines] == ["lora from mnist", "full from mnist", "scratch", "random-frozen"]
    assert lines[0][1] == "1.00"


def test_few_targets_or_ways_are_not_ranked(make: SimpleNamespace) -> None:
    assert ranked(grid(make, 4, 3, lora=0.25)) == []
    assert ranked([]) == [] and rank_table([]).groups == ()

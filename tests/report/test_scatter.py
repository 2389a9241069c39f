import math
from types import SimpleNamespace
from typing import Any

import pytest

from tlx.measure.stats import t_interval
from tlx.report.places import places
from tlx.report.scatter import ONE_SEED, retrained_sources, retrained_table, shared_scatter, shared_table


def scores(make: SimpleNamespace, **correct: tuple[int | None, ...]) -> Any:
    records = []
    for entry, values in correct.items():
        arm = "scratch" if entry == "scratch" else "transfer"
        made = [(make.record(entry, arm, seed=seed, correct=n or 0), n) for seed, n in enumerate(values)]
        records += [record if n is not None else make.diverged(record) for record, n in made]
    study = make.study(records)
    return places(study.records, study.manifest)


def test_what_all_arms_share(make: SimpleNamespace) -> None:
    # seed effects 0, 4, 8 of 400 in both arms and nothing else: s² = 1e-4
    (found,) = shared_scatter(scores(make, scratch=(200, 204, 208), lora=(300, 304, 308)))
    assert (found.where, found.seeds, found.ways) == ("digits, 20 labels", 3, 2)
    assert found.shared == pytest.approx(1e-4) and found.own == pytest.approx(0, abs=1e-15)
    assert found.share == pytest.approx(1.0)


def test_what_arms_do_not_share(make: SimpleNamespace) -> None:
    # 0 8 4 against 4 0 8: they run apart, so that nothing is shared
    (found,) = shared_scatter(scores(make, scratch=(200, 208, 204), lora=(304, 300, 308)))
    assert found.shared < 0 < found.own and found.share == 0.0
    (none,) = shared_scatter(scores(make, scratch=(200, 200, 200), lora=(300, 300, 300)))
    assert math.isnan(none.share)


def test_only_seeds_that_all_arms_have(make: SimpleNamespace) -> None:
    (found,) = shared_scatter(scores(make, scratch=(200, 204, 208, 100), lora=(300, 304, 308, None), full=(None,) * 4))
    assert (found.seeds, found.ways) == (3, 2) and found.shared == pytest.approx(1e-4)
    assert shared_scatter(scores(make, scratch=(200, 204), lora=(300, 304))) == []
    assert shared_scatter(scores(make, scratch=(200, 204, 208))) == []
    assert shared_scatter([]) == []


def test_shared_table(make: SimpleNamespace) -> None:
    table = shared_table(shared_scatter(scores(make, scratch=(200, 204, 208), lora=(300, 304, 308))))
    assert table.groups == (("", (("digits, 20 labels", "3", "2", "1.0", "0.0", "100 %"),)),)
    assert len(table.head) == 6 and shared_table([]).groups == ()
    assert "cannot tell" in ONE_SEED


def with_sources(make: SimpleNamespace, gains: dict[str, tuple[int, ...]], **recipe: Any) -> list[dict[str, Any]]:
    seeds = max(map(len, gains.values()))
    records = [make.record("scratch", "scratch", seed=seed, correct=200) for seed in range(seeds)]
    for place, (source, values) in enumerate(gains.items()):
        made = {"name": source, "seed": place, "dataset": "mnist5k", **recipe}
        records += [
            make.record("lora", seed=seed, correct=200 + value, source=source, config__source=made)
            for seed, value in enumerate(values)
        ]
    return records


def test_a_source_that_was_trained_again_is_a_checkpoint_of_one(make: SimpleNamespace) -> None:
    gains = {"a0": (40, 48), "a1": (80, 88), "a2": (60, 68)}
    (found,) = retrained_sources(with_sources(make, gains))
    assert (found.sources, found.target, found.entry, found.budget) == (("a0", "a1", "a2"), "digits", "lora", 20)
    means = t_interval([0.11, 0.21, 0.16])
    assert (found.gain.mean, found.gain.low) == (pytest.approx(means.mean), pytest.approx(means.low))
    # within: 0.02² / 2 each; between: 0.0025 of the means, less half of that
    assert found.within == pytest.approx(2e-4) and found.between == pytest.approx(0.0025 - 1e-4)
    table = retrained_table([found])
    row = table.groups[0][1][0]
    assert row[0] == "lora from a0, a1 and a2 on digits, 20 labels"
    assert row[2:] == ("4.9", "1.4")


def test_two_checkpoints_have_no_interval(make: SimpleNamespace) -> None:
    (found,) = retrained_sources(with_sources(make, {"a0": (40, 48), "a1": (80, 88)}))
    assert found.gain.kind == "none" and found.gain.mean == pytest.approx(0.16)


def test_other_sources_are_no_checkpoints(make: SimpleNamespace) -> None:
    records = with_sources(make, {"a0": (40, 48)}) + with_sources(make, {"b0": (40, 48)}, dataset="glyphs")[2:]
    assert retrained_sources(records) == []
    released = [make.record("scratch", "scratch"), make.record(config__source={"name": "r", "checkpoint": "abc"})]
    assert retrained_sources(released) == []
    assert retrained_sources(with_sources(make, {"a0": (40,), "a1": (48,)})) == []
    assert retrained_sources([]) == [] and retrained_table([]).groups == ()


def test_unfair_pairs_are_left_out(make: SimpleNamespace) -> None:
    records = with_sources(make, {"a0": (40, 48), "a1": (80, 88)})
    records[-1]["data"]["test"]["digest"] = "other"
    (found,) = retrained_sources(records)
    # Of a0 both gains, 0.10 and 0.12, of a1 the one that is left.
    assert found.gain.mean == pytest.approx((0.11 + 0.20) / 2)

import random
from types import SimpleNamespace
from typing import Any

import pytest

from tlx.errors import PairingError
from tlx.report import comparisons, summarise


def by_hand(make: SimpleNamespace) -> list[dict[str, Any]]:
    scratch = [make.record("scratch", "scratch", seed=seed, correct=n) for seed, n in enumerate((200, 220, 240))]
    lora = [make.record("lora", seed=seed, correct=n) for seed, n in enumerate((280, 300, 340))]
    return scratch + lora


def test_numbers_by_hand(make: SimpleNamespace) -> None:
    study = make.study(by_hand(make))
    scratch, lora = summarise(study.records, study.manifest, study.timings)
    assert (scratch.arm, scratch.gain, scratch.score.mean) == ("scratch", None, pytest.approx(0.55))
    # accuracies 0.70, 0.75, 0.85; gains 0.20, 0.20, 0.25 with s = 0.05 / sqrt(3), t(0.975, 2) = 4.3027
    assert lora.score.mean == pytest.approx(23 / 30)
    assert lora.gain is not None and lora.gain.mean == pytest.approx(0.65 / 3)
    assert lora.gain.high - lora.gain.mean == pytest.approx(4.3027 * 0.05 / 3, abs=1e-5)
    assert lora.trainable_share == pytest.approx(0.01)
    assert (lora.trainable_params, lora.optimizer_bytes, lora.step_flops, lora.cached_flops) == (1550, 12400, 1.2e8, 0)
    assert (lora.seeds_done, lora.seeds_expected, lora.diverged, lora.wall_s) == (3, 3, 0, 1.5)


def test_gain_pairs_by_seed_whatever_the_order(make: SimpleNamespace) -> None:
    records = by_hand(make)
    study = make.study(records)
    expected = summarise(records, study.manifest, study.timings)
    random.Random(3).shuffle(records)
    assert summarise(records, study.manifest, study.timings) == expected


def test_missing_partners_are_never_averaged_over(make: SimpleNamespace) -> None:
    records = by_hand(make)
    study = make.study(records[1:], lost=records[:1])
    scratch, lora = summarise(study.records, study.manifest, study.timings)
    assert (scratch.seeds_done, scratch.seeds_expected) == (2, 3)
    assert (lora.seeds_done, lora.score.n) == (3, 3)
    assert lora.gain is not None and (lora.gain.n, lora.gain.kind) == (2, "none")
    assert lora.gain.mean == pytest.approx(0.225)


def test_diverged_seeds_are_counted_and_left_out(make: SimpleNamespace) -> None:
    records = by_hand(make)
    records[3] = make.diverged(records[3])
    study = make.study(records)
    _, lora = summarise(study.records, study.manifest, study.timings)
    assert (lora.seeds_done, lora.seeds_expected, lora.diverged) == (2, 3, 1)
    assert lora.score.mean == pytest.approx(0.8)
    assert lora.gain is not None and lora.gain.n == 2
    assert lora.step_flops == 1.2e8


def test_nothing_done_yet(make: SimpleNamespace) -> None:
    study = make.study([], lost=by_hand(make))
    rows = summarise([], study.manifest, {})
    assert [row.entry for row in rows] == ["scratch", "lora"]
    assert all(row.score.n == 0 and row.seeds_expected == 3 for row in rows)
    assert rows[1].trainable_share is rows[1].wall_s is rows[1].step_flops is None


def test_times_that_are_known_are_averaged(make: SimpleNamespace) -> None:
    records = by_hand(make)
    timings = {records[3]["id"]: {"wall_s": 2.0}, records[4]["id"]: {"wall_s": 4.0}, records[5]["id"]: {"wall_s": None}}
    scratch, lora = summarise(records, make.study(records).manifest, timings)
    assert (scratch.wall_s, lora.wall_s) == (None, 3.0)


def test_order_of_the_rows(make: SimpleNamespace) -> None:
    records = make.simulated({"zeta": 0.1, "alpha": 0.2}, (100, 20), 1, target="usps")
    records += make.simulated({"alpha": 0.2}, (20,), 1, target="digits")
    rows = summarise(records, make.study(records[::-1]).manifest, {})
    assert [(row.target, row.budget, row.entry) for row in rows] == [
        ("digits", 20, "scratch"),
        ("digits", 20, "random-frozen"),
        ("digits", 20, "alpha"),
        ("usps", 20, "scratch"),
        ("usps", 20, "random-frozen"),
        ("usps", 20, "alpha"),
        ("usps", 20, "zeta"),
        ("usps", 100, "scratch"),
        ("usps", 100, "random-frozen"),
        ("usps", 100, "alpha"),
        ("usps", 100, "zeta"),
    ]


def test_records_outside_the_manifest_are_left_out(make: SimpleNamespace) -> None:
    records = by_hand(make)
    manifest = make.study(records).manifest
    stranger = make.record(budget=50, data__test__digest="other")
    assert summarise([*records, stranger], manifest, {}) == summarise(records, manifest, {})


def test_unfair_pairs_have_no_gain_and_are_counted(make: SimpleNamespace) -> None:
    records = by_hand(make)
    records[-1]["data"]["test"]["digest"] = "other"
    scratch, lora = summarise(records, make.study(records).manifest, {})
    assert (scratch.refused, lora.refused) == (0, 1)
    assert lora.gain is not None and lora.gain.n == 2 and lora.gain.mean == pytest.approx(0.2)
    assert lora.score.n == 3


def test_a_cell_named_twice_stops_the_summary(make: SimpleNamespace) -> None:
    records = [*by_hand(make), make.record("lora", id="0123456789abcdef")]
    with pytest.raises(PairingError, match="0123456789abcdef are both 'lora' on 'digits'"):
        summarise(records, make.study(records).manifest, {})


def test_comparisons_share_the_random_starts(make: SimpleNamespace) -> None:
    records = make.simulated({"full": 0.2}, (20,), 1)
    records += [make.record("full", source="emnist"), *make.simulated({}, (20,), 1, target="usps")]
    made = comparisons(summarise(records, make.study(records).manifest, {}))
    assert [one.title for one in made] == ["mnist → digits", "emnist → digits", "usps"]
    assert [[row.source for row in one.rows] for one in made] == [
        [None, None, "mnist"],
        [None, None, "emnist"],
        [None] * 2,
    ]


def test_a_name_says_the_arm_where_the_entry_does_not(make: SimpleNamespace) -> None:
    records = [make.record("random", "random-frozen"), make.record("random-frozen", "random-frozen", seed=1)]
    rows = summarise(records, make.study(records).manifest, {})
    assert [row.name for row in rows] == ["random (random-frozen)", "random-frozen"]

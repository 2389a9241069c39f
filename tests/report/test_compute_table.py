import math
from types import SimpleNamespace
from typing import Any

import pytest

from tlx.measure.energy import DEVICES, Device
from tlx.report.break_even import break_even_table, break_evens
from tlx.report.compute import (
    compute_note,
    compute_table,
    computes,
    energy,
    pretraining_flops,
    training_flops,
)

ROUND = Device("a round one", watts=3600, peak_flops=1e9, format="float32", source="made up")


def records(make: SimpleNamespace, pretraining: float | None = 1e10, right: int = 320) -> list[dict[str, Any]]:
    """Two trials of 100 steps: 2.4e10 FLOPs from scratch, half of that and 20 labels × 1e6 for LoRA."""
    made = [make.record("scratch", "scratch", seed=seed, correct=200) for seed in (0, 1)]
    lora = [
        make.record("lora", seed=seed, correct=right, cost__step_flops=6e7, cost__cached_flops=1e6) for seed in (0, 1)
    ]
    for record in lora:
        if pretraining is not None:
            record["lineage"]["pretraining_flops"] = pretraining
    return made + lora


def test_flops_of_a_cell_by_hand(make: SimpleNamespace) -> None:
    scratch, _, lora, _ = records(make)
    assert training_flops(scratch) == 2 * 100 * 1.2e8
    assert training_flops(lora) == 2 * 100 * 6e7 + 20 * 1e6
    for unknown in (None, math.nan):
        assert training_flops(make.record(cost__step_flops=unknown)) is None


def test_trials_that_end_early_cost_less(make: SimpleNamespace) -> None:
    record = make.record("scratch", "scratch")
    record["trials"] = [{"lr": 1.0, "step": 10}, {"lr": 2.0, "length": 0.25}, {"lr": 3.0}]
    assert training_flops(record) == (10 + 25 + 100) * 1.2e8
    record["config"]["entry"] = {"length": 0.5}
    assert training_flops(record) == (10 + 25 + 50) * 1.2e8


def test_flops_and_energy_of_a_study_by_hand(make: SimpleNamespace) -> None:
    """3,600 W at 1e9 operations a second are 1e-9 Wh for each operation."""
    made = compute_table(records(make), ROUND, utilisation=1.0)
    assert made is not None and made.head == ("Method", "Cells", "FLOPs per cell", "FLOPs", "Energy")
    assert made.groups == (
        ("digits", (("scratch", "2", "24 G", "48 G", "48 Wh"),)),
        ("mnist → digits", (("lora", "2", "12 G", "24 G", "24 Wh"),)),
        (
            "In all",
            (
                ("pre-training mnist", "", "–", "10 G", "10 Wh"),
                ("all cells", "4", "–", "72 G", "72 Wh"),
                ("with pre-training", "", "–", "82 G", "82 Wh"),
            ),
        ),
    )
    note = compute_note(records(make), ROUND, utilisation=1.0)
    assert note.endswith(
        "Energy is an estimate, if run on a round one (3600 W, 0.001 TFLOP/s in float32) at 100 % of its peak; "
        "host and cooling left out."
    )


def test_what_is_not_known_is_not_left_out_of_a_sum(make: SimpleNamespace) -> None:
    given = records(make, pretraining=None)
    given[0]["cost"]["step_flops"] = None
    assert [one.flops for one in computes(given)] == [None, pytest.approx(2 * 1.202e10)]
    made = compute_table(given, ROUND)
    assert made is not None
    assert [line[3:] for line in made.groups[-1][1]] == [("–", "–")] * 3
    assert made.groups[0][1][0] == ("scratch", "2", "–", "–", "–")


def test_sources_whose_pretraining_nobody_counted(make: SimpleNamespace) -> None:
    assert pretraining_flops(records(make)) == {"mnist": 1e10}
    assert pretraining_flops(records(make, pretraining=None)) == {}
    assert pretraining_flops([]) == {}


@pytest.mark.parametrize(
    ("kind", "name"),
    [("cpu", "AMD EPYC 7763"), ("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM"), ("odd", "NVIDIA A100 SXM")],
)
def test_the_device_of_the_records_is_assumed(make: SimpleNamespace, kind: str, name: str) -> None:
    assert f"if run on {name} (" in compute_note([make.record(environment__device=kind)])


def test_several_devices_are_told_as_one_that_is_named(make: SimpleNamespace) -> None:
    both = [make.record(seed=seed, environment__device=kind) for seed, kind in enumerate(("cpu", "TPU v4"))]
    assert DEVICES["a100"].name in compute_note(both)


def test_no_records_no_table() -> None:
    assert compute_table([]) is None


@pytest.mark.parametrize(
    ("wh", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (0.0, "0 Wh"),
        (4.2e-7, "0.42 µWh"),
        (4.2e-4, "420 µWh"),
        (0.0123, "12.3 mWh"),
        (0.9996, "1 Wh"),
        (12.34, "12.3 Wh"),
        (31415.0, "31.4 kWh"),
    ],
)
def test_energy_in_words(wh: float | None, text: str) -> None:
    assert energy(wh) == text


def test_break_even_by_hand(make: SimpleNamespace) -> None:
    """A task saves 2.4e10 - 1.202e10 FLOPs; 1e11 take nine of them."""
    (one,) = break_evens(records(make, pretraining=1e11))
    assert one.saved == pytest.approx(1.198e10) and one.tasks is not None and one.tasks.text == "9"
    made = break_even_table([one])
    assert made is not None
    assert made.groups == (("mnist → digits, pre-training 100 G FLOPs", (("lora", "20 labels", "12 G", "9"),)),)


def test_what_saves_nothing_never_breaks_even(make: SimpleNamespace) -> None:
    given = records(make)
    for record in given:
        record["cost"] |= {"step_flops": 1e8, "cached_flops": 0}
    (one,) = break_evens(given)
    assert one.saved == 0 and one.tasks is not None and one.tasks.text == "∞"


def test_a_worse_score_is_no_saving(make: SimpleNamespace) -> None:
    (one,) = break_evens(records(make, right=180))
    assert one.tasks is None
    made = break_even_table([one])
    assert made is not None and made.groups[0][1][0][-1] == "–"


def test_without_flops_of_the_pretraining_there_is_no_break_even(make: SimpleNamespace) -> None:
    unknown = records(make)
    unknown[0]["cost"]["step_flops"] = None
    for given in ([], records(make, pretraining=None), records(make)[2:], unknown):
        assert break_evens(given) == [] and break_even_table(break_evens(given)) is None

import math
from types import SimpleNamespace
from typing import Any

import pytest

from tlx.report.scales import scaled_gains, scales_table


def records(make: SimpleNamespace, scratch: tuple[int, ...], full: tuple[int, ...]) -> list[dict[str, Any]]:
    return [
        *(make.record("scratch", "scratch", seed=seed, correct=n) for seed, n in enumerate(scratch)),
        *(make.record("full", seed=seed, correct=n) for seed, n in enumerate(full)),
    ]


def test_scales_by_hand(make: SimpleNamespace) -> None:
    (one,) = scaled_gains(records(make, (200,) * 3, (320,) * 3))
    assert one.absolute.mean == pytest.approx(0.3)
    assert one.relative.mean == pytest.approx(0.6)
    assert one.error_reduction.mean == pytest.approx(0.6)
    assert one.log_odds.mean == pytest.approx(math.log(320.5 / 80.5))
    made = scales_table([one])
    assert made is not None and made.groups == (
        (
            "mnist → digits, 20 labels",
            (("full", "+30.0 [30.0, 30.0]", "+60.0 [60.0, 60.0]", "+60.0 [60.0, 60.0]", "+1.38 [1.38, 1.38]"),),
        ),
    )


def test_gains_are_paired_before_they_are_averaged(make: SimpleNamespace) -> None:
    (one,) = scaled_gains(records(make, (100, 200), (200, 300)))
    assert one.relative.mean == pytest.approx((1.0 + 0.5) / 2)


def test_undefined_pairs_are_left_out_and_counted(make: SimpleNamespace) -> None:
    (one,) = scaled_gains(records(make, (0, 200, 400), (100, 300, 400)))
    assert (one.absolute.n, one.relative.n, one.error_reduction.n, one.log_odds.n) == (3, 2, 2, 3)
    made = scales_table([one])
    assert made is not None and made.groups[0][1][0][2] == "+25.0 (2 of 3 pairs)"


def test_scores_that_are_no_accuracies_have_no_log_odds(make: SimpleNamespace) -> None:
    given = records(make, (200,), (300,))
    for record in given:
        record["result"]["test_correct"] = None
    made = scales_table(scaled_gains(given))
    assert made is not None and made.groups[0][1][0] == ("full", "+25.0", "+50.0", "+50.0", "–")


def test_nothing_has_no_table(make: SimpleNamespace) -> None:
    for given in ([], records(make, (), (300,)), [make.diverged(r) for r in records(make, (200,), (300,))]):
        assert scaled_gains(given) == [] and scales_table(scaled_gains(given)) is None

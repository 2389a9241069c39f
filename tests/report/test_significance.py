import math
from types import SimpleNamespace

import numpy as np
import pytest
from made_records import places_of
from scipy import stats

from tlx.report.places import places
from tlx.report.significance import p_value, significance_sentence, significance_table, significances

GAINS = {"lora": (80, 90, 85, 100, 70), "full": (4, -6, 2, 8, -2), "probe": (-30, -45, -40, -35, -60)}


def test_p_values_by_scipy() -> None:
    found = {one.place.row.entry: one for one in significances(places_of(**GAINS))}
    p = [stats.ttest_1samp(np.array(values) / 400, 0).pvalue for values in GAINS.values()]
    np.testing.assert_allclose([found[entry].p for entry in GAINS], p)
    np.testing.assert_allclose([found[entry].p_adjusted for entry in GAINS], stats.false_discovery_control(p))
    assert found["lora"].better and not found["lora"].worse
    assert found["probe"].worse and not found["probe"].better
    assert not found["full"].better and not found["full"].worse
    assert found["lora"].p_signs == found["probe"].p_signs == 0.0625


def test_adjusting_counts_every_gain() -> None:
    weak = {"lora": (8, 2, 6, 1, 5)}
    alone = significances(places_of(**weak))
    assert alone[0].better and alone[0].p == alone[0].p_adjusted
    many = significances(places_of(**weak | {f"other{n}": (n, -n - 1, 2, -2, 1) for n in range(4)}))
    lora = next(one for one in many if one.place.row.entry == "lora")
    assert lora.p == alone[0].p and lora.p_adjusted == pytest.approx(5 * lora.p) and not lora.better


def test_controls_are_no_tests(make: SimpleNamespace) -> None:
    study = make.study(make.simulated({"lora": 0.2}, (20,), 3))
    found = places(study.records, study.manifest)
    assert [one.place.row.entry for one in significances(found)] == ["lora"]
    both = significances(found, arms=("transfer", "random-frozen"))
    assert [one.place.row.entry for one in both] == ["random-frozen", "lora"]


def test_too_few_seeds_are_no_test() -> None:
    found = significances(places_of(**{"lora": (80, 90), "full": (80, 90, 85)}))
    few = next(one for one in found if one.place.row.entry == "lora")
    assert math.isnan(few.p) and math.isnan(few.p_adjusted) and few.p_signs == 0.5
    assert not few.better and not few.worse
    assert significance_sentence(found) == (
        "Of 1 gain tested, 1 is above 0 and 0 below, with a false discovery rate of 5 %; 1 more has too few seeds to "
        "be tested."
    )
    assert significance_sentence([few]) == "No gain has the three seeds it takes to be tested."
    assert significance_sentence([]) == "No gain has the three seeds it takes to be tested."


def test_equal_gains_of_few_seeds_prove_little() -> None:
    (one,) = significances(places_of(**{"lora": (1, 1, 1, 1, 1)}))
    assert one.gain.above_zero and one.p == 0.0625 and not one.better


def test_table() -> None:
    found = significances(places_of(**GAINS))
    table = significance_table(found)
    assert table.head == ("Method", "Gain, points", "p", "p after BH", "p of signs")
    ((where, lines),) = table.groups
    assert where == "digits, 20 labels"
    by_name = {line[0]: line for line in lines}
    assert by_name["lora from mnist"][3].endswith(" ▲") and by_name["probe from mnist"][3].endswith(" ▼")
    assert by_name["lora from mnist"][4] == "0.062"
    assert by_name["full from mnist"][3] == p_value(next(o.p_adjusted for o in found if o.place.row.entry == "full"))
    assert significance_sentence(found) == (
        "Of 3 gains tested, 1 is above 0 and 1 below, with a false discovery rate of 5 %."
    )
    assert significance_table([]).groups == ()


@pytest.mark.parametrize(
    ("p", "text"), [(0.0312, "0.031"), (1.0, "1"), (0.00002, "< 0.0001"), (0.0, "< 0.0001"), (math.nan, "–")]
)
def test_p_values_in_words(p: float, text: str) -> None:
    assert p_value(p) == text

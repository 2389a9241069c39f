import numpy as np
import pytest
from made_records import places_of

from tlx.measure.seeds_needed import seeds_for_width
from tlx.report.seeds_wanted import seeds_wanted, wanted_sentence, wanted_table


def test_numbers_by_hand() -> None:
    # s = 2.828 points of 5 seeds: t(0.975, 32) = 2.0369, times 2.828 / sqrt(33) is 1.003, and 34 seeds give 0.987
    (one,) = seeds_wanted(places_of(lora=(64, 96, 80, 80, 80)))
    assert one.deviation == pytest.approx(np.std([0.16, 0.24, 0.2, 0.2, 0.2], ddof=1))
    assert one.seeds == seeds_for_width(one.deviation, 0.01) == 34
    # chi-squared of 4: deviation between 0.599 and 2.874 times as large
    assert one.fewest == seeds_for_width(0.59913 * one.deviation, 0.01)
    assert one.most == seeds_for_width(2.87355 * one.deviation, 0.01)
    assert one.fewest < one.seeds < one.most
    (wider,) = seeds_wanted(places_of(lora=(64, 96, 80, 80, 80)), points=5)
    assert wider.seeds == 4


def test_few_seeds_say_nothing() -> None:
    assert seeds_wanted(places_of(lora=(64, 96))) == []
    assert wanted_table([]).groups == ()
    assert wanted_sentence([]) == "No gain has the three seeds it takes to say how many more are needed."


def test_table_and_sentence() -> None:
    found = seeds_wanted(places_of(lora=(64, 96, 80, 80, 80), full=(80, 80, 80, 81, 80)))
    table = wanted_table(found)
    assert table.head == ("Method", "Seeds now", "Scatter of gains, points", "Seeds for ±1", "95 % range")
    ((where, lines),) = table.groups
    assert where == "digits, 20 labels"
    lora, full = found
    assert lines[0] == ("lora from mnist", "5", "2.8", "34", f"{lora.fewest} to {lora.most}")
    assert lines[1][:4] == ("full from mnist", "5", "0.1", str(full.seeds))
    assert wanted_sentence(found) == (
        "1 of 2 gains are known to within ±1 point or have the seeds for it; the widest, lora from mnist on digits, 20 "
        f"labels, would take about 34 seeds (anything from {lora.fewest} to {lora.most} agrees with its 5 seeds)."
    )
    assert wanted_table(seeds_wanted(places_of(lora=(1, 2, 3)), 0.5), 0.5).head[3] == "Seeds for ±0.5"

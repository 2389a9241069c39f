from types import SimpleNamespace
from typing import Any

from tlx.report.negative import harm, harm_table


def records(make: SimpleNamespace) -> list[dict[str, Any]]:
    """Scratch has 200 of 400 right; `full` helps from mnist and harms from glyphs, `lora` does a little of both."""
    made = [make.record("scratch", "scratch", seed=seed, correct=200) for seed in range(3)]
    right = {
        ("mnist", "full"): (240, 244, 242),
        ("glyphs", "full"): (160, 164, 162),
        ("mnist", "lora"): (198, 202, 197),
        ("glyphs", "lora"): (203, 199, 204),
    }
    for (source, entry), counts in right.items():
        made += [make.record(entry, seed=seed, correct=n, source=source) for seed, n in enumerate(counts)]
    return [*made, make.record("frozen", "random-frozen", correct=100)]


def test_rates_by_hand(make: SimpleNamespace) -> None:
    found = harm(records(make))
    assert (found.found.gains, found.found.negative, found.found.tested, found.found.significant) == (4, 2, 4, 1)
    assert found.marked == {("glyphs", "digits", "full", 20)}
    made = harm_table(found)
    assert made is not None and made.head == ("Method", "Gains", "Negative", "Tested", "Surely negative")
    assert made.groups[0][1] == (
        ("full", "2", "1 (50 %)", "2", "1 (50 %)"),
        ("lora", "2", "1 (50 %)", "2", "0 (0 %)"),
        ("all", "4", "2 (50 %)", "4", "1 (25 %)"),
    )


def test_one_method_has_no_line_for_all(make: SimpleNamespace) -> None:
    mine = [record for record in records(make) if record["cell"]["entry"] in ("scratch", "full")]
    made = harm_table(harm(mine))
    assert made is not None and [line[0] for line in made.groups[0][1]] == ["full"]


def test_few_seeds_are_counted_but_not_tested(make: SimpleNamespace) -> None:
    mine = [record for record in records(make) if record["cell"]["seed"] < 2]
    made = harm_table(harm(mine))
    assert made is not None and made.groups[0][1][0] == ("full", "2", "1 (50 %)", "0", "–")


def test_without_gains_there_is_no_table(make: SimpleNamespace) -> None:
    for mine in ([], [make.record("full")], [make.record("scratch", "scratch")]):
        found = harm(mine)
        assert found.marked == frozenset() and harm_table(found) is None


def test_diverged_cells_are_no_gains(make: SimpleNamespace) -> None:
    mine = [make.diverged(record) for record in records(make) if record["cell"]["arm"] == "transfer"]
    assert harm_table(harm([*records(make)[:3], *mine])) is None

from types import SimpleNamespace

from tlx.report import comparisons, summarise
from tlx.report.answer import PAIRS, answer, pairs, shown
from tlx.report.sentence import best, of_scratch, with_cost


def records(make: SimpleNamespace, correct: int, source: str, target: str, flops: float = 1.2e8) -> list:
    made = [make.record("scratch", "scratch", 20, seed, 200, target=target) for seed in range(3)]
    more = {"cost__step_flops": flops}
    return made + [
        make.record("lora", "transfer", 20, seed, correct + seed, source, target, **more) for seed in range(3)
    ]


def test_one_pair_shows_gains_and_costs(make: SimpleNamespace) -> None:
    given = records(make, 300, "a", "x", 6e7)
    rows = summarise(given, make.study(given).manifest, {given[3]["id"]: {"wall_s": 2.0}})
    table = answer(rows)
    assert table.head == ("Method", "Gain, 20 labels", "Trained", "FLOPs", "Time")
    ((_, lines),) = table.groups
    assert lines == (
        ("scratch", "baseline", "100 %", "1×", "–"),
        ("lora", "+25.2 [24.6, 25.9]", "1 %", "0.5×", "2 s"),
    )


def test_several_pairs_are_counted_and_never_averaged(make: SimpleNamespace) -> None:
    given = records(make, 300, "a", "x") + records(make, 100, "a", "y") + records(make, 199, "a", "z")
    rows = summarise(given, make.study(given).manifest, {})
    ((_, lines),) = answer(rows).groups
    assert lines == (
        ("lora", "20", "3", "1", "1", "1", "+25.2 [24.6, 25.9]", "▼ -24.7 [-25.4, -24.1]", "1 %", "1×", "–"),
    )
    ((_, each),) = pairs(comparisons(rows)).groups
    assert [line[:4] for line in each] == [
        ("a → x", "lora", "20", "+25.2 [24.6, 25.9]"),
        ("a → y", "lora", "20", "▼ -24.7 [-25.4, -24.1]"),
        ("a → z", "lora", "20", "+0.0 [-0.6, 0.6]"),
    ]


def test_too_many_pairs_are_cut(make: SimpleNamespace) -> None:
    given = [record for place in range(PAIRS + 2) for record in records(make, 300, "a", f"t{place}")[:1]]
    rows = summarise(given, make.study(given).manifest, {})
    groups = pairs(comparisons(rows)).groups
    assert len(groups[0][1]) == PAIRS and groups[1][0].startswith("and 2 more pairs")


def test_budgets_there_is_room_for() -> None:
    assert shown([1, 2, 3]) == [1, 2, 3] and shown(list(range(10))) == [0, 3, 6, 9]


def test_the_sentence_says_the_cost(make: SimpleNamespace) -> None:
    def say(flops: float) -> str:
        given = records(make, 300, "a", "x", flops)
        return with_cost(summarise(given, make.study(given).manifest, {}))

    start = "Starting from a helps on x: best at 20 labels is lora, +25.2 points [24.6, 25.9] over scratch; "
    assert say(6e7) == start + "it trains 1 % of the parameters at 0.5× scratch’s FLOPs a step."
    assert say(1.2e8) == start + "it trains 1 % of the parameters at as many FLOPs a step as scratch."
    assert say(1e4) == start + "it trains 1 % of the parameters at <0.01× scratch’s FLOPs a step."
    assert say(0.0) == start + "it trains 1 % of the parameters."
    assert with_cost([]) == "No answer yet: no transfer cell has a result together with its scratch cell."
    assert best([]) is None


def test_a_factor_needs_both_costs(make: SimpleNamespace) -> None:
    given = records(make, 300, "a", "x")
    rows = summarise(given, make.study(given).manifest, {})
    assert of_scratch(rows[1], rows) == "1×" and of_scratch(rows[1], rows[1:]) == ""

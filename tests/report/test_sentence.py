from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import pytest

from tlx.report import one_sentence, summarise

Counts = Mapping[tuple[str, int], Sequence[int]]


def say(make: SimpleNamespace, scratch: int, counts: Counts, source: str = "mnist", target: str = "digits") -> str:
    return one_sentence(rows(make, scratch, counts, source, target))


def rows(make: SimpleNamespace, scratch: int, counts: Counts, source: str, target: str) -> list:
    records = []
    for (entry, budget), correct in counts.items():
        for seed, n in enumerate(correct):
            records.append(make.record(entry, "transfer", budget, seed, n, source, target))
            if entry == next(iter(counts))[0]:
                records.append(make.record("scratch", "scratch", budget, seed, scratch, target=target))
    return summarise(records, make.study(records).manifest, {})


def test_it_helps(make: SimpleNamespace) -> None:
    counts = {("full", 20): (300, 320, 340), ("lora", 20): (290, 300, 310), ("full", 100): (210, 220, 230)}
    assert say(make, 200, counts) == (
        "Starting from mnist helps on digits: best at 20 labels is full, +30.0 points [17.6, 42.4] over scratch; "
        "no clear gain at 100 labels."
    )


def test_it_helps_everywhere(make: SimpleNamespace) -> None:
    counts = {("full", 1): (300, 310, 320)}
    assert say(make, 200, counts) == (
        "Starting from mnist helps on digits: best at 1 label is full, +27.5 points [21.3, 33.7] over scratch."
    )


def test_a_large_but_doubtful_gain_is_not_the_best(make: SimpleNamespace) -> None:
    counts = {("wild", 20): (200, 200, 400), ("calm", 20): (210, 211, 212)}
    assert "best at 20 labels is calm, +2.8 points" in say(make, 200, counts)


def test_it_hurts(make: SimpleNamespace) -> None:
    assert say(make, 300, {("full", 20): (200, 210, 220), ("lora", 20): (100, 101, 102)}) == (
        "Starting from mnist hurts on digits: even the best, full at 20 labels, "
        "is -22.5 points [-28.7, -16.3] against scratch."
    )


def test_it_is_not_clear(make: SimpleNamespace) -> None:
    assert say(make, 200, {("full", 20): (190, 200, 240), ("lora", 20): (100, 101, 102)}) == (
        "Starting from mnist does not clearly help on digits: the best, full at 20 labels, "
        "is +2.5 points [-13.9, 18.9] against scratch."
    )


@pytest.mark.parametrize(("correct", "seeds"), [((300,), "1 paired seed"), ((300, 300), "2 paired seeds")])
def test_too_few_seeds(make: SimpleNamespace, correct: tuple[int, ...], seeds: str) -> None:
    assert say(make, 200, {("full", 20): correct}) == (
        "Too few seeds to say whether starting from mnist helps on digits: the best, full at 20 labels, "
        f"is +25.0 points against scratch, from {seeds}."
    )


def test_nothing_to_say(make: SimpleNamespace) -> None:
    lone = make.record()
    expected = "No answer yet: no transfer cell has a result together with its scratch cell."
    assert one_sentence([]) == one_sentence(summarise([lone], make.study([lone]).manifest, {})) == expected


def test_several_comparisons(make: SimpleNamespace) -> None:
    good = rows(make, 200, {("full", 20): (300, 310, 320)}, "mnist", "digits")
    bad = rows(make, 300, {("full", 20): (200, 210, 220)}, "emnist", "usps")
    assert one_sentence(good + bad) == (
        "Transfer helps in 1 of 2 source-target pairs: most from mnist to digits with full at 20 labels, "
        "+27.5 points [21.3, 33.7] over scratch."
    )
    assert one_sentence(bad + rows(make, 300, {("full", 20): (200, 210, 220)}, "mnist", "digits")) == (
        "Transfer does not clearly help in any of 2 source-target pairs: the best is from emnist to usps "
        "with full at 20 labels, -22.5 points [-28.7, -16.3] against scratch."
    )

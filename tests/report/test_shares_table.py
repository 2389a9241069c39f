from types import SimpleNamespace
from typing import Any

import pytest

from tlx.report.shares import share_table, shares


def records(make: SimpleNamespace, seeds: int = 3) -> list[dict[str, Any]]:
    """Scratch has 200 of 400 right, the natural source 300, the synthetic one 267, a bad one 180."""
    made = []
    for seed in range(seeds):
        made.append(make.record("scratch", "scratch", seed=seed, correct=200 + seed))
        made += [
            make.record("full", seed=seed, correct=right + seed, source=source)
            for source, right in (("natural", 300), ("synthetic", 267), ("bad", 180))
        ]
    return made


def test_shares_by_hand(make: SimpleNamespace) -> None:
    found = shares(records(make))
    assert {one.source: one.share.mean for one in found} == {
        "natural": pytest.approx(1.0),
        "synthetic": pytest.approx(0.67),
        "bad": pytest.approx(-0.2),
    }
    assert {one.best for one in found} == {"natural"}
    made = share_table(found)
    assert made is not None
    assert made.groups == (
        (
            "digits, full, 20 labels: best is natural",
            (("synthetic", "+67.0 [67.0, 67.0]", "3"), ("bad", "-20.0 [-20.0, -20.0]", "3")),
        ),
    )


def test_only_seeds_that_all_sources_have_count(make: SimpleNamespace) -> None:
    given = [r for r in records(make) if (r["cell"]["source"], r["cell"]["seed"]) != ("bad", 0)]
    assert {one.share.n for one in shares(given)} == {2}


def test_a_best_source_that_does_not_help_has_no_share(make: SimpleNamespace) -> None:
    given = [make.record("scratch", "scratch", seed=seed, correct=n) for seed, n in enumerate((200, 220, 180))]
    for source, right in (("a", (210, 200, 195)), ("b", (200, 210, 190))):
        given += [make.record("full", seed=seed, correct=n, source=source) for seed, n in enumerate(right)]
    made = share_table(shares(given))
    assert made is not None and made.groups == (("digits, full, 20 labels: best is a", (("b", "–", "3"),)),)


def test_one_source_has_nothing_to_be_compared_with(make: SimpleNamespace) -> None:
    given = [r for r in records(make) if r["cell"]["source"] in (None, "natural")]
    for none in ([], given, [r for r in records(make) if r["cell"]["arm"] == "transfer"]):
        assert shares(none) == [] and share_table(shares(none)) is None

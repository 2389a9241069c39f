"""Estimates beside what was measured, paired by source, target, budget and seed."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tlx.report.predicted import Predicted, predicted, table

Record = dict[str, Any]
TRAIN = {"split": "train[:1197]", "examples": 1197, "digest": "of digits"}


def place(record: Record) -> Record:
    """What a record says of data and source, as studies write it."""
    cell = record["cell"]
    source = cell["source"] and {"name": cell["source"], "numerics": 5}
    record["config"] |= {
        "source": source,
        "target": {"data": {"train": TRAIN}},
        "budget": cell["budget"],
        "per_class": False,
        "seed": cell["seed"],
        "ops": [],
        "recipe": {"steps": 100, "batch_size": 16, "precision": "float32"},
    }
    return record


def estimate(
    source: str, seed: int, values: dict[str, float], version: int = 1, changed: dict[str, Any] | None = None
) -> Record:
    """A file of estimates at 20 labels, but for what is changed."""
    of = {
        "source": {"name": source, "numerics": 5},
        "train": TRAIN,
        "budget": 20,
        "per_class": False,
        "seed": seed,
        "precision": "float32",
        "ops": [],
        "estimators": dict.fromkeys([*values, "failing"], version),
    }
    return {"of": of | (changed or {}), "estimates": values, "reasons": {"failing": "needs labels"}}


@pytest.fixture
def records(make: SimpleNamespace) -> list[Record]:
    """Three sources, two seeds, 20 labels: of 400 examples 300 right from scratch, 320, 340 and 360 by source."""
    found = []
    for seed in (0, 1):
        found.append(place(make.record("scratch", "scratch", 20, seed, 300)))
        for i, source in enumerate("abc"):
            found.append(place(make.record("full", "transfer", 20, seed, 320 + 20 * i, source)))
    return found


def values(seed: int) -> dict[str, dict[str, float]]:
    return {source: {"logme": i + seed / 10} for i, source in enumerate("abc")}


def test_means_over_the_seeds_of_each_source(records: list[Record]) -> None:
    estimates = [estimate(source, seed, values(seed)[source]) for source in "cab" for seed in (0, 1)]
    (one,) = predicted(records, estimates)
    assert (one.estimator, one.target, one.entry, one.budget) == ("logme", "digits", "full", 20)
    assert (one.sources, one.seeds_M) == (("a", "b", "c"), (2, 2, 2))
    np.testing.assert_allclose(one.estimate_M, [0.05, 1.05, 2.05])
    np.testing.assert_allclose(one.gain_M, [0.05, 0.1, 0.15])
    np.testing.assert_allclose(one.score_M, [0.8, 0.85, 0.9])


def test_only_seeds_with_both_count(records: list[Record], make: SimpleNamespace) -> None:
    estimates = [estimate("a", 0, {"logme": 1.0}), estimate("b", 0, {"logme": 2.0}), estimate("b", 1, {})]
    lost = make.diverged(next(r for r in records if r["cell"]["source"] == "a" and r["cell"]["seed"] == 0))
    kept = [r for r in records if r["id"] != lost["id"]] + [lost]
    (one,) = predicted(kept, estimates)
    assert (one.sources, one.estimate_M, one.seeds_M) == (("b",), (2.0,), (1,))
    alone = [r for r in records if r["cell"]["arm"] == "transfer"]
    (one,) = predicted(alone, estimates)
    assert one.sources == ("a", "b") and all(math.isnan(gain) for gain in one.gain_M)


@pytest.mark.parametrize(
    "changed",
    [
        {"source": {"name": "a", "numerics": 4}},
        {"train": {**TRAIN, "digest": "of others"}},
        {"budget": 21},
        {"per_class": True},
        {"seed": 7},
        {"precision": "bfloat16"},
        {"ops": [["crop", {}]]},
    ],
)
def test_estimates_of_something_else_are_left_out(records: list[Record], changed: dict[str, Any]) -> None:
    assert predicted(records, [estimate("a", 0, {"logme": 1.0}, changed=changed)]) == []
    assert predicted(records, []) == [] == predicted([], [estimate("a", 0, {"logme": 1.0})])


def test_files_of_other_estimators_add_up_and_the_latest_version_counts(records: list[Record]) -> None:
    files = [
        estimate("a", 0, {"logme": 2.0, "lfc": 0.5}, version=2),
        estimate("a", 0, {"logme": 1.0}, version=1),
        estimate("a", 0, {"leep": -1.0}, version=1),
    ]
    for order in (files, files[::-1]):
        found = {one.estimator: one.estimate_M for one in predicted(records, order)}
        assert found == {"logme": (2.0,), "lfc": (0.5,), "leep": (-1.0,)}


def test_etran_is_put_together_of_all_sources(records: list[Record]) -> None:
    parts = {"a": (0.5, 5.0), "b": (1.0, 4.0), "c": (0.75, 6.0)}
    estimates = [
        estimate(source, 0, {"etran_discriminant": one, "etran_energy": other})
        for source, (one, other) in parts.items()
    ]
    found = {one.estimator: one.estimate_M for one in predicted(records, estimates)}
    np.testing.assert_allclose(found["etran"], [0.075, 0.85, 0.575])
    assert [one.estimator for one in predicted(records, estimates[:1])] == ["etran_discriminant", "etran_energy"]


def test_the_table_ranks_sources_where_there_are_some(records: list[Record]) -> None:
    pytest.importorskip("tlx.measure.ranking")
    good = [estimate(source, seed, {"logme": i, "constant": 1.0}) for seed in (0, 1) for i, source in enumerate("abc")]
    made = table(predicted(records, good))
    assert made.head == ("Estimator", "Weighted τ", "Pearson", "Spearman", "Rel@1", "Rel@3", "Sources")
    ((heading, rows),) = made.groups
    assert heading == "full on digits, 20 labels"
    assert rows[0] == ("logme", "1.00", "1.00", "1.00", "100.0 %", "100.0 %", "3")
    assert rows[1][:4] == ("constant", "–", "–", "–") and rows[1][-1] == "3"
    bad = [estimate(source, 0, {"logme": -i}) for i, source in enumerate("abc")]
    assert table(predicted(records, bad)).groups[0][1][0][:5] == ("logme", "−1.00", "−1.00", "−1.00", "88.9 %")


def test_one_source_is_no_ranking() -> None:
    one = Predicted("logme", "digits", "full", 20, ("a",), (1.0,), (0.1,), (0.9,), (5,))
    assert table([one]).groups == () == table([]).groups

from types import SimpleNamespace

import pytest

from tlx.report import summarise
from tlx.report.places import grouped, places


def test_every_planned_place_with_its_seeds(make: SimpleNamespace) -> None:
    records = [make.record("scratch", "scratch", seed=seed, correct=200 + 20 * seed) for seed in (0, 1, 2)]
    records += [make.record("lora", seed=seed, correct=280 + 10 * seed) for seed in (2, 0)]
    records.append(make.diverged(make.record("lora", seed=1)))
    lost = [make.record("full")]
    study = make.study(records, lost=lost)
    scratch, lora, full = places(study.records, study.manifest)
    assert dict(scratch.scores) == {0: 0.5, 1: 0.55, 2: 0.6} and not scratch.gains
    assert dict(lora.scores) == {0: 0.7, 2: 0.75} and list(lora.scores) == [0, 2]
    assert dict(lora.gains) == {0: pytest.approx(0.2), 2: pytest.approx(0.15)}
    assert (full.row.seeds_expected, dict(full.scores), dict(full.gains)) == (1, {}, {})
    # NaN is no equal of itself
    assert repr([place.row for place in (scratch, lora, full)]) == repr(summarise(study.records, study.manifest, {}))

    assert repr(places(study.records, study.manifest, [lora.row])) == repr([lora])


def test_names_of_ways_and_places(make: SimpleNamespace) -> None:
    study = make.study([make.record("scratch", "scratch", budget=1), make.record("lora", budget=20)])
    found = places(study.records, study.manifest)
    assert [place.way for place in found] == ["scratch", "lora from mnist"]
    assert list(grouped(found)) == ["digits, 1 label", "digits, 20 labels"]


def test_records_outside_the_manifest_are_left_out(make: SimpleNamespace) -> None:
    study = make.study([make.record("scratch", "scratch")])
    stranger = make.record("scratch", "scratch", seed=9)
    assert repr(places([*study.records, stranger], study.manifest)) == repr(places(study.records, study.manifest))
    assert places([], {"cells": []}) == []


def test_unfair_pairs_have_scores_and_no_gain(make: SimpleNamespace) -> None:
    study = make.study([make.record("scratch", "scratch"), make.record(data__test__digest="other")])
    _, unfair = places(study.records, study.manifest)
    assert len(unfair.scores) == 1 and unfair.gains == {}

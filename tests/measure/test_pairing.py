import pytest
from made_records import diverge, make_record, simulate

from tlx.errors import PairingError
from tlx.measure.pairing import Baselines, at, pair, refusals


def test_partners_share_target_budget_and_seed() -> None:
    records = simulate({"full": 0.2}, (20, 100), 3)
    pairs = pair(records)
    assert len(pairs) == 12
    for one in pairs:
        assert one.record["cell"]["arm"] != "scratch"
        assert one.scratch is not None and one.scratch["cell"]["arm"] == "scratch" and not one.refusal
        for key in ("target", "budget", "seed"):
            assert one.scratch["cell"][key] == one.record["cell"][key]


def test_gain_is_the_difference_of_test_accuracies() -> None:
    (one,) = pair([make_record("scratch", "scratch", correct=200), make_record(correct=320)])
    assert one.gain == pytest.approx(0.3)


def test_missing_partner_is_reported() -> None:
    (one,) = pair([make_record("scratch", "scratch", seed=1), make_record(seed=0)])
    assert one.scratch is None and one.gain is None and one.refusal == ""


def test_nothing_pairs_with_nothing() -> None:
    assert pair([]) == [] and refusals([]) == [] and pair([make_record("scratch", "scratch")]) == []


@pytest.mark.parametrize("which", [0, 1])
def test_diverged_partner_gives_no_gain(which: int) -> None:
    records = [make_record("scratch", "scratch"), make_record()]
    records[which] = diverge(records[which])
    (one,) = pair(records)
    assert one.scratch is not None and one.gain is None and not one.refusal


FIELDS = {
    "data.train.digest": "other",
    "data.train.split": "train[1:1198]",
    "data.validation.digest": "other",
    "data.validation.split": "test",
    "data.test.digest": "other",
    "data.test.split": "test[:200]",
    "data.subset.digest": "other",
    "data.subset.examples": 21,
    "result.metric": "r2",
    "result.test_examples": 399,
    "config.per_class": True,
    "config.ops": ["flip"],
    "config.seeds": [0, 1],
    "config.recipe.steps": 101,
    "config.recipe.dropout": 0.1,
    "config.model.name": "vit",
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("arm", ["transfer", "random-frozen"])
def test_unequal_conditions_are_refused_by_name(field: str, arm: str) -> None:
    record = make_record(arm=arm, **{field.replace(".", "__"): FIELDS[field]})
    scratch = make_record("scratch", "scratch")
    (one,) = pair([scratch, record])
    assert one.gain is None and one.scratch is scratch
    theirs = at(scratch, field)
    assert refusals([one]) == [
        f"{field}: 'full', record {record['id']}, has {FIELDS[field]!r}, its scratch record {scratch['id']} has "
        f"{theirs!r}; run both arms with the same settings to compare them"
    ]


def test_unequal_number_of_trials_is_refused() -> None:
    record = make_record()
    record["trials"] = record["trials"][:1]
    (line,) = refusals(pair([make_record("scratch", "scratch"), record]))
    assert line.startswith(f"trials: 'full', record {record['id']}, has 1, its scratch record ") and "has 2;" in line


def test_another_kind_of_search_is_refused() -> None:
    record = make_record(config__search={"kind": "random", "trials": 2})
    (line,) = refusals(pair([make_record("scratch", "scratch"), record]))
    assert line.startswith("config.search.kind: 'full', ") and "has 'random', " in line and "has 'grid';" in line


def test_a_digest_that_is_not_there_proves_nothing() -> None:
    records = [make_record("scratch", "scratch", data__test={}), make_record(data__test={})]
    assert refusals(pair(records))[0].startswith("data.test.digest: ")


def test_a_refusal_costs_no_other_pair_its_gain() -> None:
    records = simulate({"full": 0.2}, (20,), 3)
    records[-1]["data"]["test"]["digest"] = "other"
    pairs = pair(records)
    assert [one.gain is None for one in pairs] == [False] * 5 + [True]


@pytest.mark.parametrize("arm", ["scratch", "transfer"])
def test_two_records_of_one_cell_are_refused(arm: str) -> None:
    twice = [make_record(arm=arm), make_record(arm=arm, id="0123456789abcdef")]
    with pytest.raises(PairingError, match="0123456789abcdef are both 'full' on 'digits' with 20 labels and seed 0"):
        pair(twice)


def test_two_scratch_entries_leave_no_one_baseline() -> None:
    with pytest.raises(PairingError, match="'other'"):
        pair([make_record("scratch", "scratch"), make_record("other", "scratch")])


def test_sources_are_told_apart() -> None:
    records = [make_record("scratch", "scratch"), make_record(source="mnist"), make_record(source="emnist")]
    assert [one.record["cell"]["source"] for one in pair(records)] == ["mnist", "emnist"]


def test_of_two_baselines_the_one_that_is_alike_is_taken() -> None:
    longer = make_record("scratch", "scratch", id="0123456789abcdef", config__recipe={"steps": 200, "batch_size": 16})
    alike, record = make_record("scratch", "scratch"), make_record()
    assert Baselines([longer, alike, record]).pair(record).scratch is alike
    alone = Baselines([longer]).pair(record)
    assert alone.scratch is longer and alone.refusal.startswith("config.recipe.steps: ")
    both = Baselines([alike, make_record("scratch", "scratch", id="0123456789abcdef")]).pair(record)
    assert both.gain is None and "are both 'scratch' on 'digits'" in both.refusal

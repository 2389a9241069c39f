from types import SimpleNamespace

import pytest

from tlx.errors import PairingError
from tlx.report import pair


def test_partners_share_target_budget_and_seed(make: SimpleNamespace) -> None:
    records = make.simulated({"full": 0.2}, (20, 100), 3)
    pairs = pair(records)
    assert len(pairs) == 12
    for one in pairs:
        assert one.record["cell"]["arm"] != "scratch"
        assert one.scratch is not None and one.scratch["cell"]["arm"] == "scratch"
        for key in ("target", "budget", "seed"):
            assert one.scratch["cell"][key] == one.record["cell"][key]


def test_gain_is_the_difference_of_test_accuracies(make: SimpleNamespace) -> None:
    (one,) = pair([make.record("scratch", "scratch", correct=200), make.record(correct=320)])
    assert one.gain == pytest.approx(0.3)


def test_missing_partner_is_reported(make: SimpleNamespace) -> None:
    (one,) = pair([make.record("scratch", "scratch", seed=1), make.record(seed=0)])
    assert one.scratch is None and one.gain is None


@pytest.mark.parametrize("which", [0, 1])
def test_diverged_partner_gives_no_gain(make: SimpleNamespace, which: int) -> None:
    records = [make.record("scratch", "scratch"), make.record()]
    records[which] = make.diverged(records[which])
    (one,) = pair(records)
    assert one.scratch is not None and one.gain is None


FIELDS = {
    "data.train.digest": "other",
    "data.train.split": "train[1:1198]",
    "data.validation.digest": "other",
    "data.validation.split": "test",
    "data.test.digest": "other",
    "data.test.split": "test[:200]",
    "data.subset.digest": "other",
    "data.subset.examples": 21,
    "result.test_examples": 399,
    "config.recipe.steps": 101,
    "config.recipe.dropout": 0.1,
    "config.model.name": "vit",
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("arm", ["transfer", "random-frozen"])
def test_unequal_conditions_are_refused_by_name(make: SimpleNamespace, field: str, arm: str) -> None:
    record = make.record(arm=arm, **{field.replace(".", "__"): FIELDS[field]})
    with pytest.raises(PairingError) as caught:
        pair([make.record("scratch", "scratch"), record])
    message = str(caught.value)
    assert message.startswith(f"{field}: ") and "\n" not in message
    assert repr(FIELDS[field]) in message and record["id"] in message


def test_unequal_number_of_trials_is_refused(make: SimpleNamespace) -> None:
    record = make.record()
    record["trials"] = record["trials"][:1]
    with pytest.raises(PairingError, match=r"^trials: 'full', record \w+, has 1, its scratch record \w+ has 2;"):
        pair([make.record("scratch", "scratch"), record])


def test_a_digest_that_is_not_there_proves_nothing(make: SimpleNamespace) -> None:
    records = [make.record("scratch", "scratch", data__test={}), make.record(data__test={})]
    with pytest.raises(PairingError, match=r"^data\.test\.digest: "):
        pair(records)


@pytest.mark.parametrize("arm", ["scratch", "transfer"])
def test_two_records_of_one_cell_are_refused(make: SimpleNamespace, arm: str) -> None:
    twice = [make.record(arm=arm), make.record(arm=arm, id="0123456789abcdef")]
    with pytest.raises(PairingError, match="0123456789abcdef are both 'full' on 'digits' with 20 labels and seed 0"):
        pair(twice)


def test_two_scratch_entries_leave_no_one_baseline(make: SimpleNamespace) -> None:
    with pytest.raises(PairingError, match="'other'"):
        pair([make.record("scratch", "scratch"), make.record("other", "scratch")])


def test_sources_are_told_apart(make: SimpleNamespace) -> None:
    records = [make.record("scratch", "scratch"), make.record(source="mnist"), make.record(source="emnist")]
    assert [one.record["cell"]["source"] for one in pair(records)] == ["mnist", "emnist"]

from types import SimpleNamespace
from typing import Any

import pytest

from tlx.report.trials import tuning_sentence, tuning_table, tunings


def trial(rate: float, score: float | None, **more: Any) -> dict[str, Any]:
    status = "diverged" if score is None else "ok"
    return {"lr": rate, "status": status, "val_score": score, "val_loss": 0.5, **more}


def test_best_of_trials_by_hand(make: SimpleNamespace) -> None:
    one = make.record(seed=0, trials=[trial(0.1, 0.5), trial(0.2, 0.7), trial(0.4, 0.2)])
    two = make.record(seed=1, trials=[trial(0.1, 0.7), trial(0.2, 0.9), trial(0.4, None)])
    (found,) = tunings([one, two])
    assert (found.source, found.target, found.entry, found.budget, found.seeds) == ("mnist", "digits", "full", 20, 2)
    # means over seeds 0.6, 0.8 and 0.1: a trial that diverged counts as 0
    assert found.scores == (pytest.approx(0.6), pytest.approx(0.8), pytest.approx(0.1))
    assert found.without_replacement == (pytest.approx(0.5), pytest.approx(2.2 / 3), pytest.approx(0.8))
    # (1 · 0.1 + 3 · 0.6 + 5 · 0.8) / 9
    assert found.with_replacement[1] == pytest.approx(5.9 / 9)
    assert (found.diverged, found.stopped) == (1, 0)


def test_what_a_trial_is_follows_from_its_hyper_parameters(make: SimpleNamespace) -> None:
    decays = [trial(0.1, 0.5, weight_decay=0.0), trial(0.1, 0.7, weight_decay=0.1)]
    stopped = [trial(0.2, 0.4, step=20) | {"status": "stopped"}]
    penalties = [{"l2": 1.0, "status": "ok", "val_score": 0.8, "val_loss": 0.1}]
    (found,) = tunings([make.record(trials=decays + stopped + penalties)])
    assert found.scores == (0.5, 0.7, 0.4, 0.8) and found.stopped == 1


def test_order_and_table(make: SimpleNamespace) -> None:
    trials = [trial(rate, score) for rate, score in ((0.1, 0.5), (0.2, 0.7), (0.4, 0.9))]
    records = [
        make.record("lora", trials=trials),
        make.record("frozen", "random-frozen", trials=trials[:2]),
        make.record("scratch", "scratch", trials=trials),
        make.record("lora", budget=100, trials=trials[:1]),
    ]
    found = tunings(records)
    assert [(one.budget, one.entry) for one in found] == [(20, "scratch"), (20, "frozen"), (20, "lora"), (100, "lora")]
    table = tuning_table(found)
    assert table.head == ("Method", "1 trial", "2 trials", "3 trials")
    assert table.groups == (
        (
            "digits, 20 labels",
            (
                ("scratch", "70.0", "83.3", "90.0"),
                ("frozen", "60.0", "70.0", "–"),
                ("lora from mnist", "70.0", "83.3", "90.0"),
            ),
        ),
        ("digits, 100 labels", (("lora from mnist", "50.0", "–", "–"),)),
    )
    assert tuning_sentence(found) == "Ways of adapting were not tuned alike: from 1 to 3 trials a cell."
    assert tuning_sentence(found[:1]) == "Every way of adapting made 3 trials a cell."
    assert tuning_sentence(found[3:]) == "Every way of adapting made 1 trial a cell."


def test_nothing_tried(make: SimpleNamespace) -> None:
    assert tunings([]) == [] == tunings([make.record(trials=[])])
    assert tuning_table([]).groups == () and tuning_sentence([]) == "No cell has made a trial."


def test_many_trials_have_few_columns(make: SimpleNamespace) -> None:
    found = tunings([make.record(trials=[trial(rate, 0.5) for rate in range(20)])])
    assert tuning_table(found).head[1:] == ("1 trial", "2 trials", "4 trials", "8 trials", "16 trials", "20 trials")

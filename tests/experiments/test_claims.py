"""Claims against records: what holds, what fails, what cannot be said."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.check import CHECKS, KINDS, main
from tlx.records import Records, content_id

SEEDS = 4
# Correct answers out of 400 for seed 0; every later seed has 4 more.
CORRECT = {
    ("scratch", 20): 200,
    ("scratch", 1000): 340,
    ("random_frozen", 20): 160,
    ("random_frozen", 1000): 300,
    ("lora", 20): 280,
    ("lora", 1000): 360,
}
ARMS = {"scratch": "scratch", "random_frozen": "random-frozen"}
GAIN = {"claim": "It helps.", "kind": "headline", "check": "gain_at_least", "entry": "lora", "budget": 20, "points": 15}


def record(entry: str, budget: int, seed: int, correct: int, source: str = "mnist") -> dict[str, Any]:
    arm = ARMS.get(entry, "transfer")
    start = source if arm == "transfer" else None
    cell = {"source": start, "target": "digits", "entry": entry, "arm": arm, "budget": budget, "seed": seed}
    data = {name: {"split": name, "digest": name, "examples": 400} for name in ("train", "validation", "test")}
    return {
        "id": content_id(cell),
        "status": "ok",
        "cell": cell,
        "config": {"model": {}, "recipe": {}},
        "data": {**data, "subset": {"digest": f"{budget}-{seed}", "examples": budget}},
        "trials": [{"lr": 0.1}],
        "result": {"metric": "accuracy", "test_score": correct / 400, "test_examples": 400},
        "cost": {
            "trainable_params": 1,
            "total_params": 2,
            "optimizer_bytes": 3,
            "step_flops": 4.0,
            "cached_flops": 0.0,
        },
    }


def write_study(folder: Path, records: list[dict[str, Any]], missing: int = 0, name: str = "quickstart") -> Path:
    """A study's folder; the last `missing` records are planned but not there."""
    store = Records(folder)
    cells = [{"id": one["id"], "cell": one["cell"]} for one in records]
    store.write_manifest({"study": name, "command": "tlx run", "config": {}, "cells": cells})
    for one in records[: len(records) - missing]:
        store.publish(one, {"id": one["id"], "wall_s": 1.0})
    return folder


def grid(correct: dict[tuple[str, int], int] = CORRECT) -> list[dict[str, Any]]:
    return [
        record(entry, budget, seed, first + 4 * seed)
        for (entry, budget), first in correct.items()
        for seed in range(SEEDS)
    ]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "work", grid())


def write_claims(folder: Path, *claims: Any, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "expected.json").write_text(json.dumps({"study": "quickstart", "claims": claims, **changes}))
    return folder


def run(folder: Path, study: Path) -> int:
    return main([str(folder), str(study)])


# What holds and what fails


@pytest.mark.parametrize(
    ("check", "arguments", "held", "measured"),
    [
        (
            "gain_at_least",
            {"entry": "lora", "budget": 20, "points": 20},
            True,
            "lora at 20 labels: gain +20.0 [20.0, 20.0]",
        ),
        ("gain_at_least", {"entry": "lora", "budget": 20, "points": 20.1}, False, "at least +20.1"),
        ("gain_at_most", {"entry": "random_frozen", "budget": 20, "points": -10}, True, "gain -10.0 [-10.0, -10.0]"),
        ("gain_at_most", {"entry": "lora", "budget": 1000, "points": 4.9}, False, "gain +5.0 [5.0, 5.0]"),
        ("gain_above_zero", {"entry": "lora", "budget": 1000}, True, "interval above 0"),
        ("gain_above_zero", {"entry": "random_frozen", "budget": 1000}, False, "gain -10.0"),
        ("gain_below_zero", {"entry": "random_frozen", "budget": 1000}, True, "interval below 0"),
        ("gain_below_zero", {"entry": "lora", "budget": 20}, False, "gain +20.0"),
        ("gain_shrinks", {"entry": "lora", "few": 20, "many": 1000, "points": 14}, True, "at least 14.0 less"),
        (
            "gain_shrinks",
            {"entry": "lora", "few": 20, "many": 1000, "points": 16},
            False,
            "lora at 1000 labels: gain +5.0",
        ),
        ("gain_shrinks", {"entry": "lora", "few": 1000, "many": 20, "points": 0}, False, "at least 0.0 less"),
        # Over 50, 51, 52 and 53 %: their standard error is 0.645, Student's factor 3.182.
        ("accuracy_between", {"entry": "scratch", "budget": 20, "low": 50, "high": 51.5}, True, "51.5 ± 2.1 %"),
        ("accuracy_between", {"entry": "scratch", "budget": 20, "low": 52, "high": 99}, False, "52.0 to 99.0 %"),
        ("accuracy_between", {"entry": "scratch", "budget": 20, "low": 1, "high": 50}, False, "1.0 to 50.0 %"),
        ("more_accurate", {"entry": "lora", "than": "scratch", "budget": 20, "points": 20}, True, "71.5 ± 2.1 %"),
        ("more_accurate", {"entry": "lora", "than": "scratch", "budget": 20, "points": 21}, False, "51.5 ± 2.1 %"),
        ("more_accurate", {"entry": "scratch", "than": "lora", "budget": 20, "points": 0}, False, "0.0 points more"),
    ],
)
def test_each_check(
    tmp_path: Path,
    study: Path,
    capsys: pytest.CaptureFixture[str],
    check: str,
    arguments: dict[str, Any],
    held: bool,
    measured: str,
) -> None:
    folder = write_claims(tmp_path / "one", {"claim": "It is so.", "kind": "sign", "check": check, **arguments})
    assert run(folder, study) == (0 if held else 1)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[:5] == ["held" if held else "FAILED", "sign", "It", "is", "so."]
    assert measured in line


def test_every_check_is_tested_above() -> None:
    (mark,) = test_each_check.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in mark.args[1]} == set(CHECKS)


def test_an_interval_that_touches_zero_is_not_above_it(tmp_path: Path) -> None:
    uneven = [record("scratch", 20, seed, 200) for seed in range(SEEDS)]
    uneven += [record("lora", 20, seed, 200 + add) for seed, add in enumerate((40, -2, 0, 0))]
    study = write_study(tmp_path / "work", uneven)
    asked = {"claim": "It helps.", "kind": "sign", "entry": "lora", "budget": 20}
    at_least = write_claims(tmp_path / "mean", {**asked, "check": "gain_at_least", "points": 2})
    above = write_claims(tmp_path / "interval", {**asked, "check": "gain_above_zero"})
    assert (run(at_least, study), run(above, study)) == (0, 1)


def test_two_seeds_have_no_interval_and_support_no_claim_about_one(tmp_path: Path) -> None:
    few = [record(entry, 20, seed, 200 + 80 * (entry == "lora")) for entry in ("scratch", "lora") for seed in (0, 1)]
    claim = {"claim": "It helps.", "kind": "sign", "check": "gain_above_zero", "entry": "lora", "budget": 20}
    assert run(write_claims(tmp_path / "one", claim), write_study(tmp_path / "work", few)) == 1


def test_one_failed_claim_fails_all_and_each_has_its_line(
    tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_claims(tmp_path / "two", GAIN, {**GAIN, "points": 50}, GAIN)
    assert run(folder, study) == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["held", "FAILED", "held"]


def test_diverged_seeds_are_mentioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = grid()
    lost = next(one for one in records if one["cell"]["entry"] == "lora" and one["cell"]["budget"] == 20)
    lost.update(status="diverged", result={"metric": "accuracy", "test_score": None, "test_examples": 400})
    assert run(write_claims(tmp_path / "one", GAIN), write_study(tmp_path / "work", records)) == 0
    assert "(1 diverged)" in capsys.readouterr().out


def test_of_two_sources_the_claim_says_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [*grid(), *(record("lora", 20, seed, 210 + 4 * seed, source="noise") for seed in range(SEEDS))]
    study = write_study(tmp_path / "work", records)
    assert run(write_claims(tmp_path / "any", GAIN), study) == 2
    assert "give the claim a source and a target" in capsys.readouterr().err
    assert run(write_claims(tmp_path / "mnist", {**GAIN, "source": "mnist", "target": "digits"}), study) == 0
    assert run(write_claims(tmp_path / "noise", {**GAIN, "source": "noise"}), study) == 1
    assert "gain +2.5" in capsys.readouterr().out


# What cannot be said


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ("It helps.", "claims[0]: expected a claim, got 'It helps.'"),
        (
            {**GAIN, "check": "gain_at_lest"},
            "claims[0].check: unknown value 'gain_at_lest' (did you mean",
        ),
        ({**GAIN, "check": "__import__('os')"}, "claims[0].check: unknown value"),
        ({**GAIN, "kind": "hope"}, "claims[0].kind: unknown value 'hope'"),
        ({**GAIN, "point": 3}, "claims[0].point: no such field (did you mean 'points'?)"),
        ({**GAIN, "points": "15"}, "claims[0].points: expected a number, got '15'"),
        ({**GAIN, "points": True}, "claims[0].points: expected a number, got True"),
        ({**GAIN, "budget": 20.0}, "claims[0].budget: expected an integer, got 20.0"),
        ({**GAIN, "entry": "lorra"}, "claims[0].entry: the study has no 'lorra' (did you mean 'lora'?)"),
        ({**GAIN, "entry": "scratch"}, "claims[0].entry: 'scratch' is what gains are measured against"),
        ({**GAIN, "budget": 50}, "claims[0].budget: the study has no 'lora' at 50 labels, only at 20, 1000"),
        ({key: value for key, value in GAIN.items() if key != "points"}, "claims[0].points: is missing"),
        ({key: value for key, value in GAIN.items() if key != "claim"}, "claims[0].claim: is missing"),
    ],
)
def test_a_claim_that_is_none(
    tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str], claim: Any, message: str
) -> None:
    folder = write_claims(tmp_path / "bad", claim)
    assert run(folder, study) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith(f"{folder / 'expected.json'}: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected a study and its claims"),
        ("{", "is not JSON"),
        ('{"study": "quickstart", "claims": []}', "claims: expected at least one item"),
        ('{"study": "quickstart"}', "claims: is missing"),
        ('{"study": "quickstart", "claims": [{}], "claim": 1}', "claim: no such field (did you mean 'claims'?)"),
    ],
)
def test_a_file_of_no_claims(
    tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = tmp_path / "expected.json"
    path.write_text(text)
    assert run(tmp_path, study) == 2
    assert capsys.readouterr().err.startswith(f"{path}: {message}")


def test_an_unfinished_study_supports_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(tmp_path / "work", grid(), missing=3)
    assert run(write_claims(tmp_path / "one", GAIN), study) == 2
    assert capsys.readouterr().err == f"{study}: 3 of 24 cells have no record; run the study to its end\n"


def test_another_study_is_refused(tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write_claims(tmp_path / "one", GAIN, study="slowstart"), study) == 2
    assert capsys.readouterr().err == f"{study}: holds the study 'quickstart', the claims are about 'slowstart'\n"


def test_files_that_are_not_there(tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "none", study) == 2
    assert run(write_claims(tmp_path / "one", GAIN), tmp_path / "nowhere") == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(str(tmp_path / "none" / "expected.json"))
    assert second.startswith(str(tmp_path / "nowhere" / "study.json"))


# The experiments in this repository


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "experiments").glob("*/expected.json")), ids=str)
def test_the_claims_of_each_experiment_can_be_decided(
    tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(path.read_text())
    claims = content["claims"]
    names = [
        (claim[key], budget)
        for claim in claims
        for key in ("entry", "than")
        if key in claim
        for budget in (claim.get(name) for name in ("budget", "few", "many"))
        if budget
    ]
    correct = {place: 200 for place in [*names, *(("scratch", budget) for _, budget in names)]}
    study = write_study(tmp_path, grid(correct), name=content["study"])
    assert main([str(path.parent), str(study)]) in (0, 1), capsys.readouterr().err
    assert {claim["kind"] for claim in claims} == set(KINDS)

"""Claims against records: what holds, what fails, what cannot be said."""

import json
from pathlib import Path
from typing import Any

import pytest
from claimed import SEEDS, grid, record, write_study

from tlx.cli import main
from tlx.report.claims.checks import CHECKS

GAIN = {"claim": "It helps.", "kind": "headline", "check": "gain_at_least", "entry": "lora", "budget": 20, "points": 15}
FALLS = {"claim": "It falls.", "kind": "sign", "check": "accuracy_falls", "budget": 20, "points": 0}
FALLS |= {"places": ["lora", "scratch"]}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "work", grid())


def write_claims(folder: Path, *claims: Any, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "expected.json").write_text(json.dumps({"study": "quickstart", "claims": claims, **changes}))
    return folder


def run(folder: Path, study: Path) -> int:
    return main(["claims", str(study), str(folder)])


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
        (
            "accuracy_falls",
            {"budget": 20, "places": ["lora", "scratch", "random_frozen"], "points": 10},
            True,
            "lora at 20 labels: 71.5 ± 2.1 %; scratch at 20 labels: 51.5 ± 2.1 %; random_frozen at 20 labels: 41.5",
        ),
        (
            "accuracy_falls",
            {"budget": 20, "places": ["lora", "scratch", "random_frozen"], "points": 10.1},
            False,
            "each at least 10.1 points less than the one before",
        ),
        (
            "gain_falls",
            {"places": [{"entry": "lora", "budget": 20}, {"entry": "lora", "budget": 1000}], "points": 15},
            True,
            "lora at 20 labels: gain +20.0 [20.0, 20.0]; lora at 1000 labels: gain +5.0",
        ),
        (
            "gain_falls",
            {"entry": "lora", "places": [{"budget": 1000}, {"budget": 20}], "points": 0},
            False,
            "each at least 0.0 less",
        ),
        (
            "gain_share_at_most",
            {"entry": "lora", "places": [{"budget": 20}, {"budget": 1000}], "share": 0.25},
            True,
            "at most 0.25 of it",
        ),
        (
            "gain_share_at_most",
            {"entry": "lora", "places": [{"budget": 20}, {"budget": 1000}], "share": 0.24},
            False,
            "lora at 1000 labels: gain +5.0",
        ),
        (
            "gain_share_at_most",
            {"entry": "random_frozen", "places": [{"budget": 20}, {"budget": 1000}], "share": 2},
            False,
            "random_frozen at 20 labels: gain -10.0",
        ),
        (
            "ahead_by_seed",
            {"budget": 20, "places": ["lora"], "than": ["scratch"], "points": 20, "seeds": 4},
            True,
            "mean +20.0 points, 4 of 4 seeds above 0",
        ),
        (
            "ahead_by_seed",
            # 20 points ahead with few labels, 5 with many.
            {"entry": "lora", "places": [{"budget": 20}, {"budget": 1000}], "points": 12.6, "seeds": 4}
            | {"than": [{"entry": "scratch", "budget": 20}, {"entry": "scratch", "budget": 1000}]},
            False,
            "mean +12.5 points, 4 of 4 seeds above 0; expected: at least +12.6, and 4 seeds above 0",
        ),
        (
            "ahead_by_seed",
            {"budget": 20, "places": ["lora", "random_frozen"], "than": "scratch", "points": 5, "seeds": 4},
            True,
            "mean +5.0 points",
        ),
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
    line, count = capsys.readouterr().out.splitlines()
    assert line.split()[:5] == ["held" if held else "FAILED", "sign", "It", "is", "so."]
    assert measured in line
    assert count == ("1 held" if held else "1 failed")


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


def test_two_seeds_have_no_interval_and_a_claim_about_one_cannot_be_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [record(entry, 20, seed, 200 + 80 * (entry == "lora")) for entry in ("scratch", "lora") for seed in (0, 1)]
    claim = {"claim": "It helps.", "kind": "sign", "check": "gain_above_zero", "entry": "lora", "budget": 20}
    assert run(write_claims(tmp_path / "one", claim), write_study(tmp_path / "work", few)) == 0
    assert "[lora at 20 labels: 2 seeds have no interval]" in capsys.readouterr().out


def test_one_failed_claim_fails_all_and_each_has_its_line(
    tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_claims(tmp_path / "two", GAIN, {**GAIN, "points": 50}, GAIN)
    assert run(folder, study) == 1
    *lines, count = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["held", "FAILED", "held"]
    assert count == "2 held, 1 failed"


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
    assert "the study has 2 of 'lora'; say which by source, target and budget" in capsys.readouterr().err
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
        ({**GAIN, "budget": 20.0}, "claims[0].budget: expected an integer ≥ 0, got 20.0"),
        ({**GAIN, "entry": "scratch"}, "claims[0].entry: 'scratch' is what gains are measured against"),
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


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({**FALLS, "places": "lora"}, "claims[0].places: expected at least 2, got 1"),
        ({**FALLS, "places": ["lora", 3]}, "claims[0].places[1]: expected an entry or a place, got 3"),
        ({**FALLS, "places": ["lora", {"budget": 20}]}, "claims[0].places[1].entry: is missing"),
        ({**FALLS, "places": [{}, {}]}, "claims[0].places[0].entry: is missing"),
        (
            {**FALLS, "places": ["lora", {"entry": "scratch", "seed": 1}]},
            "claims[0].places[1].seed: no such field",
        ),
        ({**FALLS, "places": ["lora", {"entry": 3}]}, "claims[0].places[1].entry: expected a string, got 3"),
        ({**FALLS, "entri": "lora"}, "claims[0].entri: no such field"),
        (
            {**FALLS, "check": "ahead_by_seed", "seeds": 1, "than": ["scratch", "scratch", "scratch"]},
            "claims[0].than: expected 1 or 2 places, got 3",
        ),
    ],
)
def test_places_that_are_none(
    tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str], claim: Any, message: str
) -> None:
    folder = write_claims(tmp_path / "bad", claim)
    assert run(folder, study) == 2
    printed = capsys.readouterr()
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)
    assert printed.err.startswith(f"{folder / 'expected.json'}: {message}")


# What cannot be tested on these records


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"entry": "lorra"}, "the study has no 'lorra' (did you mean 'lora'?)"),
        ({"budget": 50}, "the study has no 'lora' at 50 labels, only at 20, 1000"),
        ({"source": "mnst"}, "the study has no 'lora' with source 'mnst' (did you mean 'mnist'?)"),
        ({"target": "letters"}, "the study has no 'lora' with target 'letters'"),
    ],
)
def test_what_the_study_does_not_have_is_not_testable(
    tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], why: str
) -> None:
    assert run(write_claims(tmp_path / "one", GAIN, {**GAIN, **changes}), study) == 0
    first, second, count = capsys.readouterr().out.splitlines()
    assert first.startswith("held ")
    assert second.startswith("not testable here  headline  It helps.") and why in second
    assert count == "1 held, 1 not testable here"


def test_what_has_not_been_run_yet_is_not_testable_and_the_rest_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "work", grid(), missing=3)  # of lora, with 1000 labels
    assert run(write_claims(tmp_path / "one", GAIN, {**GAIN, "budget": 1000}), study) == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("held ")
    assert "[lora at 1000 labels: 3 of 4 seeds have no record; run the study to its end]" in second


def test_a_gain_without_its_scratch_cells_is_not_testable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [one for one in grid() if one["cell"]["entry"] != "scratch"]
    records += [one for one in grid() if one["cell"]["entry"] == "scratch" and one["cell"]["budget"] == 20][::-1]
    study = write_study(tmp_path / "work", records, missing=4)
    assert run(write_claims(tmp_path / "one", GAIN), study) == 0
    assert "[scratch on digits at 20 labels: 4 of 4 seeds have no record" in capsys.readouterr().out


def test_a_claim_about_more_seeds_than_there_are_is_not_testable(
    tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claim = {**FALLS, "check": "ahead_by_seed", "places": "lora", "than": "scratch", "seeds": 5, "points": 0}
    assert run(write_claims(tmp_path / "one", claim), study) == 0
    assert "[the claim is about 5 seeds, the study has 4]" in capsys.readouterr().out


def test_headlines_of_a_paper_are_for_its_own_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_claims(tmp_path / "one", {**GAIN, "kind": "sign"}, {**GAIN, "points": 50}, paper="quickstart-paper")
    small, large = (write_study(tmp_path / name, grid(), name=name) for name in ("quickstart", "quickstart-paper"))
    assert run(folder, small) == 0
    assert "not testable here  headline  It helps.  [a number of the paper's scale]" in capsys.readouterr().out
    assert run(folder, large) == 1


def diverged(records: list[dict[str, Any]], entry: str, *seeds: int) -> list[dict[str, Any]]:
    lost = {"status": "diverged", "result": {"metric": "accuracy", "test_score": None, "test_examples": 400}}
    return [
        {**one, **lost} if one["cell"]["entry"] == entry and one["cell"]["seed"] in seeds else one for one in records
    ]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("lora", "[lora at 20 labels: all 4 seeds diverged]"),
        ("scratch", "[scratch on digits at 20 labels: all 4 seeds diverged]"),
    ],
)
def test_what_diverged_bears_out_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: str, why: str
) -> None:
    study = write_study(tmp_path / "work", diverged(grid(), entry, 0, 1, 2, 3))
    assert run(write_claims(tmp_path / "one", GAIN), study) == 1
    first, _ = capsys.readouterr().out.splitlines()
    assert first == f"FAILED             headline  It helps.  {why}"


def test_seeds_that_diverged_on_either_side_leave_no_gain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(tmp_path / "work", diverged(diverged(grid(), "lora", 0, 1), "scratch", 2, 3))
    by_seed = {**FALLS, "check": "ahead_by_seed", "places": "lora", "than": "scratch", "seeds": 1, "points": 0}
    assert run(write_claims(tmp_path / "one", GAIN, by_seed), study) == 1
    first, second, _ = capsys.readouterr().out.splitlines()
    assert "[lora at 20 labels: no seed finished both here and from scratch]" in first
    assert "[no seed finished in all of the places]" in second


def test_a_seed_that_diverged_is_ahead_of_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(tmp_path / "work", diverged(grid(), "lora", 3))
    claim = {**FALLS, "check": "ahead_by_seed", "places": "lora", "than": "scratch", "points": 0}
    assert run(write_claims(tmp_path / "one", {**claim, "seeds": 3}, {**claim, "seeds": 4}), study) == 1
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("held ") and second.startswith("FAILED ")
    assert "3 of 3 seeds above 0" in second


# Several sources, targets and budgets


def test_places_of_several_sources_and_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [
        record(entry, 20, seed, correct + 4 * seed, source, target)
        for target, less in (("digits", 0), ("letters", 80))
        for entry, source, correct in (("scratch", "", 200 - less), ("lora", "mnist", 280), ("lora", "noise", 240))
        for seed in range(SEEDS)
    ]
    study = write_study(tmp_path / "work", records)
    claim = {"claim": "So.", "kind": "sign", "entry": "lora", "points": 0}
    places = [
        {"source": "mnist", "target": "letters"},
        {"source": "mnist", "target": "digits"},
        {"source": "noise", "target": "digits"},
    ]
    folder = write_claims(
        tmp_path / "some",
        {**claim, "check": "gain_falls", "places": places},
        {**claim, "check": "gain_falls", "places": places[:2], "target": "digits", "points": 20},
        {**claim, "check": "ahead_by_seed", "target": "digits", "places": {"source": "mnist"}, "seeds": 4}
        | {"than": {"source": "noise"}},
    )
    assert run(folder, study) == 0
    first, _, third, _ = capsys.readouterr().out.splitlines()
    assert "lora from mnist on letters: gain +40.0 [40.0, 40.0]; lora from mnist on digits: gain +20.0" in first
    assert "mean +10.0 points, 4 of 4 seeds above 0" in third


def test_one_budget_need_not_be_named_but_two_must(
    tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claim = {key: value for key, value in GAIN.items() if key != "budget"}
    few = write_study(tmp_path / "few", [one for one in grid() if one["cell"]["budget"] == 20])
    folder = write_claims(tmp_path / "one", claim)
    assert run(folder, few) == 0
    assert "[lora: gain +20.0" in capsys.readouterr().out
    assert run(folder, study) == 2
    assert "the study has 2 of 'lora'; say which by source, target and budget" in capsys.readouterr().err


def test_another_study_is_refused(tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write_claims(tmp_path / "one", GAIN, study="slowstart"), study) == 2
    assert capsys.readouterr().err == f"{study}: holds the study 'quickstart', the claims are about 'slowstart'\n"


def test_files_that_are_not_there(tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "none", study) == 2
    assert run(write_claims(tmp_path / "one", GAIN), tmp_path / "nowhere") == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(str(tmp_path / "none" / "expected.json"))
    assert second.startswith(str(tmp_path / "nowhere" / "study.json"))


# Which file


def test_the_experiment_is_found_by_the_study(
    tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["claims", str(study)]) == 2
    line = "experiments: no expected.json is about the study 'quickstart'; name one after the work folder\n"
    assert capsys.readouterr().err == line
    (tmp_path / "experiments").mkdir()
    write_claims(tmp_path / "experiments" / "another", GAIN, study="another")
    folder = write_claims(tmp_path / "experiments" / "mine", GAIN)
    assert main(["claims", str(study)]) == 0
    assert main(["claims", str(study), str(folder / "expected.json")]) == 0


def test_as_json(tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_claims(tmp_path / "one", GAIN, {**GAIN, "entry": "lorra"})
    assert main(["claims", str(study), str(folder), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    why = "lora at 20 labels: gain +20.0 [20.0, 20.0]; expected: at least +15.0"
    assert first == {"claim": "It helps.", "kind": "headline", "verdict": "held", "why": why}
    assert second["verdict"] == "not testable here"


def test_an_option_that_is_none(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", str(study), "--config.name=x"]) == 2
    assert capsys.readouterr().err == "--config.name=x: no such option\n"

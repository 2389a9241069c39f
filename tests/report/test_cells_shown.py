from pathlib import Path

import pytest
from made_records import diverge, make_record, make_study, publish

from tlx import records
from tlx.records.answer import frame_answer, make_answer
from tlx.report.cells import SHOWN, show_answer, show_cells


def test_cells_are_shown_with_what_became_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = [make_record("scratch", "scratch", correct=200), make_record(correct=310), make_record("lora", seed=1)]
    made += [make_record("head", data__test__digest="other"), diverge(make_record("[red]odd[/red]", seed=2))]
    lost = [make_record("lost")]
    show_cells(frame_answer(records.load(publish(make_study(made, lost), tmp_path))))
    out = capsys.readouterr().out
    lines = {line.split()[2]: line for line in out.splitlines() if line.split()[1:2] == ["digits"]}
    assert "77.5" in lines["full"] and "+27.5" in lines["full"] and made[1]["id"] in lines["full"]
    assert "+" not in lines["lora"] and "+" not in lines["head"]
    assert "diverged" in lines["[red]odd[/red]"] and "missing" in lines["lost"] and "Study" not in out
    assert out.splitlines()[-1] == (
        "6 cells: 4 ok, 1 diverged, 1 missing, 1 without a gain, as their scratch cells differ in more"
    )


def test_of_many_rows_the_first_are_shown_and_the_others_counted(capsys: pytest.CaptureFixture[str]) -> None:
    show_answer(make_answer(["n", "what"], [(number, "x") for number in range(SHOWN + 2)]))
    out = capsys.readouterr().out
    assert "\n2 more rows: --json and --csv give them all" in out and " 99 " in out and " 100 " not in out


def test_no_cells_are_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_cells(frame_answer(records.load(tmp_path)))
    assert capsys.readouterr().out.splitlines()[-1] == "0 cells"

"""`tlx records` and `tlx compare` from the command line."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_records import make_record, make_study, publish, simulate

from tlx.cli import main


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study; not to be written to."""
    return publish(make_study(simulate({"full": 0.25}, (20, 100), 3)), tmp_path_factory.mktemp("work"))


def test_a_table_json_and_csv(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["records", str(work)]) == 0
    assert capsys.readouterr().out.endswith("18 cells: 18 ok\n")
    assert main(["records", str(work), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 18 and rows[-1]["arm"] == "transfer" and rows[-1]["gain"] is not None
    assert main(["records", str(work), "--csv"]) == 0
    lines = [*csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert [line["id"] for line in lines] == [row["id"] for row in rows]
    assert float(lines[-1]["gain"]) == rows[-1]["gain"] and lines[0]["gain"] == ""


def test_sql(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = "select entry, count(*) as n from records group by entry order by entry"
    assert main(["records", str(work), "--sql", query, "--csv"]) == 0
    assert capsys.readouterr().out == "entry,n\nfull,6\nrandom-frozen,6\nscratch,6\n"
    assert main(["records", str(work), str(work), "--sql", query]) == 0
    assert "scratch" in (out := capsys.readouterr().out) and " 12 " in out


def test_columns_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["records", "--columns", "--json"]) == 0
    rows = {row["column"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["gain"] == {"column": "gain", "dtype": "float64", "holds": "test_score minus that of scratch"}


def test_files_that_cannot_be_used_are_named_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(make_study([make_record(), make_record(seed=1)]), tmp_path)
    (tmp_path / "records" / "torn.json").write_text("{")
    assert main(["records", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)) == 2
    assert err.splitlines() == [
        f"{tmp_path / 'records' / 'torn.json'}: is not named by the 16 hex digits of a cell's id",
        "1 file could not be used",
    ]


def test_two_studies_side_by_side(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_file = tmp_path / "new" / "compare.md"
    assert main(["compare", str(work), str(work), "--out", str(out_file)]) == 0
    assert "What the configs differ in: none" in capsys.readouterr().out
    assert out_file.read_text().startswith("# quickstart and quickstart\n")
    assert main(["compare", str(work), str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["lines"] == [] and len(found["only_a"]) == 18


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("records",), "WORKDIR: expected the folder of a study, or several"),
        (("records", "nowhere"), "nowhere: there is no such folder"),
        (("records", "{work}", "--json", "--csv"), "--csv: goes without --json"),
        (("records", "{work}", "--config.seeds=(1,)"), "--config.seeds=(1,): no such option"),
        (("records", "{work}", "--sql", "selec"), '--sql: Parser Error: syntax error at or near "selec"'),
        (("compare", "{work}"), "the following arguments are required: B; see tlx compare --help"),
        (("compare", "{work}", "nowhere"), "nowhere: there is no such folder"),
        (("compare", "{work}", "{work}", "--sql=x"), "--sql=x: no such option"),
    ],
)
def test_mistakes_are_one_line(work: Path, argv: Any, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word.format(work=work) for word in argv]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err == f"{line}\n"


def test_whoever_has_seen_enough_gets_no_traceback() -> None:
    program = "import sys; from tlx.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "records", "--columns", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 1

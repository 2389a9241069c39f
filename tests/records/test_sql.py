"""Questions in SQL: answered from the frame, and from nothing else."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
from made_records import make_study, publish, simulate

from tlx import records
from tlx.errors import TlxError
from tlx.records.sql import ask

pytest.importorskip("duckdb", reason="DuckDB is an extra")


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    study = make_study(simulate({"full": 0.2}, (20, 100), 3))
    return records.load(publish(study, tmp_path_factory.mktemp("work")))


def test_groups_and_means_are_those_of_pandas(frame: pd.DataFrame) -> None:
    found = ask(frame, "select entry, budget, avg(gain) as gain from records group by entry, budget order by 1, 2")
    assert found.columns == ("entry", "budget", "gain")
    expected = frame.groupby(["entry", "budget"]).gain.mean()
    assert [row[:2] for row in found.rows] == [*expected.index]
    for (_, _, gain), value in zip(found.rows, expected, strict=True):
        assert (gain is None and pd.isna(value)) or gain == pytest.approx(value)


def test_every_column_can_be_asked_for(frame: pd.DataFrame) -> None:
    found = ask(frame, "select * from records")
    assert found.columns == tuple(frame.columns) and len(found.rows) == len(frame)
    assert ask(frame, "select count(*) from records where source is null").rows == ((12,),)
    assert ask(frame, "select count(*) from records where gain is null").rows == ((6,),)


def test_an_empty_frame_has_the_table(tmp_path: Path) -> None:
    assert ask(records.load(tmp_path), "select count(*), max(budget) from records").rows == ((0, None),)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select nope from records", '--sql: Binder Error: Referenced column "nope" not found in FROM clause!'),
        ("selec 1", '--sql: Parser Error: syntax error at or near "selec"'),
        ("select * from cells", "--sql: Catalog Error: Table with name cells does not exist!"),
        ("", "--sql: there is no query; try 'select entry, avg(gain) from records group by entry'"),
        ("-- nothing", "--sql: there is no query; try"),
        ("delete from records", "--sql: Binder Error: "),
        ("select error('one' || chr(10) || 'two')", "--sql: Invalid Input Error: one two"),
    ],
)
def test_mistakes_are_one_line(frame: pd.DataFrame, query: str, message: str) -> None:
    with pytest.raises(TlxError) as caught:
        ask(frame, query)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_no_file_is_read_or_written(frame: pd.DataFrame, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for query in (
        f"select * from read_csv('{secret}')",
        f"select * from '{secret}'",
        f"select * from read_text('{secret}')",
        f"select * from glob('{tmp_path}/*')",
        f"copy records to '{tmp_path}/out.csv'",
        f"export database '{tmp_path}/out'",
        f"attach '{tmp_path}/out.db'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "reset enable_external_access",
        "set python_enable_replacements = true",
        "select * from frame",  # a variable of the program
    ):
        with pytest.raises(TlxError, match="^--sql: "):
            ask(frame, query)
    assert [*tmp_path.iterdir()] == [secret]


def test_without_duckdb_the_extra_is_named(frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TlxError, match=r"^--sql: DuckDB is not installed; pip install 'tlx\[sql\]'$"):
        ask(frame, "select 1")
